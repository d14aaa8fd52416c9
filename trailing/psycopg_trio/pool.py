"""A small pool of connections to Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import psycopg
import trio
from psycopg import pq

from .connection import TrioConnection
from .conninfo import describe_server, read_conninfo
from .locks import acquire

Configure: TypeAlias = Callable[[TrioConnection[Any]], Awaitable[object]]

CHECK_SECONDS: Final = 2.0
"""Seconds that a connection has to answer the check before it is lent again; ten slow intercontinental round trips."""


class PoolTimeout(psycopg.OperationalError):
    """No connection was available in time: all were lent, or the server did not answer."""


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The connections of a pool now, and counts since it was opened.

    Args:
        size: open connections, lent ones included.
        idle: open connections that are not lent.
        waiting: tasks that wait for a connection.
        lent: how often a connection was lent.
        opened: how many connections were opened.
        checked: how many connections were checked before they were lent, because their last borrower had failed.
        discarded: how many connections were closed because they were broken or in an unusable state.
        timeouts: how many tasks waited for `seconds` without getting a connection.
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
    """Open a pool of connections, and close them at the end of the block.

    Args:
        conninfo: a connection string or URL, as libpq takes them.
        minimum: how many connections are opened at the start, at least 0.
        maximum: how many connections are open at most, at least 1.
        seconds: how long a borrower waits at most, connecting included; above 0.
        configure: is called with each new connection. It must leave the connection outside of any transaction.
        options: keyword arguments of `TrioConnection.connect`, such as ``autocommit``.

    Raises:
        ValueError: an argument is out of range.
        psycopg.Error: the first connections can't be opened.

    Cancellation: closes the connections.
    """
    if not 0 <= minimum <= maximum or maximum < 1 or not seconds > 0:
        raise ValueError(
            f"open_pool got {minimum=}, {maximum=}, {seconds=}; wants 0 <= minimum <= maximum, maximum >= 1, seconds > 0"
        )
    server = describe_server(read_conninfo(conninfo))
    pool = Pool(server, conninfo, minimum, maximum, seconds, configure, options)
    try:
        await pool.fill()
        yield pool
    finally:
        pool.close()


class Pool:
    """Connections that are lent to one task at a time; `open_pool` opens one."""

    def __init__(
        self,
        server: str,
        conninfo: str,
        minimum: int,
        maximum: int,
        seconds: float,
        configure: Configure | None,
        options: dict[str, Any],
    ) -> None:
        self._server = server
        self._conninfo = conninfo
        self._minimum, self._maximum = minimum, maximum
        self._seconds = seconds
        self._configure = configure
        self._options = options
        self._free = trio.Semaphore(maximum)
        self._open: set[TrioConnection[Any]] = set()
        self._idle: list[TrioConnection[Any]] = []
        self._suspect: set[TrioConnection[Any]] = set()
        self._closed = False
        self._lent = self._opened = self._checked = self._discarded = self._timeouts = 0

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        counts = f"{len(self._open)} of {self._maximum} connections open, {len(self._idle)} idle"
        return f"<Pool of {self._server}: {state}{counts}, {self._free.statistics().tasks_waiting} tasks waiting>"

    def statistics(self) -> PoolStatistics:
        """Return the present numbers of connections and the counts so far."""
        return PoolStatistics(
            size=len(self._open),
            idle=len(self._idle),
            waiting=self._free.statistics().tasks_waiting,
            lent=self._lent,
            opened=self._opened,
            checked=self._checked,
            discarded=self._discarded,
            timeouts=self._timeouts,
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[TrioConnection[Any]]:
        """Lend a connection for a block, to tasks in the order of their calls.

        At the end of the block the transaction is committed, or rolled back if the block raises. The next borrower gets a
        connection outside of any transaction. A connection that can't be cleaned up is closed and replaced.

        Raises:
            PoolTimeout: no connection was available within `seconds`.
            psycopg.Error: no connection could be opened.
            RuntimeError: the pool is closed.

        Cancellation: while waiting, changes nothing; in the block, rolls back first.
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
            self._take_back(connection)

    async def fill(self) -> None:
        """Open connections until `minimum` are open."""
        while len(self._open) < self._minimum:
            self._idle.append(await self._connect())

    def close(self) -> None:
        """Close the idle connections now, and the lent ones when they are returned."""
        self._closed = True
        for connection in self._idle:
            self._discard(connection)
        self._idle.clear()

    async def _borrow(self) -> TrioConnection[Any]:
        if self._closed:
            raise RuntimeError("the pool is closed")
        with trio.move_on_after(self._seconds):
            await acquire(self._free)
            try:
                connection = await self._find()
            except BaseException:
                self._free.release()
                raise
            self._lent += 1
            return connection
        self._timeouts += 1
        raise PoolTimeout(f"no connection within {self._seconds} s: {self!r}")

    async def _find(self) -> TrioConnection[Any]:
        """Return a working connection: the idle one that was used last, or a new one."""
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

    def _take_back(self, connection: TrioConnection[Any]) -> None:
        if self._closed or not _is_clean(connection):
            self._discard(connection)
        else:
            self._idle.append(connection)
        self._free.release()

    def _discard(self, connection: TrioConnection[Any]) -> None:
        self._open.discard(connection)
        self._suspect.discard(connection)
        if not self._closed:
            self._discarded += 1
        connection.finish()


def _is_clean(connection: TrioConnection[Any]) -> bool:
    """Return whether the connection is open, outside of any transaction and outside of a pipeline."""
    return (
        not connection.closed
        and connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        and connection.pgconn.pipeline_status == pq.PipelineStatus.OFF
    )
