"""The tables of a SQLite file: creating them is atomic, also with several processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trailing.stores import open_store
from trailing.stores.port import AddIntent
from trailing.stores.sqlite_schema import migrate_tables, read_version
from trailing.testing.store_samples import sample_intent


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def test_tables_that_another_process_has_created_meanwhile_are_not_changed(connection: sqlite3.Connection) -> None:
    migrate_tables(connection, 0)
    connection.execute("INSERT INTO events (at, exchange, account, body) VALUES (1, 'testex', 'main', '{}')")
    migrate_tables(connection, 0)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert not connection.in_transaction


def test_a_creation_that_fails_leaves_no_table(connection: sqlite3.Connection) -> None:
    def refuse_events(action: int, name: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_TABLE and name == "events" else sqlite3.SQLITE_OK

    connection.set_authorizer(refuse_events)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        migrate_tables(connection, 0)
    assert read_version(connection) == 0
    assert not connection.in_transaction


async def test_tasks_that_open_a_new_file_at_the_same_time_share_it(tmp_path: Path) -> None:
    async def open_and_write(name: str) -> None:
        async with open_store(f"sqlite:///{tmp_path}/trailing.db") as store:
            await store.commit([AddIntent(sample_intent(name))])

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(open_and_write, f"t{number}")
    async with open_store(f"sqlite:///{tmp_path}/trailing.db") as store:
        assert len((await store.load("testex", "main")).intents) == 4
