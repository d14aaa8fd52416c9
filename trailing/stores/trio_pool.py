"""A small pool of connections to Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import msgspec
import psycopg
import trio
from psycopg import pq

from trailing.stores.trio_connection import TrioConnection
from trailing.stores.trio_conninfo import read_conninfo
from trailing.stores.trio_locks import acquire

Configure: TypeAlias = Callable[[TrioConnection[Any]], Awaitable[object]]

CHECK_SECONDS: Final = 2.0
"""How long a connection may take to answer the check before it is lent again: ten slow round trips round the earth."""


class PoolTimeout(psycopg.OperationalError):
    """No connection was to be had in time: all were lent, or the server did not answer."""


class PoolStatistics(msgspec.Struct, frozen=True):
    """What a pool has, and what it has done so far.

    Args:
        size: connections that are open, lent ones included.
        idle: of these, those that wait to be lent.
        waiting: tasks that wait for one.
        lent: how often one was lent.
        opened: how many were opened.
        checked: how many were checked before they were lent, because their last borrower had failed.
        discarded: how many were closed because they were broken, or in a state in which nobody can use them.
        timeouts: how many tasks waited in vain.
    """

    size: int
    idle: int
    waiting: int
    lent: int
    opened: int
    checked: int
    discarded: int
    timeouts: int


@asynccontextmanager
async def open_pool(
    conninfo: str,
    minimum: int = 1,
    maximum: int = 4,
    *,
    seconds: float = 30.0,
    configure: Configure | None = None,
    **options: Any,
) -> AsyncIterator[Pool]:
    """Open a pool of connections; they are closed at the end of the block.

    Args:
        conninfo: what libpq takes.
        minimum: how many connections are opened at once, at least 0.
        maximum: how many there are at most, at least 1.
        seconds: how long a borrower waits at most, connecting included.
        configure: is called with every new connection, and has to leave it outside of any transaction.
        options: for `TrioConnection.connect`, as ``autocommit``.

    Raises:
        ValueError: the numbers can't be right.
        psycopg.Error: the first connections can't be opened.

    Cancellation: closes what was opened.
    """
    if not 0 <= minimum <= maximum or maximum < 1 or not seconds > 0:
        raise ValueError(f"open_pool got {minimum=}, {maximum=}, {seconds=}, wants 0 <= minimum <= maximum >= 1")
    read_conninfo(conninfo)
    pool = Pool(conninfo, minimum, maximum, seconds, configure, options)
    try:
        await pool.fill()
        yield pool
    finally:
        pool.close()


class Pool:
    """Connections that are lent to one task at a time; `open_pool` makes one."""

    def __init__(
        self,
        conninfo: str,
        minimum: int,
        maximum: int,
        seconds: float,
        configure: Configure | None,
        options: dict[str, Any],
    ) -> None:
        self._conninfo = conninfo
        self._minimum = minimum
        self._seconds = seconds
        self._configure = configure
        self._options = options
        self._places = trio.Semaphore(maximum)
        self._open: set[TrioConnection[Any]] = set()
        self._idle: list[TrioConnection[Any]] = []
        self._suspect: set[TrioConnection[Any]] = set()
        self._closed = False
        self._lent = self._opened = self._checked = self._discarded = self._timeouts = 0

    def __repr__(self) -> str:
        return f"<Pool: {self.statistics()}>"

    def statistics(self) -> PoolStatistics:
        """What it has, and has done."""
        return PoolStatistics(
            size=len(self._open),
            idle=len(self._idle),
            waiting=self._places.statistics().tasks_waiting,
            lent=self._lent,
            opened=self._opened,
            checked=self._checked,
            discarded=self._discarded,
            timeouts=self._timeouts,
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[TrioConnection[Any]]:
        """Borrow a connection for a block; in the order in which they ask.

        At the end of the block its transaction is committed, or rolled back where the block raises. The next borrower
        gets a connection outside of any transaction; one that can't be brought there is closed, and replaced.

        Raises:
            PoolTimeout: none was to be had within `seconds`, with the reason where there is one.
            psycopg.Error: none could be opened.
            RuntimeError: the pool is closed.

        Cancellation: while it waits, leaves everything as it was; in the block, rolls back first.
        """
        connection = await self._borrow()
        try:
            yield connection
            await connection.commit()
        except BaseException:
            self._suspect.add(connection)
            if not connection.closed:
                with connection.cleaning_up():
                    await self._roll_back(connection)
            raise
        finally:
            self._give_back(connection)

    async def fill(self) -> None:
        """Open connections until there are as many as there have to be at least."""
        while len(self._open) < self._minimum:
            self._idle.append(await self._connect())

    def close(self) -> None:
        """Close those that are idle now, and the others when they are given back."""
        self._closed = True
        for connection in self._idle:
            self._discard(connection)
        self._idle.clear()

    async def _borrow(self) -> TrioConnection[Any]:
        if self._closed:
            raise RuntimeError("the pool is closed")
        with trio.move_on_after(self._seconds):
            await acquire(self._places)
            try:
                connection = await self._find()
            except BaseException:
                self._places.release()
                raise
            self._lent += 1
            return connection
        self._timeouts += 1
        raise PoolTimeout(f"no connection within {self._seconds} s: {self.statistics()}")

    async def _find(self) -> TrioConnection[Any]:
        """One that works: an idle one, the last used first, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection not in self._suspect or await self._works(connection):
                self._suspect.discard(connection)
                return connection
            self._discard(connection)
        return await self._connect()

    async def _works(self, connection: TrioConnection[Any]) -> bool:
        self._checked += 1
        try:
            with trio.move_on_after(CHECK_SECONDS) as checking:
                await connection.execute("SELECT 1")
                await connection.rollback()
        except psycopg.Error:
            return False
        except BaseException:
            self._discard(connection)
            raise
        return not checking.cancelled_caught and _is_clean(connection)

    async def _connect(self) -> TrioConnection[Any]:
        connection = await TrioConnection[Any].connect(self._conninfo, **self._options)
        self._open.add(connection)
        self._opened += 1
        if self._configure is not None:
            try:
                await self._configure(connection)
            except BaseException:
                self._discard(connection)
                raise
        return connection

    async def _roll_back(self, connection: TrioConnection[Any]) -> None:
        try:
            await connection.rollback()
        except psycopg.Error as error:
            connection.abandon(f"rolling back failed: {error}")

    def _give_back(self, connection: TrioConnection[Any]) -> None:
        if self._closed or not _is_clean(connection):
            self._discard(connection)
        else:
            self._idle.append(connection)
        self._places.release()

    def _discard(self, connection: TrioConnection[Any]) -> None:
        self._open.discard(connection)
        self._suspect.discard(connection)
        if not self._closed:
            self._discarded += 1
        connection.finish()


def _is_clean(connection: TrioConnection[Any]) -> bool:
    """Whether the next borrower can begin on it."""
    return (
        not connection.closed
        and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        and connection.pgconn.pipeline_status == pq.PipelineStatus.OFF
    )
