"""A store in a SQLite file.

The file is created readable and writable by its owner only, as it tells what somebody holds; one that exists keeps its
mode. SQLite keeps two more files beside it, ``-wal`` and ``-shm``, and each account that is owned has one, ``-lease-``
with its name. All of them belong on a local disk.
"""

from __future__ import annotations

import sqlite3
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
from trailing.stores.folding import Folded
from trailing.stores.leases import StandingLease
from trailing.stores.lock_file import hold_account
from trailing.stores.plans import decode_plans, decode_record, split_plans
from trailing.stores.port import AppendEvent, CloseStop, EventRecord, Loaded, StoreWrite
from trailing.stores.reading import PAGE_ROWS, EventReader
from trailing.stores.sqlite_file import SqliteFile
from trailing.stores.sqlite_pruning import prune_page, prune_plans

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_EventRow: TypeAlias = tuple[int, int, str, str, str]

FILE_SECONDS = 5.0
"""How often an owner looks whether the file is still in its place; each commit looks too."""

POLL_SECONDS = 0.25
"""How often a follower looks for new events. SQLite does not tell one process what another has written."""

CLOSE_SECONDS = 5.0
"""How long closing waits for a read or a commit that is under way; it waits behind the one other call at most."""

_KEEP_PLAN = "INSERT INTO plans (hash, plan) VALUES (?, CAST(? AS TEXT)) ON CONFLICT (hash) DO NOTHING"

_KEEP_STOP = """
    INSERT INTO stop_records (exchange, account, symbol, side, identity, closed, plan, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))
    ON CONFLICT (exchange, account, symbol, side, identity)
    DO UPDATE SET closed = excluded.closed, plan = excluded.plan, body = excluded.body WHERE NOT closed"""

_OPEN_AGAIN = """
    UPDATE stop_records SET closed = 0
    WHERE exchange = ? AND account = ? AND symbol = ? AND side = ? AND identity = ? AND closed"""

_SETTLE = "DELETE FROM intents WHERE exchange = ? AND account = ? AND client_order_id = ?"

_ADD_INTENT = """
    INSERT INTO intents (exchange, account, client_order_id, body) VALUES (?, ?, ?, CAST(? AS TEXT))
    ON CONFLICT (exchange, account, client_order_id) DO NOTHING"""

_APPEND = "INSERT INTO events (at, exchange, account, body) VALUES (?, ?, ?, CAST(? AS TEXT))"


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
    """Open a SQLite file as a store, creating it where it is missing.

    Args:
        read_only: don't create and don't change anything; for looking into the file of a bot that runs.

    Raises:
        StoreError: naming the file: it can't be opened, is no database, is of something else or of a newer version, or
            (with `read_only`) is missing.
    """
    limiter = trio.CapacityLimiter(1)
    file = await trio.to_thread.run_sync(partial(SqliteFile, path, read_only=read_only), limiter=limiter)
    try:
        yield SqliteStore(file, limiter, read_only=read_only)
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True) as closing:
            await trio.to_thread.run_sync(file.connection.close, limiter=limiter)
        if closing.cancelled_caught:
            raise StoreError(f"{path}: not closed, it was still in use after {CLOSE_SECONDS} s")


class SqliteStore:
    """A `Store` in a SQLite file; `open_store` and `open_sqlite` make one.

    Everything runs in worker threads, one call at a time: the limiter's one token is what gives the connection a
    single user, so it does not matter that trio may take another thread for the next call. Cancellation reaches a call
    that waits for its turn; one that has begun is finished first, as a thread can't be stopped and is not abandoned.

    The file is in WAL mode, so readers and the one writer don't wait for each other, with ``synchronous = FULL``: a
    commit has reached the disk when it returns.
    """

    def __init__(self, file: SqliteFile, limiter: trio.CapacityLimiter, *, read_only: bool) -> None:
        self._file = file
        self._path = file.path
        self._connection = file.connection
        self._limiter = limiter
        self._read_only = read_only

    def __repr__(self) -> str:
        return f"<SqliteStore: {self._path}>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has an open stop or an open intent, sorted. Raises StoreError."""
        return await self._run(self._read_accounts)

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account, each in the order of its first writing.

        Raises:
            StoreError: naming the row, where one can't be read: nothing is left out silently.
        """
        return await self._run(self._load, exchange, account)

    @asynccontextmanager
    async def own(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[StandingLease]:
        """Own an account, among the processes of this machine, by a lock file beside the database. See `Store.own`.

        While the account is owned, the log says within `FILE_SECONDS` that the file was deleted or replaced.
        """
        if self._read_only:
            raise StoreError(f"{self._path}: it was opened to be read only, so no account can be owned through it")
        owning = hold_account(self._path, exchange, account, commit=self.commit, mark=mark, standby=standby)
        async with owning as lease, open_service_nursery() as services:
            # Behind the taking: while an account is owned, no other process migrates the tables.
            await self._run(self._file.require_version)
            services.start_soon(self._watch_file)
            yield lease

    async def _watch_file(self) -> NoReturn:
        """Log that the file was deleted or replaced, once, for a bot that has nothing to commit; for ever."""
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s

        lost = False
        while True:
            await trio.sleep(FILE_SECONDS)
            try:
                await trio.to_thread.run_sync(self._file.require_in_place)
            except StoreError as error:
                if not lost:
                    structlog.get_logger("trailing").error("the store's file is lost", error=str(error))
                lost = True
            else:
                lost = False

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all of the entries or none, in order; on the disk when it returns.

        Raises:
            StoreError: an entry can't be right, SQLite did not take them, the file was deleted or replaced, or a process of a
                newer version has migrated it.

        Cancellation: only before the commit begins; one that has begun is finished first.
        """
        await self._run(self._commit, entries)

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Events of every account at or after a time, in the order they were written; see `Store.events`.

        Following looks for new ones every `POLL_SECONDS`, other processes' among them.

        Raises:
            UsageError: `since` is not an aware UTC datetime.
            StoreError: while iterating.
        """
        if since is not None:
            check_utc("since", since)
        earliest = None if since is None else microseconds(since)

        async def page(seen: int) -> tuple[int, Sequence[_EventRow]]:
            return await self._run(self._read_events, seen, earliest)

        async def wait() -> None:
            await trio.sleep(POLL_SECONDS)

        return EventReader(page, self._decode_event, wait if follow else None)

    async def prune(self, before: datetime) -> int:
        """Delete the events before a time, a page at a time, and plans that no record has; see `Store.prune`."""
        check_utc("before", before)
        seen, pruned = 0, 0
        while True:
            last, deleted = await self._run(prune_page, self._connection, seen, microseconds(before))
            if last == seen:
                await self._run(prune_plans, self._connection)
                return pruned
            seen, pruned = last, pruned + deleted

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await trio.to_thread.run_sync(self._in_place, work, *args, limiter=self._limiter)
        except (sqlite3.Error, UnicodeError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _in_place(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        self._file.require_in_place()
        return work(*args)

    def _commit(self, entries: Sequence[StoreWrite]) -> None:
        # Everything is encoded before the transaction begins, which keeps other writers out for as short as can be.
        batches = _batches(Folded(entries))
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._file.require_version()
            for statement, rows in batches:
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
        self._connection.execute("BEGIN")  # all of it as of one moment
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

    def _read_events(self, seen: int, earliest: int | None) -> tuple[int, Sequence[_EventRow]]:
        # The time is compared here and not by SQLite, so that each call looks at one page of rows and no more: it never
        # keeps a commit waiting for long.
        rows: list[_EventRow] = self._connection.execute(
            "SELECT number, at, exchange, account, body FROM events WHERE number > ? ORDER BY number LIMIT ?",
            (seen, PAGE_ROWS),
        ).fetchall()
        last = rows[-1][0] if rows else seen
        return last, [row for row in rows if earliest is None or row[1] >= earliest]

    def _decode_event(self, row: _EventRow) -> EventRecord:
        number, _, exchange, account, text = row
        return EventRecord(number, exchange, account, decode(EVENT, text, self._where("events", str(number))))

    def _where(self, table: str, *key: str) -> str:
        return f"{self._path}: {table} row ({', '.join(key)})"


def _event_row(entry: AppendEvent) -> tuple[object, ...]:
    return microseconds(entry.event.at), entry.exchange, entry.account, encode(entry.event)


def _batches(folded: Folded) -> list[tuple[str, Sequence[tuple[object, ...]]]]:
    """The statements of a commit, each with the rows that it is executed for."""
    split = split_plans([entry.record for entry in folded.stops.values()])
    stops = zip(folded.stops.items(), split.hashes, split.texts, strict=True)
    return [
        (_OPEN_AGAIN, list(folded.opened_first)),
        (_KEEP_PLAN, list(split.plans.items())),
        (_KEEP_STOP, [(*place, isinstance(entry, CloseStop), plan, text) for (place, entry), plan, text in stops]),
        (_OPEN_AGAIN, list(folded.opened_last)),
        (_SETTLE, list(folded.settled)),
        (_ADD_INTENT, [(*order, encode(intent)) for order, intent in folded.added.items()]),
        (_APPEND, [_event_row(entry) for entry in folded.events]),
    ]
