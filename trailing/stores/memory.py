"""A store in memory, for tests, paper trading and virtual clocks."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeAlias

import trio

from trailing.core.model import check_utc
from trailing.core.record import StopRecord
from trailing.errors import LeaseLost
from trailing.stores.codec import check_entries
from trailing.stores.event_reader import PAGE_ROWS, EventReader
from trailing.stores.leases import ProcessLease
from trailing.stores.port import (
    AddIntent,
    AppendEvent,
    CloseStop,
    EventRecord,
    Intent,
    Loaded,
    SettleIntent,
    StoreWrite,
)

_PositionKey: TypeAlias = tuple[str, str, str]  # symbol, side, identity


class MemoryStore:
    """A `Store` in memory. It keeps the values themselves, and every event until `prune` deletes it.

    Attributes:
        commits: the number of commits.
    """

    def __init__(self) -> None:
        self.commits: int = 0
        self._accounts: defaultdict[tuple[str, str], _Account] = defaultdict(_Account)
        self._events: list[EventRecord] = []
        self._appended_so_far = 0
        self._appended = trio.Event()
        self._owners: dict[tuple[str, str], ProcessLease] = {}
        self._marks: dict[tuple[str, str], frozenset[str]] = {}

    def __repr__(self) -> str:
        stops = sum(len(account.open_stops()) for account in self._accounts.values())
        intents = sum(len(account.intents) for account in self._accounts.values())
        return f"<MemoryStore: {stops} stops, {intents} intents, {len(self._events)} events>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Return every (exchange, account) with an open stop or an open intent, sorted."""
        await trio.lowlevel.checkpoint()
        return sorted(key for key, account in self._accounts.items() if account.intents or account.open_stops())

    async def load(self, exchange: str, account: str) -> Loaded:
        """Return the open stops and the intents of an account, each in first-write order."""
        await trio.lowlevel.checkpoint()
        found = self._accounts[exchange, account]
        return Loaded(stops=found.open_stops(), intents=tuple(found.intents.values()))

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[ProcessLease]:
        """Own an account among the users of this store object; see `Store.acquire_lease`."""
        key = (exchange, account)
        await trio.lowlevel.checkpoint()
        while (other := self._owners.get(key)) is not None and not other.ended.is_set():
            if not standby:
                raise LeaseLost(f"{exchange} {account} is owned by another manager of this store")
            await other.ended.wait()
        marks = self._marks.get(key, frozenset())
        self._marks[key] = marks | {mark}
        lease = self._owners[key] = ProcessLease(self.commit, f"{exchange} {account}", marks)
        try:
            yield lease
        finally:
            lease.end()

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """Return who owns an account now, in words; None: the account is free."""
        await trio.lowlevel.checkpoint()
        owner = self._owners.get((exchange, account))
        return None if owner is None or owner.ended.is_set() else "a manager of this store"

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all entries in order, or none of them.

        Raises:
            StoreError: an entry is invalid.

        Cancellation: only before the first write.
        """
        await trio.lowlevel.checkpoint()
        check_entries(entries)
        before = self._appended_so_far
        for entry in entries:
            self._write(entry)
        self.commits += 1
        if self._appended_so_far > before:
            self._appended.set()
            self._appended = trio.Event()

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Return an iterator over events, in the order of writing; see `Store.events`.

        Raises:
            UsageError: `since` is not an aware UTC datetime.
        """
        if since is not None:
            check_utc("since", since)

        async def page(last: int) -> tuple[int, Sequence[EventRecord]]:
            first = bisect_right(self._events, last, key=lambda record: record.number)
            records = self._events[first : first + PAGE_ROWS]
            return records[-1].number if records else last, [
                record for record in records if since is None or record.event.at >= since
            ]

        async def wait() -> None:
            await self._appended.wait()

        return EventReader(page, lambda record: record, wait if follow else None)

    async def prune(self, before: datetime) -> int:
        """Delete the events before a time; see `Store.prune`."""
        check_utc("before", before)
        await trio.lowlevel.checkpoint()
        kept = [record for record in self._events if record.event.at >= before]
        pruned = len(self._events) - len(kept)
        self._events = kept
        return pruned

    def _write(self, entry: StoreWrite) -> None:
        if isinstance(entry, AppendEvent):
            self._appended_so_far += 1
            self._events.append(EventRecord(self._appended_so_far, entry.exchange, entry.account, entry.event))
        elif isinstance(entry, AddIntent):
            intent = entry.intent
            account = self._accounts[intent.exchange, intent.account]
            account.intents.setdefault(intent.client_order_id, intent)
            if intent.purpose == "stop":
                account.closed.discard((intent.symbol, intent.side, intent.identity))
        elif isinstance(entry, SettleIntent):
            self._accounts[entry.exchange, entry.account].intents.pop(entry.client_order_id, None)
        else:
            account = self._accounts[entry.exchange, entry.account]
            position = entry.record.position
            key = position.symbol, position.side, position.identity
            if key not in account.closed:
                account.stops[key] = entry.record
                if isinstance(entry, CloseStop):
                    account.closed.add(key)


class _Account:
    """The records and intents of an account. A closed record stays, so that a late save does not reopen it."""

    def __init__(self) -> None:
        self.stops: dict[_PositionKey, StopRecord] = {}
        self.closed: set[_PositionKey] = set()
        self.intents: dict[str, Intent] = {}

    def open_stops(self) -> tuple[StopRecord, ...]:
        return tuple(record for key, record in self.stops.items() if key not in self.closed)
