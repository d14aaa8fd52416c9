"""Look behind the stores: their connections, statements and locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trailing.stores.compaction import CompactedBatch
from trailing.stores.lock_file import _Lock, _take
from trailing.stores.port import Store, StoreWrite
from trailing.stores.postgres import PostgresStore
from trailing.stores.sqlite import SqliteStore


def connection_of(store: Store) -> sqlite3.Connection:
    """Return the connection of a store in SQLite."""
    assert isinstance(store, SqliteStore)
    return store._connection


def is_in_use(store: Store) -> bool:
    """Return whether a thread is using a store in SQLite."""
    assert isinstance(store, SqliteStore)
    return store._limiter.borrowed_tokens > 0


def keep_in_use(store: Store) -> None:
    """Make a store in SQLite look as if a thread was using it without end."""
    assert isinstance(store, SqliteStore)
    store._limiter.acquire_on_behalf_of_nowait(keep_in_use)


def take_lock(path: Path, mark: str) -> _Lock | str:
    """Lock a file at once. Returns the lock, or the name of its holder."""
    return _take(path, mark)


def statements_of(store: PostgresStore, entries: Sequence[StoreWrite]) -> int:
    """Return the number of statements that a commit of these entries sends to Postgres."""
    return len(list(store._writer.statements(CompactedBatch(entries), 1)))


async def query(store: PostgresStore, statement: str) -> Sequence[Any]:
    """Execute a query on one of the store's own sessions, and return its rows."""
    return await store._read(statement)


async def run_on_session(store: Store, work: Callable[[Any], Awaitable[object]]) -> None:
    """Run something on one of the store's own sessions, as a commit does."""
    assert isinstance(store, PostgresStore)
    await store._server.run(work)


def shown_of_server(store: PostgresStore) -> str:
    """Return the repr of the store's connections."""
    return repr(store._server)


async def take_lease(store: Store, key: Mapping[str, str], mark: str) -> Any:
    """Take a lease once. Return it, or None if another process owns the account."""
    assert isinstance(store, PostgresStore)
    leases: Any = store._leases
    return await leases._take(key, mark, retry_forever=False)
