"""The way to a Postgres server: what is tried again on another connection, and for how long."""

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
from trailing.psycopg_trio import Pool, TrioConnection, open_pool, read_conninfo

T = TypeVar("T")

Work: TypeAlias = Callable[[TrioConnection[Any]], Awaitable[T]]

CONNECTIONS: Final = 3
"""How many connections a store has at most, beside one that listens: one writes, and others read meanwhile."""

REPLY_SECONDS: Final = 10.0
"""How long one try may take, connecting included, before it is made again on another connection."""

MOST_PATIENT: Final = 4
"""How many times as long a later try may take, after earlier ones took too long."""

CLEANUP_SECONDS: Final = 2.0
"""How long a try that took too long is cancelled on the server, before its connection is closed."""

LOOK_SECONDS: Final = 5.0
"""How often a follower looks for itself, so that one that was not told of something still hears of it."""

# What libpq takes for these; each counts only where the address does not say otherwise. A server that is gone without a
# word is noticed in a quarter of a minute.
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",
    "fallback_application_name": "trailing",
}

# What the server does, in every session: a commit is on its disk when it returns, also where the database says that it
# need not be, and a session whose client is gone ends soon.
_SETTINGS: Final = """
    SELECT set_config(name, setting, false)
    FROM (VALUES ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'),
        ('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
            ELSE current_setting('synchronous_commit') END)) AS wanted (name, setting)"""

# The server is starting, stopping, has no place left for another connection or is a standby now: it will pass, or
# another server of the address will answer. And two transactions that were in each other's way.
_PASSING: Final = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.TooManyConnections,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)


class Timing(msgspec.Struct, frozen=True):
    """How patient a store is, in seconds; see the constants of the same names."""

    reply: float = REPLY_SECONDS
    cleanup: float = CLEANUP_SECONDS
    look: float = LOOK_SECONDS
    longest_pause: float = 5.0


@asynccontextmanager
async def open_server(
    conninfo: str, *, note: str, sessions: int, read_only: bool, timing: Timing
) -> AsyncIterator[Server]:
    """The way to the server of a conninfo; nothing is sent there yet.

    Args:
        note: what messages add to the address.
        sessions: the key of an advisory lock that all sessions share, so that others can tell whose they are.

    Raises:
        UsageError: the conninfo can't be read. It does not repeat it.
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
    where = f"Postgres {params.get('host', '')}/{params.get('dbname', '')} {note}"
    async with open_pool(full, 0, CONNECTIONS, seconds=timing.reply, configure=configure, autocommit=True) as pool:
        yield Server(where, full, pool, timing, read_only=read_only)


class Server:
    """The way to a server; `open_server` makes one.

    Attributes:
        where: its address, without a password.
    """

    def __init__(self, where: str, conninfo: str, pool: Pool, timing: Timing, *, read_only: bool) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s

        self.where = where
        self.timing = timing
        self._conninfo = conninfo
        self._read_only = read_only
        self._pool = pool
        self._log = structlog.get_logger("trailing").bind()
        self._unreachable = False

    def __repr__(self) -> str:
        return f"<Server: {self.where}>"

    async def connect(self) -> TrioConnection[Any]:
        """A connection beside those of the pool."""
        connection = await TrioConnection[Any].connect(self._conninfo, autocommit=True)
        connection.cleanup_seconds = self.timing.cleanup
        return connection

    async def run(
        self, work: Work[T], *, patient: bool = False, shield: bool = False, seconds: float | None = None
    ) -> T:
        """Do work on a connection, and again on another one for as long as the server can't be reached.

        Args:
            work: does no harm where it is done twice.
            patient: go on for ever, not only for the time of a reply.
            shield: a try that has begun is not cancelled.
            seconds: how long the first try may take; None: the time of a reply.

        Raises:
            StoreError: Postgres refused, or (unless `patient`) could not be reached.
        """
        give_up_at = trio.current_time() + (math.inf if patient else self.timing.reply)
        pause, seconds = 0.0, self.timing.reply if seconds is None else seconds
        while True:
            failure: Exception
            try:
                with trio.move_on_after(seconds, shield=shield):
                    async with self._pool.connection() as connection:
                        try:
                            result = await work(connection)
                        except psycopg.errors.ReadOnlySqlTransaction:
                            connection.finish()  # the next one may reach another server, that is no standby
                            raise
                    self._say_reached()
                    return result
                failure = psycopg.OperationalError(f"no answer within {seconds} s")
                seconds = min(2 * seconds, MOST_PATIENT * self.timing.reply)  # it may be slow, and not gone
            except (psycopg.Error, UnicodeError) as error:
                failure = error
            refused = self._read_only and isinstance(failure, psycopg.errors.ReadOnlySqlTransaction)
            if refused or not _will_pass(failure) or trio.current_time() >= give_up_at:
                raise StoreError(f"{self.where}: {one_line(failure)}") from failure
            if pause and patient:  # the others are told by the error
                self._say_unreachable(failure)
            await trio.sleep(pause)
            pause = min(2 * pause or 0.1, self.timing.longest_pause)

    def _say_unreachable(self, failure: Exception) -> None:
        if not self._unreachable:
            self._unreachable = True
            self._log.warning("the store can't be reached", store=self.where, error=one_line(failure))

    def _say_reached(self) -> None:
        if self._unreachable:
            self._unreachable = False
            self._log.warning("the store is reached again", store=self.where)


def _will_pass(failure: Exception) -> bool:
    """Whether it was the way to the server, or its state, and not what it was asked for."""
    if isinstance(failure, psycopg.errors.PipelineAborted):
        return False
    lost = isinstance(failure, psycopg.OperationalError | psycopg.InterfaceError) and failure.sqlstate is None
    return lost or isinstance(failure, _PASSING)


def one_line(error: Exception) -> str:
    """What went wrong, without the server's details: these may repeat rows."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((primary or str(error)).split())
