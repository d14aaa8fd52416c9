"""The data that a process of a harsh world has received, which limit what it can do right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec
import trio

from simulation.laboratory.entry_terms import ATTACHED
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Side, StopOrder
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import OrderUpdate, PositionUpdate

BOTH_LISTS: Final = 15.0
"""Seconds after one list within which a process has received the other: a snapshot counts only as a whole."""


class _Shown(msgspec.Struct, frozen=True):
    """The price of a stop that a process received, from when on it must be used, and the price before."""

    price: Decimal
    counts_from: float
    before: Decimal | None


@dataclass
class _OfOneProcess:
    """All data that one process has received. The sets hold client order ids."""

    shown: dict[str, _Shown] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)  # the number of lists in a row
    ended: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    open: set[tuple[str, Side]] = field(default_factory=set)
    entered: dict[str, Decimal] = field(default_factory=dict)  # the filled quantity of each entry
    grown: set[tuple[str, Side]] = field(
        default_factory=set
    )  # by a fill of the entry, since the last update of the position
    closing: dict[tuple[str, Side], bool] = field(
        default_factory=dict
    )  # whether the last report of it said that it is open when the close was requested


class ProcessView:
    """The data that the running process has received.

    Attributes:
        listed_at: the time of each stop's first listing, by client order id, in seconds of the world.
    """

    def __init__(self) -> None:
        self.listed_at: dict[str, float] = {}
        self._booked: dict[str, set[Decimal]] = {}  # by client order id: all prices that the order had
        self._attached: dict[str, Decimal] = {}  # the first price of each stop that an entry has placed
        self._process = _OfOneProcess()

    def is_attached(self, order: StopOrder) -> bool:
        """Whether an entry has placed a stop."""
        return order.client_order_id in self._attached

    def process_died(self) -> None:
        """Forget the data of the dead process."""
        self._process = _OfOneProcess()

    # The data that the process receives.

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        if isinstance(booking.result, StopOrder):
            if booking.operation == ATTACHED:
                self._attached.setdefault(booking.result.client_order_id, booking.result.price)
            self._booked.setdefault(booking.result.client_order_id, set()).add(booking.result.price)

    def note_shown(self, orders: Sequence[StopOrder], *, within: float = 0.0) -> None:
        """Take stops that the process receives. A price that a stop never had is ignored and excuses nothing.

        Args:
            within: the seconds after which the process must use them.
        """
        for order in orders:
            own, before = order.client_order_id, self._process.shown.get(order.client_order_id)
            was_true = order.price in self._booked.get(own, ())
            if was_true and (before is None or before.price != order.price):
                counts_from = trio.current_time() + within
                self._process.shown[own] = _Shown(order.price, counts_from, None if before is None else before.price)

    def note_listed(self, orders: Sequence[StopOrder]) -> None:
        """Take the list of all stops that the process receives. A stop that it lists twice has no price that counts."""
        listed = Counter(str(order.client_order_id) for order in orders)
        for own in listed:
            self.listed_at.setdefault(own, trio.current_time())
        if listed:  # an empty list is no evidence
            self._process.missed = Counter(
                {own: self._process.missed[own] + 1 for own in self._process.shown.keys() - listed.keys()}
            )
        self.note_shown([order for order in orders if listed[str(order.client_order_id)] == 1], within=BOTH_LISTS)

    def note_update(self, update: OrderUpdate | PositionUpdate) -> None:
        """Take an update that the process receives."""
        if isinstance(update, PositionUpdate):
            key = (update.symbol, update.side)
            (self._process.open.add if update.quantity else self._process.open.discard)(key)
            self._process.grown.discard(key)
        elif update.status in {"cancelled", "filled"}:
            self._process.ended.add(update.client_order_id)

    def note_entry(self, order: EntryOrder) -> None:
        """Take an entry as the process receives it."""
        if order.filled > self._process.entered.get(order.client_order_id, 0):
            self._process.entered[order.client_order_id] = order.filled
            self._process.grown.add((order.symbol, order.side))

    def note_cancelled(self, order: StopOrder) -> None:
        """Take a cancellation that the process requests."""
        self._process.cancelled.add(order.client_order_id)

    def note_closing(self, symbol: str, side: Side) -> None:
        """Take a close that the process requests."""
        has_grown = (symbol, side) in self._process.grown
        self._process.closing[symbol, side] = has_grown or self.received_open(symbol, side)

    # The conclusions that the process can draw.

    def shown_price(self, order: StopOrder) -> Decimal | None:
        """Return the received price of a stop that the process must use by now, or None."""
        shown = self._process.shown.get(order.client_order_id)
        return None if shown is None or trio.current_time() < shown.counts_from else shown.price

    def possible_prices(self, order: StopOrder) -> set[Decimal]:
        """Return the prices that the process may assume of a stop: the true one and the last received ones.

        It has not received the price of a stop that an entry has placed, but has asked for it.
        """
        prices, shown = {order.price}, self._process.shown.get(order.client_order_id)
        if shown is None and order.client_order_id in self._attached:
            prices.add(self._attached[order.client_order_id])
        if shown is not None:
            prices.add(shown.price)
            if shown.before is not None and trio.current_time() < shown.counts_from:
                prices.add(shown.before)
        return prices

    def must_assume_live(self, order: StopOrder) -> bool:
        """Whether the process has received a stop, got no update of its end and did not cancel it.

        It may assume the end of a stop that two lists in a row did not show. Lists without any stop do not count.
        """
        own, process = order.client_order_id, self._process
        known = own in process.shown and own not in process.ended and own not in process.cancelled
        return known and process.missed[own] < 2

    def received_end(self, client_order_id: str) -> bool:
        """Whether the process received an update of an order's end."""
        return client_order_id in self._process.ended

    def had_to_close(self, symbol: str, side: Side) -> bool:
        """Whether the last report of a position said that it is open when the process last requested its close.

        A report is an update of the position, or one of its entry with a further fill.
        """
        return self._process.closing.get((symbol, side), False)

    def received_open(self, symbol: str, side: Side) -> bool:
        """Whether the last update of a position that the process received reported it open."""
        return (symbol, side) in self._process.open
