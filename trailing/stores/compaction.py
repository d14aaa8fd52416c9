"""Compact the entries of a commit, for stores that write each table with one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from trailing.stores.codec import check_entries
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

StopKey: TypeAlias = tuple[str, str, str, str, str]
"""The key of a stop: exchange, account, symbol, side, identity."""

IntentKey: TypeAlias = tuple[str, str, str]
"""The key of an intent: exchange, account, client order id."""


class CompactedBatch:
    """A batch of entries in which each row is written at most once.

    For each stop only the last write counts. Writes after a close are ignored until an intent reopens the stop. Writes before
    the first reopening have an effect only if the stop is open in the table.

    Args:
        entries: in the order in which they are to be written.

    Attributes, in the order in which they are to be written:
        reopened_first: stops to reopen if they are closed in the table.
        stops: the last entry of each stop. It applies to a new stop, and to one that is open by then.
        reopened_last: stops to reopen after that.
        settled: intents to delete.
        added: intents to insert unless they exist.
        events: events to append.

    Raises:
        StoreError: an entry is invalid.
    """

    def __init__(self, entries: Sequence[StoreWrite]) -> None:
        self.reopened_first: dict[StopKey, None] = {}
        self.stops: dict[StopKey, SaveStop | CloseStop] = {}
        self.reopened_last: dict[StopKey, None] = {}
        self.settled: dict[IntentKey, None] = {}
        self.added: dict[IntentKey, Intent] = {}
        self.events: list[AppendEvent] = []
        check_entries(entries)
        for entry in entries:
            if isinstance(entry, AppendEvent):
                self.events.append(entry)
            elif isinstance(entry, AddIntent):
                self._add(entry.intent)
            elif isinstance(entry, SettleIntent):
                key = entry.exchange, entry.account, entry.client_order_id
                self.settled[key] = None
                self.added.pop(key, None)
            else:
                self._write(entry)

    def __repr__(self) -> str:
        return f"<CompactedBatch: {len(self.stops)} stops, {len(self.added)} intents, {len(self.events)} events>"

    def _add(self, intent: Intent) -> None:
        if intent.purpose != "exit":
            self.reopened_last[intent.exchange, intent.account, intent.symbol, intent.side, intent.identity] = None
        self.added.setdefault((intent.exchange, intent.account, intent.client_order_id), intent)

    def _write(self, entry: SaveStop | CloseStop) -> None:
        position = entry.record.position
        key = entry.exchange, entry.account, position.symbol, position.side, position.identity
        if key in self.reopened_last:
            del self.reopened_last[key]
            self.reopened_first[key] = None
        elif isinstance(self.stops.get(key), CloseStop):
            return
        self.stops[key] = entry
