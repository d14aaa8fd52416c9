"""A store in a SQLite file.

A new file is readable and writable only by its owner, because it shows positions. An existing file keeps its mode. SQLite has
two more files beside it, ``-wal`` and ``-shm``. Each owned account has a lock file, ``-lease-`` with its name. All of them
must be on a local disk.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeVar, TypeVarTuple

import trio

from trailing.core.model import check_utc
from trailing.errors import StoreError
from trailing.services import open_service_nursery
from trailing.stores.codec import EVENT, INTENT, decode, encode, microseconds
from trailing.stores.compaction import CompactedBatch
from trailing.stores.event_reader import PAGE_ROWS, EventReader
from trailing.stores.leases import ProcessLease
from trailing.stores.lock_file import find_owner, lock_account
from trailing.stores.plans import decode_plans, decode_record, split_plans
from trailing.stores.port import AppendEvent, CloseStop, EventRecord, Loaded, StoreWrite
from trailing.stores.sqlite_file import SqliteFile
from trailing.stores.sqlite_pruning import prune_page, prune_plans

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_EventRow: TypeAlias = tuple[int, int, str, str, str]

FILE_SECONDS = 5.0
"""Seconds between two checks that the file was not deleted or replaced; each commit checks too."""

POLL_SECONDS = 0.25
"""Seconds between two reads of a follower. SQLite does not notify processes of the writes of others."""

CLOSE_SECONDS = 5.0
"""Seconds that closing waits for the running read or commit."""

_INSERT_PLAN = "INSERT INTO plans (hash, plan) VALUES (?, CAST(? AS TEXT)) ON CONFLICT (hash) DO NOTHING"

_UPSERT_STOP = """
    INSERT INTO stop_records (exchange, account, symbol, side, identity, closed, plan, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))
    ON CONFLICT (exchange, account, symbol, side, identity)
    DO UPDATE SET closed = excluded.closed, plan = excluded.plan, body = excluded.body WHERE NOT closed"""

_REOPEN = """
    UPDATE stop_records SET closed = 0
    WHERE exchange = ? AND account = ? AND symbol = ? AND side = ? AND identity = ? AND closed"""

_DELETE_INTENT = "DELETE FROM intents WHERE exchange = ? AND account = ? AND client_order_id = ?"

_INSERT_INTENT = """
    INSERT INTO intents (exchange, account, client_order_id, body) VALUES (?, ?, ?, CAST(? AS TEXT))
    ON CONFLICT (exchange, account, client_order_id) DO NOTHING"""

_APPEND_EVENT = "INSERT INTO events (at, exchange, account, body) VALUES (?, ?, ?, CAST(? AS TEXT))"

_LOAD_STOPS = """
    SELECT body, plan, symbol, side, identity FROM stop_records
    WHERE exchange = ? AND account = ? AND NOT closed ORDER BY number"""

_LOAD_PLANS = """
    SELECT hash, plan FROM plans
    WHERE hash IN (SELECT plan FROM stop_records WHERE exchange = ? AND account = ? AND NOT closed)"""

_LOAD_INTENTS = """
    SELECT body, client_order_id FROM intents WHERE exchange = ? AND account = ? ORDER BY number"""


@asynccontextmanager
async def open_sqlite(path: Path, *, read_only: bool = False) -> AsyncIterator[SqliteStore]:
    """Open a SQLite file as a store, and close it after the block.

    Args:
        path: the file, created if missing.
        read_only: create and change nothing, to inspect the file of a running bot.

    Raises:
        StoreError: naming the file: it can't be opened, is no database, belongs to another program or has a newer version; or
            (with `read_only`) it is missing or has an older version.
    """
    limiter = trio.CapacityLimiter(1)
    file = await trio.to_thread.run_sync(partial(SqliteFile, path, read_only=read_only), limiter=limiter)
    try:
        yield SqliteStore(file, limiter, read_only=read_only)
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True) as closing:
            await trio.to_thread.run_sync(file.connection.close, limiter=limiter)
        if closing.cancelled_caught:
            raise StoreError(
                f"{path}: not closed, because a read or a commit was still running after {CLOSE_SECONDS} s"
            )


class SqliteStore:
    """A `Store` in a SQLite file; `open_store` and `open_sqlite` open one.

    Every call runs in a worker thread, one at a time, because the limiter has one token. So the connection has one user, also if
    trio takes another thread for the next call. A waiting call can be cancelled. A call that has begun is finished first, because
    a thread can't be stopped.

    The file is in WAL mode, so that readers and the writer don't wait for each other, with ``synchronous = FULL``: a commit is on
    the disk when it returns.
    """

    def __init__(self, file: SqliteFile, limiter: trio.CapacityLimiter, *, read_only: bool) -> None:
        self._file = file
        self._path = file.path
        self._connection = file.connection
        self._limiter = limiter
        self._read_only = read_only

    def __repr__(self) -> str:
        return f"<SqliteStore: {self._path}{', read only' if self._read_only else ''}>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Return every (exchange, account) with an open stop or an open intent, sorted. Raises StoreError."""
        return await self._run(self._read_accounts)

    async def load(self, exchange: str, account: str) -> Loaded:
        """Return the open stops and the intents of an account, each in first-write order.

        Raises:
            StoreError: naming the first row that can't be decoded, because no row is left out silently.
        """
        return await self._run(self._load, exchange, account)

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """Return the process of this machine that owns an account now; None: it is free. Raises StoreError."""
        return await find_owner(self._path, exchange, account)

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[ProcessLease]:
        """Own an account among the processes of this machine; see `Store.acquire_lease`.

        The lease is a locked file beside the database.

        While the account is owned, a file that is deleted or replaced is logged within `FILE_SECONDS`.
        """
        if self._read_only:
            raise StoreError(f"{self._path}: it was opened read-only, so that no account can be owned through it")
        locking = lock_account(self._path, exchange, account, commit=self.commit, mark=mark, standby=standby)
        async with locking as lease, open_service_nursery() as services:
            # After taking the lease, because no process migrates the tables while an account is owned.
            await self._run(self._file.require_version)
            services.start_soon(self._watch_file)
            yield lease

    async def _watch_file(self) -> NoReturn:
        """Log once if the file is deleted or replaced, also without commits. Never return."""
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s

        lost, checked_at, seconds = False, time.monotonic(), FILE_SECONDS
        while True:
            await trio.sleep(seconds)
            if time.monotonic() - checked_at < FILE_SECONDS / 2:
                seconds *= 2  # the clock of a replay runs thousands of times faster than the file can change
                continue
            checked_at, seconds = time.monotonic(), FILE_SECONDS
            try:
                await trio.to_thread.run_sync(self._file.require_in_place)
            except StoreError as error:
                if not lost:
                    structlog.get_logger("trailing").error("the store's file is lost", error=str(error))
                lost = True
            else:
                lost = False

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all entries in order, or none of them. They are on the disk when it returns.

        Raises:
            StoreError: an entry is invalid, SQLite refused them, the file was deleted or replaced, or a process of a newer
                version has migrated it.

        Cancellation: only before the commit begins. A commit that has begun is finished first.
        """
        await self._run(self._commit, entries)

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Return an iterator over events, in the order of writing; see `Store.events`.

        A follower reads new events, also those of other processes, every `POLL_SECONDS`.

        Raises:
            UsageError: `since` is not an aware UTC datetime.
            StoreError: while iterating.
        """
        if since is not None:
            check_utc("since", since)
        earliest = None if since is None else microseconds(since)

        async def page(last: int) -> tuple[int, Sequence[_EventRow]]:
            return await self._run(self._read_events, last, earliest)

        async def wait() -> None:
            await trio.sleep(POLL_SECONDS)

        return EventReader(page, self._decode_event, wait if follow else None)

    async def prune(self, before: datetime) -> int:
        """Delete old events page by page, and unused plans; see `Store.prune`."""
        check_utc("before", before)
        last, pruned = 0, 0
        while True:
            examined, deleted = await self._run(prune_page, self._connection, last, microseconds(before))
            if examined == last:
                await self._run(prune_plans, self._connection)
                return pruned
            last, pruned = examined, pruned + deleted

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await trio.to_thread.run_sync(self._check_and_call, work, *args, limiter=self._limiter)
        except (sqlite3.Error, UnicodeError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _check_and_call(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        self._file.require_in_place()
        return work(*args)

    def _commit(self, entries: Sequence[StoreWrite]) -> None:
        # Everything is encoded before the transaction begins, because other writers wait for the transaction.
        statements = _statements(CompactedBatch(entries))
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._file.require_version()
            for statement, rows in statements:
                self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise

    def _read_accounts(self) -> list[tuple[str, str]]:
        return self._connection.execute(
            "SELECT exchange, account FROM stop_records WHERE NOT closed UNION SELECT exchange, account FROM intents"
            " ORDER BY exchange, account"
        ).fetchall()

    def _load(self, exchange: str, account: str) -> Loaded:
        key = (exchange, account)
        self._connection.execute("BEGIN")  # one snapshot of all tables
        try:
            stops = self._connection.execute(_LOAD_STOPS, key).fetchall()
            plans = self._connection.execute(_LOAD_PLANS, key).fetchall()
            intents = self._connection.execute(_LOAD_INTENTS, key).fetchall()
        finally:
            self._connection.rollback()
        decoded = decode_plans(plans, str(self._path))
        return Loaded(
            stops=tuple(
                decode_record(text, plan, decoded, self._where("stop_records", *key, *rest))
                for text, plan, *rest in stops
            ),
            intents=tuple(decode(INTENT, text, self._where("intents", *key, *rest)) for text, *rest in intents),
        )

    def _read_events(self, last: int, earliest: int | None) -> tuple[int, Sequence[_EventRow]]:
        # The time is compared here and not by SQLite, so that a call reads one page of rows and commits wait only for that.
        rows: list[_EventRow] = self._connection.execute(
            "SELECT number, at, exchange, account, body FROM events WHERE number > ? ORDER BY number LIMIT ?",
            (last, PAGE_ROWS),
        ).fetchall()
        return rows[-1][0] if rows else last, [row for row in rows if earliest is None or row[1] >= earliest]

    def _decode_event(self, row: _EventRow) -> EventRecord:
        number, _, exchange, account, text = row
        return EventRecord(number, exchange, account, decode(EVENT, text, self._where("events", str(number))))

    def _where(self, table: str, *key: str) -> str:
        return f"{self._path}: {table} row ({', '.join(key)})"


def _event_row(entry: AppendEvent) -> tuple[object, ...]:
    return microseconds(entry.event.at), entry.exchange, entry.account, encode(entry.event)


def _statements(batch: CompactedBatch) -> list[tuple[str, Sequence[tuple[object, ...]]]]:
    """Return the statements of a commit, each with its rows."""
    split = split_plans([entry.record for entry in batch.stops.values()])
    stops = zip(batch.stops.items(), split.hashes, split.texts, strict=True)
    return [
        (_REOPEN, list(batch.reopened_first)),
        (_INSERT_PLAN, list(split.plans.items())),
        (_UPSERT_STOP, [(*key, isinstance(entry, CloseStop), plan, text) for (key, entry), plan, text in stops]),
        (_REOPEN, list(batch.reopened_last)),
        (_DELETE_INTENT, list(batch.settled)),
        (_INSERT_INTENT, [(*key, encode(intent)) for key, intent in batch.added.items()]),
        (_APPEND_EVENT, [_event_row(entry) for entry in batch.events]),
    ]
