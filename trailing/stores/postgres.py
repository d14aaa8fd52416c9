"""A store in a Postgres schema: see `open_postgres`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, LiteralString, NoReturn, TypeAlias
from uuid import uuid4

import psycopg
import trio
from psycopg import sql

from trailing.core.model import check_utc
from trailing.errors import StoreError
from trailing.psycopg_trio import FifoLock, TrioConnection
from trailing.services import open_service_nursery
from trailing.stores.codec import EVENT, INTENT, decode
from trailing.stores.compaction import CompactedBatch
from trailing.stores.event_reader import PAGE_ROWS, EventReader
from trailing.stores.plans import decode_plans, decode_record
from trailing.stores.port import EventRecord, Loaded, StoreWrite
from trailing.stores.postgres_commit import CHANNEL, CommitWriter, Statement, is_committed_already
from trailing.stores.postgres_lease import LeaseTable, LeaseTiming, PostgresLease
from trailing.stores.postgres_pruning import PRUNE_EVENTS, PRUNE_ROWS, prune_plans
from trailing.stores.postgres_schema import check_schema_name, prepare_schema
from trailing.stores.postgres_server import Server, ServerTiming, open_server

_EventRow: TypeAlias = tuple[int, str, str, str]

# One statement, so that all rows are of one snapshot.
_LOAD: Final = """
    WITH open AS (
        SELECT * FROM {schema}.stop_records WHERE exchange = %(exchange)s AND account = %(account)s AND NOT closed
    )
    SELECT 'stops', number, body::text, symbol, side, identity, plan FROM open
    UNION ALL SELECT 'plans', 0, plan::text, hash, '', '', '' FROM {schema}.plans WHERE hash IN (SELECT plan FROM open)
    UNION ALL SELECT 'intents', number, body::text, client_order_id, '', '', '' FROM {schema}.intent_records
    WHERE exchange = %(exchange)s AND account = %(account)s ORDER BY 1, 2"""


@asynccontextmanager
async def open_postgres(
    conninfo: str,
    *,
    schema: str,
    read_only: bool = False,
    lease: LeaseTiming | None = None,
    timing: ServerTiming | None = None,
) -> AsyncIterator[PostgresStore]:
    """Open a Postgres schema as a store, and close it at the end of the block.

    Args:
        conninfo: as libpq takes it: ``postgresql://user@host,host2/database?connect_timeout=3`` or ``host=… dbname=…``.
        schema: the name of the schema. Its tables are created or migrated if necessary.
        read_only: create and change nothing, to inspect the store of a running bot.
        lease: how long accounts stay owned. All processes on a schema should have the same.
        timing: the time limits.

    Raises:
        UsageError: the conninfo or the name of the schema is invalid. The error does not repeat the conninfo.
        StoreError: no server answers, the tables have a newer version, or (with `read_only`) they are missing or have an older
            version.
    """
    check_schema_name(schema)
    sessions, note = secrets.randbits(62), f"schema {schema}"
    async with (
        open_service_nursery() as services,
        open_server(
            conninfo, note=note, sessions=sessions, read_only=read_only, timing=timing or ServerTiming()
        ) as server,
    ):
        await prepare_schema(server, schema, read_only=read_only)
        yield PostgresStore(server, schema, services, lease or LeaseTiming(), sessions, read_only=read_only)


class PostgresStore:
    """A `Store` in a Postgres schema; `open_store` and `open_postgres` open one.

    Commits are made one at a time, in the order of the calls. If the server can't be reached, they wait until it is back, as long
    as their callers wait, and are made then, each of them once. Reads are tried again for `REPLY_SECONDS`, and fail after
    twice that time at most.

    Attributes:
        commits: the number of commits.
    """

    def __init__(
        self,
        server: Server,
        schema: str,
        services: trio.Nursery,
        lease: LeaseTiming,
        sessions: int,
        *,
        read_only: bool,
    ) -> None:
        self.commits: int = 0
        self._server = server
        self._schema = schema
        self._services = services
        self._read_only = read_only
        self._writer = CommitWriter(schema, uuid4())
        self._leases = LeaseTable(server, schema, lease, sessions, self._commit)
        self._one_commit = FifoLock()
        self._number = 0
        self._changed = trio.Event()
        self._listening = False

    def __repr__(self) -> str:
        return (
            f"<PostgresStore: {self._server.where}{', read only' if self._read_only else ''}, {self.commits} commits>"
        )

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Return every (exchange, account) with an open stop or an open intent, sorted. Raises StoreError."""
        rows = await self._read(
            "SELECT exchange, account FROM {schema}.stop_records WHERE NOT closed"
            " UNION SELECT exchange, account FROM {schema}.intent_records"
        )
        return sorted((exchange, account) for exchange, account in rows)

    async def load(self, exchange: str, account: str) -> Loaded:
        """Return the open stops and the intents of an account, each in first-write order.

        Raises:
            StoreError: naming the first row that can't be decoded, because no row is left out silently.
        """
        rows = await self._read(_LOAD, {"exchange": exchange, "account": account})
        plans = decode_plans(((key, text) for table, _, text, key, *_ in rows if table == "plans"), self._server.where)
        return Loaded(
            stops=tuple(
                decode_record(text, plan, plans, self._row("stop_records", exchange, account, *key))
                for table, _, text, *key, plan in rows
                if table == "stops"
            ),
            intents=tuple(
                decode(INTENT, text, self._row("intent_records", exchange, account, key))
                for table, _, text, key, *_ in rows
                if table == "intents"
            ),
        )

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all entries in order, or none of them. They are on the server's disk when it returns.

        If the reply is lost, the commit is sent again, and the database refuses it if it was made already. If the server can't
        be reached, the call waits until it can. Cancel it to stop waiting.

        Raises:
            StoreError: an entry is invalid, or Postgres refused the commit.

        Cancellation: only while waiting for an earlier commit or for the server. A try that has begun is finished first,
            within some seconds. If the server did not answer it, either all or none of the entries are stored.
        """
        await self._commit(entries, ())

    def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AbstractAsyncContextManager[PostgresLease]:
        """Own an account among all processes on this schema; see `Store.acquire_lease`.

        The lease is renewed in the background. With `standby`, it also waits while the server can't be reached.

        Raises:
            LeaseLost: another process owns the account, and `standby` is False.
            StoreError: the server does not answer, or the store is read-only.
        """
        if self._read_only:
            raise StoreError(
                f"{self._server.where}: it was opened read-only, so that no account can be owned through it"
            )
        return self._leases.acquire_lease(exchange, account, mark=mark, standby=standby)

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """Return who owns an account now, in words; None: the account is free.

        Raises:
            StoreError: the server does not answer.
        """
        return await self._leases.find_owner(exchange, account)

    async def _commit(self, entries: Sequence[StoreWrite], required: Sequence[Statement]) -> None:
        async with self._one_commit:
            self._number += 1
            statements = partial(self._writer.statements, CompactedBatch(entries), self._number, required)
            await self._server.run(lambda connection: _send(connection, statements()), retry_forever=True, shield=True)
            self.commits += 1

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Return an iterator over events, in the order of writing; see `Store.events`.

        The server notifies followers of new events. A follower waits while the server can't be reached.

        Raises:
            UsageError: `since` is not an aware UTC datetime.
            StoreError: while iterating.
        """
        if since is not None:
            check_utc("since", since)
        if follow and not self._listening:
            self._listening = True
            self._services.start_soon(self._listen)
        changed = self._changed

        async def page(last: int) -> tuple[int, Sequence[_EventRow]]:
            nonlocal changed
            changed = self._changed  # taken before reading, so that a commit during the read wakes the follower
            rows: list[_EventRow] = await self._read(
                "SELECT number, exchange, account, body::text FROM {schema}.events"
                " WHERE number > %s AND at >= coalesce(%s, '-infinity'::timestamptz) ORDER BY number LIMIT %s",
                (last, since, PAGE_ROWS),
                retry_forever=follow,
            )
            return rows[-1][0] if rows else last, rows

        async def wait() -> None:
            with trio.move_on_after(self._server.timing.poll):
                await changed.wait()
                return

        return EventReader(page, self._decode_event, wait if follow else None)

    async def prune(self, before: datetime) -> int:
        """Delete old events in short transactions, and unused plans; see `Store.prune`."""
        check_utc("before", before)
        deleted = 0
        while rows := await self._read(PRUNE_EVENTS, (before, PRUNE_ROWS)):
            deleted += len(rows)
        await self._server.run(lambda connection: prune_plans(connection, self._schema))
        return deleted

    async def _read(
        self, query: LiteralString, params: Sequence[object] | dict[str, object] = (), *, retry_forever: bool = False
    ) -> list[tuple[Any, ...]]:
        text = sql.SQL(query).format(schema=sql.Identifier(self._schema))

        async def read(connection: TrioConnection[Any]) -> list[tuple[Any, ...]]:
            return await (await connection.execute(text, params)).fetchall()

        return await self._server.run(read, retry_forever=retry_forever)

    async def _listen(self) -> None:
        """Wake followers at each notification of a commit. Never return."""
        while True:
            try:
                async with (
                    await self._server.connect() as connection,
                    connection.listen(CHANNEL) as notifications,
                ):
                    self._wake_followers()  # a commit may have been made before LISTEN
                    await self._wake_at_commits(connection, notifications)
            except (psycopg.Error, trio.TooSlowError):
                pass  # followers also poll, and raise or wait if they can't
            await trio.sleep(self._server.timing.poll)

    async def _wake_at_commits(
        self, connection: TrioConnection[Any], notifications: AsyncIterator[psycopg.Notify]
    ) -> NoReturn:
        while True:
            with trio.move_on_after(self._server.timing.poll) as waiting:
                notification = await anext(notifications)
                if notification.payload == self._schema:
                    self._wake_followers()
            if waiting.cancelled_caught:
                # A connection that is lost silently looks like one without notifications.
                with trio.fail_after(self._server.timing.reply):
                    await connection.execute("SELECT 1")

    def _wake_followers(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _decode_event(self, row: _EventRow) -> EventRecord:
        number, exchange, account, text = row
        return EventRecord(number, exchange, account, decode(EVENT, text, self._row("events", str(number))))

    def _row(self, table: str, *key: str) -> str:
        return f"{self._server.where}: {table} row ({', '.join(key)})"


async def _send(connection: TrioConnection[Any], statements: Iterable[Statement]) -> None:
    """Make a commit, unless it had been made already."""
    try:
        async with connection.pipeline():
            # An explicit transaction, because otherwise the statements before a cancellation would be committed on their own.
            await connection.execute("BEGIN", prepare=False)
            for text, params in statements:
                await connection.execute(text, params)
            await connection.execute("COMMIT", prepare=False)
    except psycopg.errors.CheckViolation as error:
        if not is_committed_already(error):
            raise
        await connection.rollback()
