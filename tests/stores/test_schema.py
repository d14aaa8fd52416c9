from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from trailing.stores import open_store
from trailing.stores.port import AddIntent
from trailing.stores.schema import create_tables, read_version
from trailing.testing.store_samples import sample_intent


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def test_creating_what_another_process_has_created_meanwhile_changes_nothing(connection: sqlite3.Connection) -> None:
    create_tables(connection)
    connection.execute("INSERT INTO events (at, exchange, account, event) VALUES (1, 'testex', 'main', '{}')")
    create_tables(connection)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert not connection.in_transaction


def test_creating_that_fails_half_way_leaves_nothing(connection: sqlite3.Connection) -> None:
    def refuse_events(action: int, name: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_TABLE and name == "events" else sqlite3.SQLITE_OK

    connection.set_authorizer(refuse_events)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        create_tables(connection)
    assert read_version(connection) == 0
    assert not connection.in_transaction


async def test_two_that_open_a_new_file_at_once_share_it(tmp_path: Path) -> None:
    async def open_and_write(name: str) -> None:
        async with open_store(f"sqlite:///{tmp_path}/trailing.db") as store:
            await store.commit([AddIntent(sample_intent(name))])

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(open_and_write, f"t{number}")
    async with open_store(f"sqlite:///{tmp_path}/trailing.db") as store:
        assert len((await store.load("testex", "main")).intents) == 4
