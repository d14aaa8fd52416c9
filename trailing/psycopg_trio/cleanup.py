"""Clean up at the end of psycopg's blocks, on trio.

asyncio cancels a task once and lets psycopg's clean-up run. A task that trio has cancelled stays cancelled. So rolling back
or emptying a pipeline needs a shield, and every shield has a deadline.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import trio
from psycopg import AsyncPipeline, AsyncServerCursor, AsyncTransaction
from psycopg.rows import Row

CLEANUP_SECONDS: Final = 5.0
"""Seconds for which cancelling a query or rolling back may delay a cancelled task; psycopg uses the same on asyncio."""

_logger = logging.getLogger("psycopg")


class CleaningConnection(psycopg.AsyncConnection[Row]):
    """A connection that is closed if it can't be cleaned up in time."""

    cleanup_seconds: float = CLEANUP_SECONDS

    async def close(self) -> None:
        """Close the connection. A task that is waiting for it gets a `psycopg.OperationalError`."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        await super().close()

    def finish(self) -> None:
        """Close the connection at once, also during a query. Postgres rolls back an open transaction."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
            self.pgconn.finish()

    def abandon(self, reason: str) -> None:
        """Log the reason and close the connection, because its state is unknown."""
        if not self.closed:
            _logger.warning("%s: closing %s", reason, self)
            self.finish()

    @contextmanager
    def cleaning_up(self, reason: str = "cleaning up took too long") -> Iterator[None]:
        """Shield the block from cancellation for `cleanup_seconds`; after that, close the connection."""
        with trio.move_on_after(self.cleanup_seconds, shield=True) as cleaning:
            yield
        if cleaning.cancelled_caught:
            self.abandon(reason)


class Transaction(AsyncTransaction):
    """A transaction that is rolled back on the server also if its task is cancelled."""

    _conn: CleaningConnection[Any]

    async def __aenter__(self) -> Self:
        async with self._conn.lock:
            self._check_enter()
            try:
                await self._conn.wait(self._enter_gen())
            except BaseException as error:
                if self._conn.closed:
                    self.status = self.Status.FAILED
                else:
                    with self._conn.cleaning_up():
                        await self._conn.wait(self._exit_gen(type(error), error, None))
                raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if exc is None:
            try:
                return await super().__aexit__(None, None, None)
            except BaseException as error:
                if self.status is not self.Status.ACTIVE:
                    raise  # COMMIT was sent
                await self._roll_back(error)
                raise
        return await self._roll_back(exc)

    async def _roll_back(self, error: BaseException) -> bool:
        with self._conn.cleaning_up():
            return await super().__aexit__(type(error), error, error.__traceback__)
        return False


class Pipeline(AsyncPipeline):
    """A pipeline that is emptied also if its task is cancelled."""

    _conn: CleaningConnection[Any]

    async def __aenter__(self) -> Self:
        level = self.level
        try:
            return await super().__aenter__()
        except BaseException as error:
            if self.level > level:  # entered, and cancelled while it waited for the results of earlier queries
                await self._empty(error)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException as error:
                await self._empty(error)
                raise
            await super().__aexit__(None, None, None)
        else:
            await self._empty(exc)

    async def _empty(self, error: BaseException) -> None:
        with self._conn.cleaning_up():
            await super().__aexit__(type(error), error, error.__traceback__)


class ServerCursor(AsyncServerCursor[Row]):
    """A server-side cursor that is closed on the server also if its task is cancelled."""

    _conn: CleaningConnection[Any]

    async def close(self) -> None:
        if trio.current_effective_deadline() > -math.inf:
            await super().close()
        else:
            with self._conn.cleaning_up():
                await super().close()
