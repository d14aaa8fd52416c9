"""A store that lasts as long as its process: for tests, for paper trading, and on a virtual clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeAlias

import trio

from trailing.core.model import Position, check_utc
from trailing.core.record import StopRecord
from trailing.errors import LeaseLost
from trailing.stores.codec import check_entries
from trailing.stores.leases import StandingLease
from trailing.stores.port import (
    AddIntent,
    AppendEvent,
    CloseStop,
    Entry,
    EventRecord,
    Intent,
    Loaded,
    SaveStop,
    SettleIntent,
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
        self._stops: dict[tuple[str, str], dict[_Place, StopRecord]] = {}
        self._closed: set[tuple[str, str, _Place]] = set()
        self._intents: dict[tuple[str, str], dict[str, Intent]] = {}
        self._events: list[EventRecord] = []
        self._appended_so_far = 0
        self._appended = trio.Event()
        self._owners: dict[tuple[str, str], StandingLease] = {}
        self._marks: dict[tuple[str, str], frozenset[str]] = {}

    def __repr__(self) -> str:
        stops = sum(map(len, self._stops.values()))
        intents = sum(map(len, self._intents.values()))
        return f"<MemoryStore: {stops} stops, {intents} intents, {len(self._events)} events>"

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has an open stop or an open intent, sorted."""
        await trio.lowlevel.checkpoint()
        return sorted({key for table in (self._stops, self._intents) for key, rows in table.items() if rows})

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account, each in the order of its first writing."""
        await trio.lowlevel.checkpoint()
        key = (exchange, account)
        return Loaded(
            stops=tuple(self._stops.get(key, {}).values()),
            intents=tuple(self._intents.get(key, {}).values()),
        )

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

    async def commit(self, entries: Sequence[Entry]) -> None:
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

    def _write(self, entry: Entry) -> None:
        match entry:
            case SaveStop(exchange, account, record):
                place = _place(record.position)
                if (exchange, account, place) not in self._closed:
                    self._stops.setdefault((exchange, account), {})[place] = record
            case AddIntent(intent):
                if intent.purpose == "stop":
                    self._closed.discard(
                        (intent.exchange, intent.account, (intent.symbol, intent.side, intent.identity))
                    )
                self._intents.setdefault((intent.exchange, intent.account), {}).setdefault(
                    intent.client_order_id, intent
                )
            case SettleIntent(exchange, account, client_order_id):
                self._intents.get((exchange, account), {}).pop(client_order_id, None)
            case CloseStop(exchange, account, record):
                place = _place(record.position)
                self._closed.add((exchange, account, place))
                self._stops.get((exchange, account), {}).pop(place, None)
            case AppendEvent(exchange, account, event):
                self._appended_so_far += 1
                self._events.append(EventRecord(self._appended_so_far, exchange, account, event))


def _place(position: Position) -> _Place:
    return position.symbol, position.side, position.identity
