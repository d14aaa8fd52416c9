"""Look behind the stores: their connections, statements and locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trailing.stores.folding import Folded
from trailing.stores.lock_file import _Lock, _take
from trailing.stores.port import Store, StoreWrite
from trailing.stores.postgres import PostgresStore
from trailing.stores.sqlite import SqliteStore


def connection_of(store: Store) -> sqlite3.Connection:
    """The connection of a store in SQLite."""
    assert isinstance(store, SqliteStore)
    return store._connection


def is_in_use(store: Store) -> bool:
    """Whether a thread is at work on a store in SQLite."""
    assert isinstance(store, SqliteStore)
    return store._limiter.borrowed_tokens > 0


def keep_in_use(store: Store) -> None:
    """Let a store in SQLite look as if a thread was at work on it for ever."""
    assert isinstance(store, SqliteStore)
    store._limiter.acquire_on_behalf_of_nowait(keep_in_use)


def take_lock(path: Path, mark: str) -> _Lock | str:
    """Lock a file at once. Returns the lock, or the name of its holder."""
    return _take(path, mark)


def statements_of(store: PostgresStore, entries: Sequence[StoreWrite]) -> int:
    """How many statements a commit of these entries sends to Postgres."""
    return len(list(store._writer.statements(Folded(entries), 1)))


async def query(store: PostgresStore, statement: str) -> Sequence[Any]:
    """The rows of a query over one of the store's own sessions."""
    return await store._read(statement)


async def run_on_session(store: Store, work: Callable[[Any], Awaitable[object]]) -> None:
    """Run something on one of the store's own sessions, as a commit does."""
    assert isinstance(store, PostgresStore)
    await store._server.run(work)


def shown_of_server(store: PostgresStore) -> str:
    """The representation of the store's pool of sessions."""
    return repr(store._server)


async def take_lease(store: Store, key: Mapping[str, str], mark: str) -> Any:
    """Take a lease in its table, once. Returns its row, or None where somebody else holds it."""
    assert isinstance(store, PostgresStore)
    leases: Any = store._leases
    return await leases._take(key, mark, patient=False)
