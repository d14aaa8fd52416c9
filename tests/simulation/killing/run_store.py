"""The store of a run's bots: a SQLite file, or a schema of a Postgres server."""

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
"""Seconds from a restart until a bot owns the account, in addition to a dead bot's lease."""

CALL_SECONDS = 0.8
"""The most seconds of a call on Postgres. A call has to end before the lease can."""


class RunStore(Protocol):
    """The records of one bot after the other, as the run reads them.

    Attributes:
        url: the address of the store, for the bots.
        lease_seconds: seconds after its last renewal for which a dead bot owns the account.
    """

    @property
    def url(self) -> str: ...
    @property
    def lease_seconds(self) -> float: ...

    async def load(self, exchange: str, account: str) -> Loaded:
        """Return the records; none if no bot has written yet. Raises StoreError."""

    async def damage(self) -> list[str]:
        """Return what is damaged in the store, without changing it."""

    async def owners(self) -> int | None:
        """Return how many bots have owned the account so far; None: not counted."""


def open_run_store(store: str | None, folder: Path) -> AbstractAsyncContextManager[RunStore]:
    """Open the store of a run.

    Args:
        store: the address of a Postgres server, on which a schema is created, and dropped at the end. None: a SQLite file.
        folder: the folder of the file, which is kept.

    Raises:
        psycopg.Error: the server does not exist.
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
    """A SQLite file that is read while a bot writes it. Its lock ends with its owner."""

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
        """Return the damage that SQLite's own check finds.

        Cancellation: a check that has begun is finished first.
        """
        found = await trio.to_thread.run_sync(_integrity, self._path)
        return [f"the store's file is damaged: {each}" for each in found if each != "ok"]

    async def owners(self) -> None:
        """Return None: a file does not count its owners."""


def _integrity(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            return [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
