"""A store that lasts as long as its process: for tests, for paper trading, and on a virtual clock."""

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
from trailing.stores.leases import StandingLease
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
from trailing.stores.reading import PAGE_ROWS, EventReader

_Place: TypeAlias = tuple[str, str, str]  # symbol, side, and what tells a position from the next one there


class MemoryStore:
    """A `Store` in memory. It keeps the values themselves, and every event until it is thrown away.

    Attributes:
        commits: how many commits were made.
    """

    def __init__(self) -> None:
        self.commits: int = 0
        self._accounts: defaultdict[tuple[str, str], _Account] = defaultdict(_Account)
        self._events: list[EventRecord] = []
        self._appended_so_far = 0
        self._appended = trio.Event()
        self._owners: dict[tuple[str, str], StandingLease] = {}
        self._marks: dict[tuple[str, str], frozenset[str]] = {}

    def __repr__(self) -> str:
        stops = sum(len(account.open_stops()) for account in self._accounts.values())
        intents = sum(len(account.intents) for account in self._accounts.values())
        return f"<MemoryStore: {stops} stops, {intents} intents, {len(self._events)} events>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has an open stop or an open intent, sorted."""
        await trio.lowlevel.checkpoint()
        return sorted(key for key, account in self._accounts.items() if account.intents or account.open_stops())

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account, each in the order of its first writing."""
        await trio.lowlevel.checkpoint()
        kept = self._accounts[exchange, account]
        return Loaded(stops=kept.open_stops(), intents=tuple(kept.intents.values()))

    @asynccontextmanager
    async def own(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[StandingLease]:
        """Own an account, among those who use this very store. See `Store.own`."""
        key = (exchange, account)
        await trio.lowlevel.checkpoint()
        while (other := self._owners.get(key)) is not None and not other.ended.is_set():
            if not standby:
                raise LeaseLost(f"{exchange} {account} is owned by another manager on this store")
            await other.ended.wait()
        marks = self._marks.get(key, frozenset())
        self._marks[key] = marks | {mark}
        lease = self._owners[key] = StandingLease(self.commit, f"{exchange} {account}", marks)
        try:
            yield lease
        finally:
            lease.end()

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all of the entries or none, in order.

        Raises:
            StoreError: an entry can't be right.

        Cancellation: only before anything is written.
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
        """Events of every account at or after a time, in the order they were written; see `Store.events`.

        Raises:
            UsageError: `since` is not an aware UTC datetime.
        """
        if since is not None:
            check_utc("since", since)

        async def page(seen: int) -> tuple[int, Sequence[EventRecord]]:
            first = bisect_right(self._events, seen, key=lambda record: record.number)
            records = self._events[first : first + PAGE_ROWS]
            last = records[-1].number if records else seen
            return last, [record for record in records if since is None or record.event.at >= since]

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
            place = position.symbol, position.side, position.identity
            if place not in account.closed:
                account.stops[place] = entry.record
                if isinstance(entry, CloseStop):
                    account.closed.add(place)


class _Account:
    """What is written of one account. A closed record stays, as what keeps a late save from bringing it back."""

    def __init__(self) -> None:
        self.stops: dict[_Place, StopRecord] = {}
        self.closed: set[_Place] = set()
        self.intents: dict[str, Intent] = {}

    def open_stops(self) -> tuple[StopRecord, ...]:
        return tuple(record for place, record in self.stops.items() if place not in self.closed)
