"""Leases in Postgres. A row for each account has its owner and the end of its lease, by the server's clock.

The owner renews the lease in the background. It counts the lease from the sending of the renewal, which is before the server
counts, so that it stops in time also if the reply is lost. Each owner has a fence, a number that grows. Each commit of stops or
intents checks the fence in its transaction, and locks the row until the transaction ends.
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
"""Seconds for which an account stays owned after the last renewal. For so long, less one call, protection continues without
the store, and a takeover from a killed owner waits."""

RENEW_SECONDS: Final = 5.0
"""Seconds between two renewals of a lease."""

POLL_SECONDS: Final = 1.0
"""Seconds between two reads of the owner while standing by."""

END_SECONDS: Final = 2.0
"""Seconds for releasing a lease. A lease that can't be released expires."""

LOST: Final = "TR001"
"""The SQLSTATE that `require_lease` raises. Neither Postgres nor the SQL standard uses its class."""

_MARKS: Final = 100
"""The number of earlier owners whose marks are kept."""

_FIND_OWNER: Final = """
    SELECT owner, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM {schema}.leases
    WHERE (exchange, account) = (%(exchange)s, %(account)s) AND expires_at > clock_timestamp() AND holder <> %(holder)s"""

# `clock_timestamp` is evaluated again once the row is locked, because another process may have taken the lease meanwhile. Taking
# it twice, because the reply was lost, is no error.
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

# An owner whose lease has expired may have been stopped, or cut off, during a commit. Its connection would lock its rows, and a
# takeover would wait for it.
_END_SESSIONS: Final = """
    SELECT count(pg_terminate_backend(pid, 1000)) FROM {schema}.leases JOIN pg_locks
    ON locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = sessions
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE (exchange, account) = (%(exchange)s, %(account)s) AND expires_at <= clock_timestamp()
    AND sessions <> %(sessions)s"""

_RENEW: Final = """
    UPDATE {schema}.leases SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE (exchange, account, fence) = (%(exchange)s, %(account)s, %(fence)s) RETURNING true"""

_NEW_OWNER: Final = "SELECT owner FROM {schema}.leases WHERE (exchange, account) = (%(exchange)s, %(account)s)"

_RELEASE: Final = """
    UPDATE {schema}.leases SET sessions = NULL, expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %(seconds)s))
    WHERE (exchange, account, fence) = (%(exchange)s, %(account)s, %(fence)s)"""

_REQUIRE: Final = "SELECT {schema}.require_lease(%s, %s, %s)"

_Commit: TypeAlias = Callable[[Sequence[StoreWrite], Sequence[Statement]], Awaitable[None]]


class LeaseTiming(msgspec.Struct, frozen=True):
    """The duration of leases.

    Args:
        seconds: from the last renewal to the end of the lease, above 0.
        renew_every: seconds between two renewals, above 0, at most a quarter of `seconds`, because renewals may fail.

    Raises:
        UsageError: a value is out of range.
    """

    seconds: float = LEASE_SECONDS
    renew_every: float = RENEW_SECONDS

    def __post_init__(self) -> None:
        check_seconds("lease_seconds", self.seconds, zero=False)
        check_seconds("renew_seconds", self.renew_every, zero=False)
        if self.renew_every > self.seconds / 4:
            raise refuse("renew_seconds", self.renew_every, f"at most a quarter of lease_seconds, {self.seconds / 4:g}")


class PostgresLease:
    """A `Lease` in Postgres; `PostgresStore.acquire_lease` returns one.

    Attributes:
        fence: a number that grows with each owner of the account.
    """

    def __init__(self, table: LeaseTable, key: dict[str, Any], fence: int, marks: frozenset[str]) -> None:
        self._table = table
        self._key = {**key, "fence": fence}
        self._owns = f"{key['exchange']} {key['account']}"
        self._held_until = -math.inf
        self._renewed = trio.Event()
        self.fence: int = fence
        self.marks: frozenset[str] = marks
        self.busy_until: float = -math.inf
        self.lost: str | None = None

    def __repr__(self) -> str:
        state = "held" if self.lost is None else f"lost ({self.lost})"
        if self.lost is None and trio.lowlevel.in_trio_run():
            state = f"held for {self._held_until - trio.current_time():.1f} s more"
        return f"<PostgresLease of {self._owns}: fence {self.fence}, {state}>"

    @property
    def seconds(self) -> float:
        """The duration of a lease less two renewals, because one of them may fail."""
        return self._table.timing.seconds - 2 * self._table.timing.renew_every

    @property
    def held_until(self) -> float:
        """See `Lease.held_until`. In the past if the lease is lost."""
        return -math.inf if self.lost is not None else self._held_until

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write entries as the store does, if the account is still owned. Events alone are written without this condition.

        Raises:
            LeaseLost: the lease is lost, and nothing was written.
            StoreError: as `PostgresStore.commit`.
        """
        if all(isinstance(entry, AppendEvent) for entry in entries):
            await self._table.commit(entries, ())
            return
        self._require()
        require = self._table.statement(_REQUIRE), (self._key["exchange"], self._key["account"], self.fence)
        try:
            await self._table.commit(entries, (require,))
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.Error) and error.__cause__.sqlstate == LOST:
                self.mark_lost("another process owns it now")
                raise LeaseLost(f"{self._owns}: {self.lost}") from error
            raise

    async def wait_renewed(self) -> None:
        """See `Lease.wait_renewed`."""
        self._require()
        await self._renewed.wait()
        self._require()

    def _require(self) -> None:
        if self.lost is not None:
            raise LeaseLost(f"{self._owns}: {self.lost}")

    def extend(self, until: float) -> None:
        """Extend the lease after a renewal.

        Args:
            until: the new end, in seconds on the running clock.
        """
        self._held_until = until
        self._notify()

    def mark_lost(self, reason: str) -> None:
        """Mark the lease as lost for good. Only the first reason is kept."""
        if self.lost is None:
            self.lost = reason
            self._notify()

    def _notify(self) -> None:
        renewed, self._renewed = self._renewed, trio.Event()
        renewed.set()

    async def renew_until_lost(self) -> None:
        """Renew the lease until it is lost. A renewal that fails or gets no answer is tried again; `Server` logs it."""
        timing = self._table.timing
        patience = min(timing.seconds / 4, max(timing.renew_every, 1.0))
        pause = min(timing.renew_every, POLL_SECONDS) / 2
        due_at = trio.current_time() + timing.renew_every
        while self.lost is None:
            await trio.sleep_until(due_at)
            with trio.CancelScope(deadline=trio.current_time() + patience), suppress(StoreError):
                await self._renew()
            due_at = max(self._held_until - timing.seconds + timing.renew_every, trio.current_time() + pause)

    async def _renew(self) -> None:
        renewed, sent_at = await self._table.run(_RENEW, self._key)
        if renewed is not None:
            self.extend(sent_at + self._table.timing.seconds)
            return
        row, _ = await self._table.run(_NEW_OWNER, self._key)
        self.mark_lost("its row was deleted from the table" if row is None else f"{row[0]} owns it now")

    async def release(self) -> None:
        """Release the account from `busy_until` on.

        Before that, a request of this owner may still be executed.
        """
        owned, self.lost = self.lost is None, self.lost or "the lease has ended"
        self._notify()
        if owned:
            seconds = max(0.0, self.busy_until - trio.current_time())
            releasing = trio.CancelScope(shield=True, deadline=trio.current_time() + END_SECONDS)
            with releasing, suppress(StoreError):  # if it fails, the lease expires
                await self._table.run(_RELEASE, {**self._key, "seconds": seconds})


class LeaseTable:
    """The table of leases in a schema.

    Args:
        sessions: the key of the advisory lock that the sessions of this store share.
        commit: executes statements and then writes entries, in one transaction.
    """

    def __init__(self, server: Server, schema: str, timing: LeaseTiming, sessions: int, commit: _Commit) -> None:
        self.timing: LeaseTiming = timing
        self.commit: _Commit = commit
        self._server, self._schema, self._sessions = server, schema, sessions

    def statement(self, text: LiteralString) -> bytes:
        """Return a statement with the name of the schema in it."""
        return sql.SQL(text).format(schema=sql.Identifier(self._schema)).as_bytes(None)

    async def run(
        self, text: LiteralString, params: dict[str, Any], *, retry_forever: bool = False
    ) -> tuple[tuple[Any, ...] | None, float]:
        """Execute a statement, and again if its reply is lost.

        Args:
            text: does no harm if it is executed twice.

        Returns:
            The first row or None; and when the successful try was sent, in seconds on the running clock.

        Raises:
            StoreError: as `Server.run`.
        """
        statement = self.statement(text)
        params = {"seconds": self.timing.seconds, "sessions": self._sessions, **params}

        async def execute(connection: TrioConnection[Any]) -> tuple[tuple[Any, ...] | None, float]:
            sent_at = trio.current_time()
            cursor = await connection.execute(statement, params)
            return (await cursor.fetchone() if cursor.description else None), sent_at

        return await self._server.run(execute, retry_forever=retry_forever)

    async def find_owner(self, exchange: str, account: str) -> str | None:
        """Return the owner of an account, in words; None: it is free. Raises StoreError."""
        key: dict[str, Any] = {"exchange": exchange, "account": account, "holder": uuid4()}
        found, _ = await self.run(_FIND_OWNER, key)
        return None if found is None else str(found[0])

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool
    ) -> AsyncIterator[PostgresLease]:
        """See `Store.acquire_lease`."""
        key: dict[str, Any] = {"exchange": exchange, "account": account, "holder": uuid4()}
        while True:
            # Reading the owner first changes and locks nothing. An attempt to take the lease locks its row, also if it fails.
            found, _ = await self.run(_FIND_OWNER, key, retry_forever=standby)
            lease = None if found is not None else await self._take(key, mark, retry_forever=standby)
            if lease is not None:
                break
            if found is not None and not standby:
                owner, seconds = found
                raise LeaseLost(
                    f"{exchange} {account} is owned by {owner}; its lease runs out in {seconds:.1f} s unless it is renewed"
                )
            await trio.sleep(POLL_SECONDS if found is None else min(POLL_SECONDS, max(0.0, found[1])))
        async with open_service_nursery() as services:
            services.start_soon(lease.renew_until_lost)
            try:
                # After taking the lease, because no process migrates the tables while an account is owned.
                await require_version(self._server, self._schema, retry_forever=standby)
                yield lease
            finally:
                await lease.release()  # noqa: ASYNC102 - shields itself, with a deadline

    async def _take(self, key: dict[str, Any], mark: str, *, retry_forever: bool) -> PostgresLease | None:
        try:
            await self.run(_END_SESSIONS, key, retry_forever=retry_forever)
        except StoreError as error:
            if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                raise  # otherwise the owner has another role, and its sessions end by themselves
        owner = f"{socket.gethostname()} process {os.getpid()}"
        row, sent_at = await self.run(
            _TAKE, {**key, "owner": owner, "mark": mark, "kept": _MARKS}, retry_forever=retry_forever
        )
        if row is None:
            return None
        fence, marks = row
        lease = PostgresLease(self, key, fence, frozenset(marks) - {mark})
        lease.extend(sent_at + self.timing.seconds)
        return lease
