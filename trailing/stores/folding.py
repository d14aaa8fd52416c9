"""What a sequence of entries amounts to, table by table: for stores that write each table in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from trailing.stores.codec import check_entries
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

Place: TypeAlias = tuple[str, str, str, str, str]
"""What a stop is known by: exchange, account, symbol, side, identity."""

Order: TypeAlias = tuple[str, str, str]
"""What an intent is known by: exchange, account, client order id."""


class Folded:
    """Entries, folded so that no row is written twice.

    Of the writes of one stop between two openings, the last before its closing counts, and of these spells the last in
    which it was written. What was written before any opening counts only where the stop is open in the table.

    Args:
        entries: in the order in which they are to be written.

    Attributes, in the order in which they are to be written:
        opened_first: stops to open again, where they are closed in the table.
        stops: the last entry of each stop, for those that are open then, or new.
        opened_last: stops to open again behind that.
        settled: intents to delete.
        added: intents to add, where they are not there.
        events: events to append.

    Raises:
        StoreError: an entry can't be right.
    """

    def __init__(self, entries: Sequence[StoreWrite]) -> None:
        self.opened_first: dict[Place, None] = {}
        self.stops: dict[Place, SaveStop | CloseStop] = {}
        self.opened_last: dict[Place, None] = {}
        self.settled: dict[Order, None] = {}
        self.added: dict[Order, Intent] = {}
        self.events: list[AppendEvent] = []
        check_entries(entries)
        for entry in entries:
            if isinstance(entry, AppendEvent):
                self.events.append(entry)
            elif isinstance(entry, AddIntent):
                self._add(entry.intent)
            elif isinstance(entry, SettleIntent):
                order = entry.exchange, entry.account, entry.client_order_id
                self.settled[order] = None
                self.added.pop(order, None)
            else:
                self._write(entry)

    def _add(self, intent: Intent) -> None:
        if intent.purpose == "stop":
            place = intent.exchange, intent.account, intent.symbol, intent.side, intent.identity
            self.opened_last[place] = None
        self.added.setdefault((intent.exchange, intent.account, intent.client_order_id), intent)

    def _write(self, entry: SaveStop | CloseStop) -> None:
        position = entry.record.position
        place = entry.exchange, entry.account, position.symbol, position.side, position.identity
        if place in self.opened_last:
            del self.opened_last[place]
            self.opened_first[place] = None
        elif isinstance(self.stops.get(place), CloseStop):
            return
        self.stops[place] = entry
