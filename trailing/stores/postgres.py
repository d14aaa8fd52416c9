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
from trailing.stores.folding import Folded
from trailing.stores.plans import decode_plans, decode_record
from trailing.stores.port import EventRecord, Loaded, StoreWrite
from trailing.stores.postgres_commit import CHANNEL, CommitWriter, Statement, is_committed_already
from trailing.stores.postgres_lease import LeaseTable, LeaseTiming, PostgresLease
from trailing.stores.postgres_pruning import PRUNE_EVENTS, PRUNE_ROWS, prune_plans
from trailing.stores.postgres_schema import check_schema_name, prepare_schema
from trailing.stores.postgres_server import Server, Timing, open_server
from trailing.stores.reading import PAGE_ROWS, EventReader

_EventRow: TypeAlias = tuple[int, str, str, str]

# All of it as of one moment, in one statement.
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
    timing: Timing | None = None,
) -> AsyncIterator[PostgresStore]:
    """Open a schema of a Postgres database as a store, creating or migrating its tables where need be.

    Args:
        conninfo: what libpq takes: ``postgresql://user@host,host2/database?connect_timeout=3`` or ``host=… dbname=…``.
        schema: the name of the schema.
        read_only: don't create and don't change anything; for looking into the store of a bot that runs.
        lease: how long accounts stay owned; all processes on a schema should have the same.

    Raises:
        UsageError: the conninfo or the name of the schema can't be right. It does not repeat the conninfo.
        StoreError: nobody answers, or what is there is of a newer version or (with `read_only`) missing or old.
    """
    check_schema_name(schema)
    sessions, note = secrets.randbits(62), f"schema {schema}"
    async with (
        open_service_nursery() as services,
        open_server(conninfo, note=note, sessions=sessions, read_only=read_only, timing=timing or Timing()) as server,
    ):
        await prepare_schema(server, schema, read_only=read_only)
        yield PostgresStore(server, schema, services, lease or LeaseTiming(), sessions, read_only=read_only)


class PostgresStore:
    """A `Store` in a Postgres schema; `open_store` and `open_postgres` make one.

    Commits are made one at a time, in the order in which they were asked for. Where the server can't be reached, they
    wait until it is back, for as long as their callers do, and are made then, each of them once. Reads are tried again
    for `REPLY_SECONDS`, and fail after twice as long at most.

    Attributes:
        commits: how many commits were made.
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
        return f"<PostgresStore: {self._server.where}>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has an open stop or an open intent, sorted. Raises StoreError."""
        rows = await self._read(
            "SELECT exchange, account FROM {schema}.stop_records WHERE NOT closed"
            " UNION SELECT exchange, account FROM {schema}.intent_records"
        )
        return sorted((exchange, account) for exchange, account in rows)

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account, each in the order of its first writing, as of one moment.

        Raises:
            StoreError: naming the row, where one can't be read: nothing is left out silently.
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
        """Write all of the entries or none, in order; on the server's disk when it returns.

        Where the reply is lost, it is found out whether they were written. Where the server can't be reached, this waits
        until it can be: who does not want that cancels it.

        Raises:
            StoreError: an entry can't be right, or Postgres did not take them.

        Cancellation: only while it waits, for its turn or for the server. A try that has begun is finished first, for
        some seconds at most; where it was the server that did not answer, either all or nothing is there.
        """
        await self._commit(entries, ())

    def own(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AbstractAsyncContextManager[PostgresLease]:
        """Own an account, among all who use this schema, by a lease that is renewed in the background. See `Store.own`.

        While nobody can be asked, one that stands by waits.

        Raises:
            LeaseLost: somebody else owns it, and `standby` is False.
            StoreError: it can't be known, or this store was opened to be read only.
        """
        if self._read_only:
            raise StoreError(
                f"{self._server.where}: it was opened to be read only, so no account can be owned through it"
            )
        return self._leases.own(exchange, account, mark=mark, standby=standby)

    async def _commit(self, entries: Sequence[StoreWrite], required: Sequence[Statement]) -> None:
        async with self._one_commit:
            self._number += 1
            statements = partial(self._writer.statements, Folded(entries), self._number, required)
            await self._server.run(lambda connection: _send(connection, statements()), patient=True, shield=True)
            self.commits += 1

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Events of every account at or after a time, in the order they were written; see `Store.events`.

        A follower is told of new ones by the server. While this can't be reached it waits.

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

        async def page(seen: int) -> tuple[int, Sequence[_EventRow]]:
            nonlocal changed
            changed = self._changed  # from before looking: what comes meanwhile wakes the follower
            rows: list[_EventRow] = await self._read(
                "SELECT number, exchange, account, body::text FROM {schema}.events"
                " WHERE number > %s AND at >= coalesce(%s, '-infinity'::timestamptz) ORDER BY number LIMIT %s",
                (seen, since, PAGE_ROWS),
                patient=follow,
            )
            return rows[-1][0] if rows else seen, rows

        async def wait() -> None:
            with trio.move_on_after(self._server.timing.look):
                await changed.wait()
                return

        return EventReader(page, self._decode_event, wait if follow else None)

    async def prune(self, before: datetime) -> int:
        """Delete the events before a time, some at a time, and plans that no record has; see `Store.prune`."""
        check_utc("before", before)
        deleted = 0
        while rows := await self._read(PRUNE_EVENTS, (before, PRUNE_ROWS)):
            deleted += len(rows)
        await self._server.run(lambda connection: prune_plans(connection, self._schema))
        return deleted

    async def _read(
        self, query: LiteralString, params: Sequence[object] | dict[str, object] = (), *, patient: bool = False
    ) -> list[tuple[Any, ...]]:
        text = sql.SQL(query).format(schema=sql.Identifier(self._schema))

        async def read(connection: TrioConnection[Any]) -> list[tuple[Any, ...]]:
            return await (await connection.execute(text, params)).fetchall()

        return await self._server.run(read, patient=patient)

    async def _listen(self) -> None:
        """Wake followers when the server says that there was a commit; for ever."""
        while True:
            try:
                async with (
                    await self._server.connect() as connection,
                    connection.listen(CHANNEL) as notifications,
                ):
                    self._wake_followers()  # there may have been one before it could be heard
                    await self._hear(connection, notifications)
            except (psycopg.Error, trio.TooSlowError):
                pass  # followers look for themselves now and then, and say so when they can't
            await trio.sleep(self._server.timing.look)

    async def _hear(self, connection: TrioConnection[Any], notifications: AsyncIterator[psycopg.Notify]) -> NoReturn:
        while True:
            with trio.move_on_after(self._server.timing.look) as hearing:
                notification = await anext(notifications)
                if notification.payload == self._schema:
                    self._wake_followers()
            if hearing.cancelled_caught:
                # A connection that is lost without a word looks like one on which there is nothing to hear.
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
    """Make a commit; one that had been made already is none."""
    try:
        async with connection.pipeline():
            # In so many words: without them, whatever was sent before a cancellation would be committed on its own.
            await connection.execute("BEGIN", prepare=False)
            for text, params in statements:
                await connection.execute(text, params)
            await connection.execute("COMMIT", prepare=False)
    except psycopg.errors.CheckViolation as error:
        if not is_committed_already(error):
            raise
        await connection.rollback()
