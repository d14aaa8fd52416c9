"""Stores that older versions of the library wrote, in `tests/data/stores`: they are migrated, and every record is as it was."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from postgres_server import a_schema, in_schema
from psycopg import sql

from trailing.errors import StoreError
from trailing.stores import open_store
from trailing.stores.port import AddIntent, Intent, SaveStop, Store

DATA = Path(__file__).parents[1] / "data" / "stores"
EXPECTED: dict[str, list[dict[str, Any]]] = json.loads((DATA / "expected.json").read_text())
HERE = ("paper", "default")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A copy of the SQLite file of version 1."""
    path = tmp_path / "old.db"
    shutil.copy(DATA / "sqlite-1.sqlite", path)
    return path


@pytest.fixture
def schema(dsn: str) -> Iterator[str]:
    """The name of a schema of version 2 in Postgres."""
    with a_schema(dsn) as name, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((DATA / "postgres-2.sql").read_text().replace("old_store", name).encode())
        yield name


@pytest.fixture(params=["SQLite", "Postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an old store."""
    if request.param == "SQLite":
        return f"sqlite:///{request.getfixturevalue('database')}"
    return in_schema(request.getfixturevalue("dsn"), request.getfixturevalue("schema"))


def plainly(value: object) -> Any:
    """What a value is in JSON."""
    return json.loads(msgspec.json.encode(value))


def as_far_as_written(held: Any, written: Any) -> Any:
    """What is held, without the fields, at any depth, that the old version did not write yet."""
    if isinstance(written, dict):
        return {name: as_far_as_written(held[name], value) for name, value in written.items()}
    if isinstance(written, list) and len(held) == len(written):
        return [as_far_as_written(*pair) for pair in zip(held, written, strict=True)]
    return held


async def held_by(store: Store) -> dict[str, Any]:
    loaded = await store.load(*HERE)
    events = [record async for record in store.events()]
    held: dict[str, Any] = plainly({"stops": loaded.stops, "intents": loaded.intents, "events": events})
    return held


async def test_every_record_intent_and_event_of_an_old_store_is_as_it_was_written(url: str) -> None:
    for _ in range(2):  # migrated, and opened again
        async with open_store(url) as store:
            held = await held_by(store)
        for name in ("intents", "events"):
            assert held[name] == EXPECTED[name]
        assert as_far_as_written(held["stops"], EXPECTED["stops"]) == EXPECTED["stops"]


async def test_a_position_that_was_closed_in_an_old_store_stays_closed_and_comes_back_whole_once_it_is_opened_again(
    url: str,
) -> None:
    (closed,) = EXPECTED["closed"]
    async with open_store(url) as store:
        before = await held_by(store)
        (other, *_) = (await store.load(*HERE)).stops
        position = msgspec.convert(closed["position"], type(other.position))
        late = msgspec.structs.replace(other, position=position)
        await store.commit([SaveStop(*HERE, late)])
        assert await held_by(store) == before
        intent = Intent(
            *HERE,
            position.symbol,
            position.side,
            position.identity,
            "tr-again",
            "stop",
            position.quantity,
            position.entry_price,
            position.opened_at,
        )
        await store.commit([AddIntent(intent)])
        (record,) = [stop for stop in (await store.load(*HERE)).stops if stop.position == position]
        assert as_far_as_written(plainly(record), closed) == closed


async def test_a_migrated_store_goes_on_with_the_numbers_and_the_owners_of_the_old_one(url: str) -> None:
    async with open_store(url) as store, store.own(*HERE, mark="cafe") as lease:
        (first, *_) = (await store.load(*HERE)).stops
        new = msgspec.structs.replace(first, position=msgspec.structs.replace(first.position, id="a new one"))
        await lease.commit([SaveStop(*HERE, new)])
        assert (await store.load(*HERE)).stops[-1] == new
        if url.startswith("postgresql"):
            assert lease.marks == {"beef"}


async def test_an_old_store_is_not_migrated_to_be_read(url: str) -> None:
    with pytest.raises(
        StoreError, match=r"its schema has version \d, which is old: a bot of this version migrates it$"
    ):
        async with open_store(url, read_only=True):
            raise AssertionError("it was opened")


async def test_a_migration_leaves_no_plan_in_a_record_and_each_plan_once(database: Path, dsn: str, schema: str) -> None:
    async with open_store(f"sqlite:///{database}"), open_store(in_schema(dsn, schema)):
        pass
    with closing(sqlite3.connect(database)) as file, psycopg.connect(dsn) as server:
        server.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        for connection, in_record in ((file, "json_extract(record, '$.plan')"), (server, "record ->> 'plan'")):
            ask: Any = connection.execute
            assert ask(f"SELECT DISTINCT {in_record} FROM stop_records").fetchall() == [("{}",)]  # noqa: S608
            assert ask("SELECT count(*) FROM plans").fetchall() == [(4,)]
            assert ask("SELECT count(*) FROM stops WHERE plan IS NULL").fetchall() == [(0,)]
