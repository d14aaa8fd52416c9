"""Do work on connections to a Postgres server, and try it again after failures."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import psycopg
import trio
from psycopg.conninfo import make_conninfo

from trailing.errors import StoreError, UsageError
from trailing.psycopg_trio import Pool, TrioConnection, describe_server, open_pool, read_conninfo

T = TypeVar("T")

Work: TypeAlias = Callable[[TrioConnection[Any]], Awaitable[T]]

CONNECTIONS: Final = 3
"""The most connections of a store, besides one that listens: one writes while others read."""

REPLY_SECONDS: Final = 10.0
"""Seconds for one try, connecting included, before the work is tried again on another connection."""

MAX_REPLY_FACTOR: Final = 4
"""The time for one try doubles after each one that took too long, up to this multiple of the first."""

CLEANUP_SECONDS: Final = 2.0
"""Seconds for cancelling a try that took too long on the server, before its connection is closed."""

POLL_SECONDS: Final = 5.0
"""Seconds between two reads of a follower that gets no notification, because notifications can be lost."""

# Parameters for libpq that the address may override. With these, a server that disappears is detected within 15 seconds.
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",
    "fallback_application_name": "trailing",
}

# The settings of each session. A commit is on the server's disk when it returns, also if the database turns that off, and a
# session whose client has disappeared ends soon.
_SETTINGS: Final = """
    SELECT set_config(name, setting, false)
    FROM (VALUES ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
        ('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
            ELSE current_setting('synchronous_commit') END)) AS wanted (name, setting)"""

# The server is starting, stopping, out of connections, or a standby now: that ends, or another server of the address
# answers. Or it has ended an idle session by its settings: another one is opened. The last two are conflicts between
# transactions.
_TEMPORARY: Final = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.IdleSessionTimeout,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TooManyConnections,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)


class ServerTiming(msgspec.Struct, frozen=True):
    """The time limits of a store, in seconds; see the constants of the same names.

    Args:
        longest_pause: the longest pause between two tries.
    """

    reply: float = REPLY_SECONDS
    cleanup: float = CLEANUP_SECONDS
    poll: float = POLL_SECONDS
    longest_pause: float = 5.0


@asynccontextmanager
async def open_server(
    conninfo: str, *, note: str, sessions: int, read_only: bool, timing: ServerTiming
) -> AsyncIterator[Server]:
    """Open the pool of connections to the server of a conninfo. The first work opens the first connection.

    Args:
        note: is added to the server's address in messages.
        sessions: the key of an advisory lock that all sessions share, so that other processes can find them.

    Raises:
        UsageError: the conninfo can't be parsed. The error does not repeat it.
    """
    try:
        params = read_conninfo(conninfo)
    except psycopg.ProgrammingError as error:
        raise UsageError(f"open_store: {error}") from None

    async def configure(connection: TrioConnection[Any]) -> None:
        connection.cleanup_seconds = timing.cleanup
        await connection.execute(_SETTINGS)
        await connection.execute("SELECT pg_advisory_lock_shared(%s)", (sessions,))
        if read_only:
            await connection.execute("SET default_transaction_read_only = on")

    full = make_conninfo("", **{**_DEFAULTS, **params})
    where = f"Postgres {describe_server(params)} {note}"
    async with open_pool(full, 0, CONNECTIONS, seconds=timing.reply, configure=configure, autocommit=True) as pool:
        yield Server(where, full, pool, timing, read_only=read_only)


class Server:
    """The connections to a server; `open_server` opens them.

    Attributes:
        where: the address of the server without its password, for messages.
    """

    def __init__(self, where: str, conninfo: str, pool: Pool, timing: ServerTiming, *, read_only: bool) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s

        self.where = where
        self.timing = timing
        self._conninfo = conninfo
        self._read_only = read_only
        self._pool = pool
        self._log = structlog.get_logger("trailing").bind()
        self._unreachable = False

    def __repr__(self) -> str:
        return f"<Server: {self.where}{', unreachable' if self._unreachable else ''}, {self._pool!r}>"

    async def connect(self) -> TrioConnection[Any]:
        """Open a connection outside of the pool."""
        connection = await TrioConnection[Any].connect(self._conninfo, autocommit=True)
        connection.cleanup_seconds = self.timing.cleanup
        return connection

    async def run(
        self, work: Work[T], *, retry_forever: bool = False, shield: bool = False, seconds: float | None = None
    ) -> T:
        """Do work on a connection, and again on another one while the server can't be reached.

        Args:
            work: may be done twice without harm.
            retry_forever: try again without end; else for `ServerTiming.reply` seconds.
            shield: a try that has begun is not cancelled.
            seconds: the time for the first try; None: `ServerTiming.reply`.

        Returns:
            The result of the work.

        Raises:
            StoreError: Postgres refused the work, or (without `retry_forever`) could not be reached.

        Cancellation: cancels the running query on the server; with `shield`, only between two tries.
        """
        give_up_at = trio.current_time() + (math.inf if retry_forever else self.timing.reply)
        pause, seconds = 0.0, self.timing.reply if seconds is None else seconds
        while True:
            failure: Exception
            try:
                with trio.move_on_after(seconds, shield=shield):
                    async with self._pool.connection() as connection:
                        try:
                            result = await work(connection)
                        except psycopg.errors.ReadOnlySqlTransaction:
                            connection.finish()  # the next connection may reach another server, which is not a standby
                            raise
                    self._log_reachable()
                    return result
                failure = psycopg.OperationalError(f"no answer within {seconds} s")
                seconds = min(2 * seconds, MAX_REPLY_FACTOR * self.timing.reply)  # the server may only be slow
            except (psycopg.Error, UnicodeError) as error:
                failure = error
            refused = self._read_only and isinstance(failure, psycopg.errors.ReadOnlySqlTransaction)
            if refused or not _is_temporary(failure) or trio.current_time() >= give_up_at:
                raise StoreError(f"{self.where}: {one_line(failure)}") from failure
            if pause and retry_forever:  # otherwise the error says it
                self._log_unreachable(failure)
            await trio.sleep(pause)
            pause = min(2 * pause or 0.1, self.timing.longest_pause)

    def _log_unreachable(self, failure: Exception) -> None:
        if not self._unreachable:
            self._unreachable = True
            self._log.warning("the store can't be reached", store=self.where, error=one_line(failure))

    def _log_reachable(self) -> None:
        if self._unreachable:
            self._unreachable = False
            self._log.warning("the store is reached again", store=self.where)


def _is_temporary(failure: Exception) -> bool:
    """Return whether the connection or the server's state caused a failure, and not the work."""
    if isinstance(failure, psycopg.errors.PipelineAborted):
        return False
    lost = isinstance(failure, psycopg.OperationalError | psycopg.InterfaceError) and failure.sqlstate is None
    return lost or isinstance(failure, _TEMPORARY)


def one_line(error: Exception) -> str:
    """Return an error's message in one line. The server's details are left out, because they may repeat rows."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((primary or str(error)).split())
