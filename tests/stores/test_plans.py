"""SQLite and Postgres store each plan once, under its hash. Pruning deletes the plans that no record uses."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import trio
from postgres_server import a_schema, in_schema
from psycopg import sql

from trailing.core.record import StopRecord
from trailing.errors import StoreError
from trailing.stores import open_store
from trailing.stores.port import CloseStop, SaveStop, Store
from trailing.testing.store_samples import MOMENT, sample_record

HERE = ("testex", "main")

Ask = Callable[[str], list[Any]]
"""Executes a statement on another connection to the store's tables, and returns its rows."""


@pytest.fixture(params=["SQLite", "Postgres"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Ask]]:
    """A store, and a function that queries its tables."""
    if request.param == "SQLite":
        path = tmp_path / "trailing.db"

        def ask_file(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                return connection.execute(statement).fetchall()

        async with open_store(f"sqlite:///{path}") as store:
            yield store, ask_file
        return
    dsn = request.getfixturevalue("dsn")
    with a_schema(dsn) as schema:

        def ask_server(statement: str) -> list[Any]:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []

        async with open_store(in_schema(dsn, schema)) as store:
            yield store, ask_server


def records(count: int, *, distance: str = "0.5") -> list[StopRecord]:
    """Return records with equal plans, each with its own dict."""
    plans = [
        {"rules": [{"type": "Callback", "distance": {"percent": distance}}], "trigger": "mark"} for _ in range(count)
    ]
    return [
        msgspec.structs.replace(sample_record(f"COIN{distance}{number}/USDT:USDT"), plan=plan)
        for number, plan in enumerate(plans)
    ]


async def prune(store: Store) -> None:
    await store.prune(MOMENT - timedelta(days=1))


async def test_a_plan_that_many_records_use_is_stored_once(opened: tuple[Store, Ask]) -> None:
    store, ask = opened
    saved = records(5) + records(2, distance="0.7")
    for _ in range(2):
        await store.commit([SaveStop(*HERE, record) for record in saved])
    loaded = (await store.load(*HERE)).stops
    assert list(loaded) == saved
    assert loaded[0].plan is loaded[4].plan
    assert ask("SELECT count(*) FROM plans") == [(2,)]
    assert ask("SELECT count(*) FROM stop_records WHERE body LIKE '%percent%'" if _is_file(store) else _LIKE) == [(0,)]


_LIKE = "SELECT count(*) FROM stop_records WHERE body::text LIKE '%percent%'"


def _is_file(store: Store) -> bool:
    return "Sqlite" in repr(store)


async def test_plans_that_differ_in_the_order_of_fields_are_the_same_plan(opened: tuple[Store, Ask]) -> None:
    store, ask = opened
    first, second = records(2)
    turned = msgspec.structs.replace(second, plan=dict(reversed(second.plan.items())))
    await store.commit([SaveStop(*HERE, first), SaveStop(*HERE, turned)])
    assert (await store.load(*HERE)).stops == (first, second)
    assert ask("SELECT count(*) FROM plans") == [(1,)]


async def test_pruning_deletes_the_plans_that_no_record_uses(opened: tuple[Store, Ask]) -> None:
    store, ask = opened
    (kept,), (closed,), (replaced,) = (records(1, distance=distance) for distance in ("1", "2", "3"))
    await store.commit([SaveStop(*HERE, kept), CloseStop(*HERE, closed), SaveStop(*HERE, replaced)])
    again = msgspec.structs.replace(replaced, plan=kept.plan)
    await store.commit([SaveStop(*HERE, again)])
    await prune(store)
    assert ask("SELECT count(*) FROM plans") == [(2,)]  # a closed record still uses its plan
    ask("DELETE FROM stop_records WHERE closed" if _is_file(store) else "DELETE FROM stops WHERE closed")
    await prune(store)
    assert ask("SELECT count(*) FROM plans") == [(1,)]
    assert (await store.load(*HERE)).stops == (kept, again)
    await store.commit([SaveStop(*HERE, replaced)])
    assert (await store.load(*HERE)).stops == (kept, replaced)


async def test_a_record_with_a_missing_or_broken_plan_is_an_error_that_names_the_row(opened: tuple[Store, Ask]) -> None:
    store, ask = opened
    await store.commit([SaveStop(*HERE, *records(1))])
    ask("UPDATE plans SET plan = '[]'")
    with pytest.raises(
        StoreError, match=r": plans row \([0-9a-f]{64}\) can't be read: Expected `object`, got `array`$"
    ):
        await store.load(*HERE)
    ask("DELETE FROM plans")
    with pytest.raises(
        StoreError,
        match=r": stop_records row \(testex, main, COIN0\.50/USDT:USDT, long, .*\) names the plan [0-9a-f]{64},"
        r" which is missing in the table of plans$",
    ):
        await store.load(*HERE)


async def test_the_view_shows_the_values_of_a_record(opened: tuple[Store, Ask]) -> None:
    store, ask = opened
    (record,) = records(1)
    await store.commit([SaveStop(*HERE, record)])
    ((symbol, closed, state, *numbers),) = ask(
        "SELECT symbol, closed, state, quantity, entry_price, stop_price, plan FROM stops"
    )
    assert (symbol, bool(closed), state) == (record.position.symbol, False, record.state)
    *numbers, plan = numbers
    assert [type(record.quantity)(number) for number in numbers] == [
        record.quantity,
        record.position.entry_price,
        record.orders[-1].price,
    ]
    assert (msgspec.json.decode(plan) if isinstance(plan, str) else plan) == record.plan


@pytest.fixture
def schema(dsn: str) -> Any:
    with a_schema(dsn) as name:
        yield name


async def test_pruning_keeps_the_plans_while_a_commit_is_running(dsn: str, schema: str) -> None:
    async with open_store(in_schema(dsn, schema)) as store:
        (first,), (second,) = records(1), records(1, distance="0.7")
        await store.commit([SaveStop(*HERE, first)])
        await store.commit([SaveStop(*HERE, msgspec.structs.replace(first, plan=second.plan))])
        plans = sql.SQL("SELECT count(*) FROM {}.plans").format(sql.Identifier(schema))
        with psycopg.connect(dsn) as writing, psycopg.connect(dsn, autocommit=True) as looking:
            writing.execute(sql.SQL("LOCK TABLE {}.plans IN ROW EXCLUSIVE MODE").format(sql.Identifier(schema)))
            with trio.fail_after(5):
                await prune(store)
            assert looking.execute(plans).fetchall() == [(2,)]
            writing.rollback()
            await prune(store)
            assert looking.execute(plans).fetchall() == [(1,)]


async def test_a_commit_with_a_plan_that_is_being_pruned_waits_and_inserts_it_again(dsn: str, schema: str) -> None:
    async with open_store(in_schema(dsn, schema)) as store:
        (record,) = records(1)
        await store.commit([SaveStop(*HERE, record)])
        name = sql.Identifier(schema)
        with psycopg.connect(dsn) as pruning:
            pruning.execute(sql.SQL("LOCK TABLE {}.plans IN SHARE ROW EXCLUSIVE MODE").format(name))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.commit, [SaveStop(*HERE, record)])
                await trio.sleep(0.3)
                pruning.execute(sql.SQL("DELETE FROM {}.plans").format(name))
                pruning.commit()
        assert (await store.load(*HERE)).stops == (record,)
