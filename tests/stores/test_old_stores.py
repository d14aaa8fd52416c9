"""Stores that older versions of the library wrote are migrated, and every value is as it was written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from old_stores import DATA, copy_file, copy_schema
from postgres_server import in_schema
from psycopg import sql

from trailing.errors import StoreError
from trailing.stores import open_store
from trailing.stores.port import AddIntent, Intent, SaveStop, Store

HERE = ("paper", "default")
WRITERS = {("SQLite", 1): "6b1a914", ("SQLite", 2): "1550ea1", ("Postgres", 2): "6b1a914", ("Postgres", 3): "1550ea1"}
"""The commit that wrote each copy, by the kind and the version of the store."""

RENAMED_IN_RECORDS = {
    "exposure": "unprotected_time",
    "heard_until": "prices_until",
    "early": "unacknowledged_fills",
    "given_up": "is_abandoned",
    "since_move": "seconds_since_move",
    "first_price": "first_stop",
}
DROPPED_FROM_RECORDS = {"asked", "since_crossing", "due_in", "trailed"}
RENAMED_IN_EVENTS = {
    "exposure": "unprotected_seconds",
    "exposure_by": "unprotected_time",
    "stop_stands": "stop_is_live",
}


class OldStore(NamedTuple):
    """A copy of an old store.

    Args:
        url: its address.
        path: its file; None: it is in Postgres.
        schema: its schema; "": it is a file.
        stops, closed, intents, events: the values that its own version wrote, under their names of now.
    """

    url: str
    path: Path | None
    schema: str
    stops: list[Any]
    closed: list[Any]
    intents: list[Any]
    events: list[Any]


@pytest.fixture(params=WRITERS, ids=lambda kind: " ".join(map(str, kind)))
def old(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> Iterator[OldStore]:
    kind, version = request.param
    written = json.loads((DATA / f"expected-{WRITERS[kind, version]}.json").read_text())
    values = {
        "stops": [renamed(stop, RENAMED_IN_RECORDS, DROPPED_FROM_RECORDS) for stop in written["stops"]],
        "closed": [renamed(stop, RENAMED_IN_RECORDS, DROPPED_FROM_RECORDS) for stop in written["closed"]],
        "intents": written["intents"],
        "events": [{**event, "event": renamed(event["event"], RENAMED_IN_EVENTS)} for event in written["events"]],
    }
    if kind == "SQLite":
        path = copy_file(version, tmp_path)
        yield OldStore(f"sqlite:///{path}", path, "", **values)
        return
    with copy_schema(version, dsn) as schema:
        yield OldStore(in_schema(dsn, schema), None, schema, **values)


def renamed(
    value: Mapping[str, Any], names: Mapping[str, str], dropped: set[str] | frozenset[str] = frozenset()
) -> dict[str, Any]:
    return {names.get(name, name): part for name, part in value.items() if name not in dropped}


def plainly(value: object) -> Any:
    """Return a value as JSON has it."""
    return json.loads(msgspec.json.encode(value))


def without_new_fields(loaded: Any, written: Any) -> Any:
    """Return a loaded value without the fields, at any depth, that the old version did not write."""
    if isinstance(written, dict):
        return {name: without_new_fields(loaded[name], value) for name, value in written.items()}
    if isinstance(written, list) and len(loaded) == len(written):
        return [without_new_fields(*pair) for pair in zip(loaded, written, strict=True)]
    return loaded


async def load_all(store: Store) -> dict[str, Any]:
    loaded = await store.load(*HERE)
    events = [record async for record in store.events()]
    values: dict[str, Any] = plainly({"stops": loaded.stops, "intents": loaded.intents, "events": events})
    return values


async def test_every_record_intent_and_event_of_an_old_store_loads_as_it_was_written(old: OldStore) -> None:
    for _ in range(2):  # migrated, and opened again
        async with open_store(old.url) as store:
            loaded = await load_all(store)
        assert loaded["intents"] == old.intents
        assert without_new_fields(loaded["events"], old.events) == old.events
        assert without_new_fields(loaded["stops"], old.stops) == old.stops


async def test_a_closed_position_of_an_old_store_stays_closed_and_loads_whole_once_it_is_reopened(
    old: OldStore,
) -> None:
    (closed,) = old.closed
    async with open_store(old.url) as store:
        before = await load_all(store)
        (other, *_) = (await store.load(*HERE)).stops
        position = msgspec.convert(closed["position"], type(other.position))
        late = msgspec.structs.replace(other, position=position)
        await store.commit([SaveStop(*HERE, late)])
        assert await load_all(store) == before
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
        assert without_new_fields(plainly(record), closed) == closed


async def test_a_migrated_store_continues_the_numbers_and_the_marks_of_the_old_one(old: OldStore) -> None:
    async with open_store(old.url) as store, store.acquire_lease(*HERE, mark="cafe") as lease:
        (first, *_) = (await store.load(*HERE)).stops
        new = msgspec.structs.replace(first, position=msgspec.structs.replace(first.position, id="a new one"))
        await lease.commit([SaveStop(*HERE, new)])
        assert (await store.load(*HERE)).stops[-1] == new
        if old.schema:
            assert lease.marks == {"beef"}


async def test_an_old_store_is_not_migrated_by_opening_it_read_only(old: OldStore) -> None:
    with pytest.raises(
        StoreError, match=r"its schema has the old version \d; open it with a bot of this version to migrate it$"
    ):
        async with open_store(old.url, read_only=True):
            raise AssertionError("it was opened")


async def test_a_migrated_store_has_no_old_name_no_plan_in_a_record_and_each_plan_once(old: OldStore, dsn: str) -> None:
    async with open_store(old.url):
        pass
    records = [json.loads(text) for (text,) in query(old, dsn, "SELECT CAST(body AS text) FROM stop_records")]
    assert [name for record in records for name in record if name in {*RENAMED_IN_RECORDS, *DROPPED_FROM_RECORDS}] == []
    assert [record["plan"] for record in records] == [{}] * 9
    events = [json.loads(text) for (text,) in query(old, dsn, "SELECT CAST(body AS text) FROM events")]
    assert [name for event in events for name in event if name in RENAMED_IN_EVENTS] == []
    plans = {json.dumps(stop["plan"], sort_keys=True) for stop in (*old.stops, *old.closed)}
    assert query(old, dsn, "SELECT count(*) FROM plans") == [(len(plans),)]
    assert query(old, dsn, "SELECT count(*) FROM stops WHERE plan IS NULL") == [(0,)]


def query(old: OldStore, dsn: str, statement: str) -> list[Any]:
    if old.path is not None:
        with closing(sqlite3.connect(old.path)) as file:
            return file.execute(statement).fetchall()
    with psycopg.connect(dsn) as server:
        server.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(old.schema)))
        return server.execute(statement.encode()).fetchall()


def columns_of_file(path: Path) -> Iterator[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"):
            yield from ((name, *column) for column in file.execute(f"PRAGMA table_info({name})").fetchall())


@pytest.mark.parametrize("version", [1, 2])
async def test_a_migrated_file_has_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    async with open_store(f"sqlite:///{tmp_path}/new.db"), open_store(f"sqlite:///{copy_file(version, tmp_path)}"):
        pass
    assert list(columns_of_file(tmp_path / "old.db")) == list(columns_of_file(tmp_path / "new.db"))
