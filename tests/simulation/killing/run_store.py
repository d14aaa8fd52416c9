"""Where the bots of a run keep their books: in a file of SQLite, or in a schema of a Postgres server."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

import trio

from trailing.stores import open_store
from trailing.stores.port import Loaded

OWNED_WITHIN = 8.0
"""Seconds from a restart until a bot owns the account, beside the lease of a dead one."""

CALL_SECONDS = 0.8
"""So long a call may take at most on Postgres: it has to end within what a lease surely has left."""


class RunStore(Protocol):
    """What one bot after the other writes, as it is looked at from outside.

    Attributes:
        url: of the store, for the bots.
        lease_seconds: how long after its last sign of life a dead bot still owns the account.
    """

    @property
    def url(self) -> str: ...
    @property
    def lease_seconds(self) -> float: ...

    async def load(self, exchange: str, account: str) -> Loaded:
        """What they hold; nothing where no bot has lived long enough to write. Raises StoreError."""

    async def damage(self) -> list[str]:
        """What is wrong with how they are kept; nothing where all is well. Changes nothing."""

    async def owners(self) -> int | None:
        """How many bots have owned the account so far; None: that is not counted."""


def open_run_store(store: str | None, folder: Path) -> AbstractAsyncContextManager[RunStore]:
    """The books of a run.

    Args:
        store: the address of a store in Postgres: a schema is made there, and dropped at the end. None: a file of SQLite.
        folder: where the file comes to stand, and stays.

    Raises:
        psycopg.Error: there is no such server.
    """
    if store is None:
        return _open_file(folder / "trailing.db")
    # psycopg is imported only where it is used
    from simulation.killing.postgres_run_store import open_postgres_run_store  # noqa: PLC0415

    return open_postgres_run_store(store)


@asynccontextmanager
async def _open_file(path: Path) -> AsyncIterator[FileRunStore]:
    yield FileRunStore(path)


class FileRunStore:
    """A file of SQLite, opened beside the bot that writes it; its lock ends with its owner."""

    lease_seconds: float = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}"

    async def load(self, exchange: str, account: str) -> Loaded:
        """See `Books.load`."""
        if not await trio.Path(self._path).exists():
            return Loaded((), ())
        async with open_store(self.url, read_only=True) as store:
            return await store.load(exchange, account)

    async def damage(self) -> list[str]:
        """What SQLite's own check finds wrong with the file.

        Cancellation: the check that has begun is finished first.
        """
        found = await trio.to_thread.run_sync(_integrity, self._path)
        return [f"the store's file is damaged: {each}" for each in found if each != "ok"]

    async def owners(self) -> None:
        """Nobody counts them here."""


def _integrity(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            return [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
