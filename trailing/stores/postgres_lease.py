"""Leases in Postgres: a row for each account says who owns it, and until when by the server's clock.

The owner renews it in the background. It counts its own time from when the renewal was sent, which is before the server
counts: so it stops in time, whatever became of the reply. Each owner has a fence, a number that grows; whatever the owner
writes of stops and intents checks it in the same transaction, and keeps the row as it is until that has ended.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, LiteralString, TypeAlias
from uuid import uuid4

import msgspec
import psycopg
import trio
from psycopg import sql

from trailing.core.model import check_seconds, refuse
from trailing.errors import LeaseLost, StoreError
from trailing.psycopg_trio import TrioConnection
from trailing.services import open_service_nursery
from trailing.stores.port import AppendEvent, StoreWrite
from trailing.stores.postgres_commit import Statement
from trailing.stores.postgres_schema import require_version
from trailing.stores.postgres_server import Server

LEASE_SECONDS: Final = 60.0
"""How long an account stays owned after the last renewal: protection goes on so long, less one call, without the store;
and so long a takeover waits for an owner that died."""

RENEW_SECONDS: Final = 5.0
"""How often a lease is renewed: an outage finds it this much older at most."""

LOOK_SECONDS: Final = 1.0
"""How often one that stands by looks whether the account is free."""

END_SECONDS: Final = 2.0
"""How long giving a lease up may take; one that is not given up runs out."""

LOST: Final = "TR001"
"""The SQLSTATE with which `require_lease` refuses; its class is no one's."""

_MARKS: Final = 100
"""How many earlier owners' marks are kept."""

_LOOK: Final = """
    SELECT owner, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM {schema}.leases
    WHERE (exchange, account) = (%(exchange)s, %(account)s) AND expires_at > clock_timestamp() AND holder <> %(holder)s"""

# `clock_timestamp` is asked again once the row is locked: another one may have taken it meanwhile. Taking it again, because
# the reply was lost, is no error.
_TAKE: Final = """
    INSERT INTO {schema}.leases AS held (exchange, account, fence, holder, owner, sessions, taken_at, expires_at, marks)
    VALUES (%(exchange)s, %(account)s, 1, %(holder)s, %(owner)s, %(sessions)s, clock_timestamp(),
        clock_timestamp() + make_interval(secs => %(seconds)s), ARRAY[%(mark)s::text])
    ON CONFLICT (exchange, account) DO UPDATE SET fence = held.fence + 1, holder = excluded.holder,
        owner = excluded.owner, sessions = excluded.sessions, taken_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
        marks = (held.marks || excluded.marks)[greatest(1, cardinality(held.marks) + 2 - %(kept)s):]
    WHERE held.expires_at <= clock_timestamp() OR held.holder = excluded.holder
    RETURNING fence, marks"""

# The owner whose lease has run out may have been stopped, or cut off, in the middle of a commit: it would keep its rows, and
# us waiting, for as long as its connection stands.
_HANG_UP: Final = """
    SELECT count(pg_terminate_backend(pid, 1000)) FROM {schema}.leases JOIN pg_locks
    ON locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = sessions
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE (exchange, account) = (%(exchange)s, %(account)s) AND expires_at <= clock_timestamp()
    AND sessions <> %(sessions)s"""

_RENEW: Final = """
    UPDATE {schema}.leases SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE (exchange, account, fence) = (%(exchange)s, %(account)s, %(fence)s) RETURNING true"""

_OWNER: Final = "SELECT owner FROM {schema}.leases WHERE (exchange, account) = (%(exchange)s, %(account)s)"

_END: Final = """
    UPDATE {schema}.leases SET sessions = NULL, expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %(seconds)s))
    WHERE (exchange, account, fence) = (%(exchange)s, %(account)s, %(fence)s)"""

_REQUIRE: Final = "SELECT {schema}.require_lease(%s, %s, %s)"

_Commit: TypeAlias = Callable[[Sequence[StoreWrite], Sequence[Statement]], Awaitable[None]]


class LeaseTiming(msgspec.Struct, frozen=True):
    """How long leases last.

    Args:
        seconds: from the last renewal on, above 0.
        renew_every: seconds between two renewals, above 0, at most a quarter of `seconds`: some may fail.

    Raises:
        UsageError: they can't be right.
    """

    seconds: float = LEASE_SECONDS
    renew_every: float = RENEW_SECONDS

    def __post_init__(self) -> None:
        check_seconds("lease_seconds", self.seconds, zero=False)
        check_seconds("renew_seconds", self.renew_every, zero=False)
        if self.renew_every > self.seconds / 4:
            raise refuse("renew_seconds", self.renew_every, f"at most a quarter of lease_seconds, {self.seconds / 4:g}")


class PostgresLease:
    """A `Lease` in Postgres; `own` makes one.

    Attributes:
        fence: grows with each owner of the account.
    """

    def __init__(self, table: LeaseTable, key: dict[str, Any], fence: int, marks: frozenset[str]) -> None:
        self._table = table
        self._key = {**key, "fence": fence}
        self._what = f"{key['exchange']} {key['account']}"
        self._held_until = -math.inf
        self._renewed = trio.Event()
        self.fence: int = fence
        self.marks: frozenset[str] = marks
        self.busy_until: float = -math.inf
        self.lost: str | None = None

    def __repr__(self) -> str:
        state = "lost" if self.lost is not None else f"held for {self._held_until - trio.current_time():.1f} s more"
        return f"<PostgresLease of {self._what}: fence {self.fence}, {state}>"

    @property
    def seconds(self) -> float:
        """All of it but two renewals: one may fail."""
        return self._table.timing.seconds - 2 * self._table.timing.renew_every

    @property
    def held_until(self) -> float:
        """In the past for ever once it is lost."""
        return -math.inf if self.lost is not None else self._held_until

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write, as the store does, if the account is still owned. What was told, events, anybody may write.

        Raises:
            LeaseLost: nothing was written.
            StoreError: as the store's.
        """
        if all(isinstance(entry, AppendEvent) for entry in entries):
            await self._table.commit(entries, ())
            return
        self._check()
        require = self._table.statement(_REQUIRE), (self._key["exchange"], self._key["account"], self.fence)
        try:
            await self._table.commit(entries, (require,))
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.Error) and error.__cause__.sqlstate == LOST:
                self.lose("another process owns it now")
                raise LeaseLost(f"{self._what}: {self.lost}") from error
            raise

    async def wait_renewed(self) -> None:
        """See `Lease.wait_renewed`."""
        self._check()
        await self._renewed.wait()
        self._check()

    def _check(self) -> None:
        if self.lost is not None:
            raise LeaseLost(f"{self._what}: {self.lost}")

    def hold(self, until: float) -> None:
        """It was renewed."""
        self._held_until = until
        self._tell()

    def lose(self, why: str) -> None:
        """It is lost for ever; only the first reason counts."""
        if self.lost is None:
            self.lost = why
            self._tell()

    def _tell(self) -> None:
        renewed, self._renewed = self._renewed, trio.Event()
        renewed.set()

    async def keep(self) -> None:
        """Renew it until it is lost. What fails, or gets no answer, is tried again; `Server` tells the log."""
        timing = self._table.timing
        patience = min(timing.seconds / 4, max(timing.renew_every, 1.0))
        pause = min(timing.renew_every, LOOK_SECONDS) / 2
        due_at = trio.current_time() + timing.renew_every
        while self.lost is None:
            await trio.sleep_until(due_at)
            with trio.CancelScope(deadline=trio.current_time() + patience), suppress(StoreError):
                await self._renew()
            due_at = max(self._held_until - timing.seconds + timing.renew_every, trio.current_time() + pause)

    async def _renew(self) -> None:
        renewed, sent_at = await self._table.run(_RENEW, self._key)
        if renewed is not None:
            self.hold(sent_at + self._table.timing.seconds)
            return
        row, _ = await self._table.run(_OWNER, self._key)
        self.lose(f"{'nobody' if row is None else row[0]} owns it now")

    async def end(self) -> None:
        """Let the next one own the account, once what was sent to the exchange can't be executed any more."""
        owned, self.lost = self.lost is None, self.lost or "its owner has ended"
        self._tell()
        if owned:
            seconds = max(0.0, self.busy_until - trio.current_time())
            ending = trio.CancelScope(shield=True, deadline=trio.current_time() + END_SECONDS)
            with ending, suppress(StoreError):  # where it can't be told, it ends by itself
                await self._table.run(_END, {**self._key, "seconds": seconds})


class LeaseTable:
    """The table of leases in a schema.

    Args:
        sessions: the key of the advisory lock that the sessions of this store share.
        commit: writes entries behind further statements, in one transaction.
    """

    def __init__(self, server: Server, schema: str, timing: LeaseTiming, sessions: int, commit: _Commit) -> None:
        self.timing: LeaseTiming = timing
        self.commit: _Commit = commit
        self._server, self._schema, self._sessions = server, schema, sessions

    def statement(self, text: LiteralString) -> bytes:
        """A statement, with the schema's name in it."""
        return sql.SQL(text).format(schema=sql.Identifier(self._schema)).as_bytes(None)

    async def run(
        self, text: LiteralString, params: dict[str, Any], *, patient: bool = False
    ) -> tuple[tuple[Any, ...] | None, float]:
        """Execute a statement that may be executed again where its reply is lost.

        Returns:
            The row that it returned, or None, and when the try that did it was sent, on the running clock.

        Raises:
            StoreError: as `Server.run`.
        """
        statement = self.statement(text)
        params = {"seconds": self.timing.seconds, "sessions": self._sessions, **params}

        async def execute(connection: TrioConnection[Any]) -> tuple[tuple[Any, ...] | None, float]:
            sent_at = trio.current_time()
            cursor = await connection.execute(statement, params)
            return (await cursor.fetchone() if cursor.description else None), sent_at

        return await self._server.run(execute, patient=patient)

    @asynccontextmanager
    async def own(self, exchange: str, account: str, *, mark: str, standby: bool) -> AsyncIterator[PostgresLease]:
        """See `Store.own`."""
        key: dict[str, Any] = {"exchange": exchange, "account": account, "holder": uuid4()}
        while True:
            # To look changes nothing and locks nothing; to take it does, even where it comes to nothing.
            found, _ = await self.run(_LOOK, key, patient=standby)
            lease = None if found is not None else await self._take(key, mark, patient=standby)
            if lease is not None:
                break
            if found is not None and not standby:
                owner, seconds = found
                raise LeaseLost(f"{exchange} {account} is owned by {owner}, for {seconds:.1f} s unless it renews that")
            await trio.sleep(LOOK_SECONDS if found is None else min(LOOK_SECONDS, max(0.0, found[1])))
        async with open_service_nursery() as services:
            services.start_soon(lease.keep)
            try:
                # Behind the taking: while an account is owned, no other process migrates the tables.
                await require_version(self._server, self._schema, patient=standby)
                yield lease
            finally:
                await lease.end()  # noqa: ASYNC102 - shields itself, with a deadline

    async def _take(self, key: dict[str, Any], mark: str, *, patient: bool) -> PostgresLease | None:
        try:
            await self.run(_HANG_UP, key, patient=patient)
        except StoreError as error:
            if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                raise  # else its role is not ours: it has to hang up by itself
        owner = f"{socket.gethostname()} process {os.getpid()}"
        row, sent_at = await self.run(_TAKE, {**key, "owner": owner, "mark": mark, "kept": _MARKS}, patient=patient)
        if row is None:
            return None
        fence, marks = row
        lease = PostgresLease(self, key, fence, frozenset(marks) - {mark})
        lease.hold(sent_at + self.timing.seconds)
        return lease
