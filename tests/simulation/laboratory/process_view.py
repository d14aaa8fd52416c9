"""What a process of a harsh world was shown and told, and so what it can know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec
import trio

from trailing.core.model import Side, StopOrder
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import OrderUpdate, PositionUpdate

BOTH_LISTS: Final = 15.0
"""Seconds after which a process has seen both lists, where it was shown one: a snapshot counts only as a whole."""


class _Shown(msgspec.Struct, frozen=True):
    """The price that a process was shown of a stop, from when on it can't be overlooked, and the price before."""

    price: Decimal
    counts_from: float
    before: Decimal | None


@dataclass
class _OfOneProcess:
    """All that one process was shown and told; the sets hold client order ids."""

    shown: dict[str, _Shown] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)  # in how many lists in a row
    ended: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    open: set[tuple[str, Side]] = field(default_factory=set)
    closing: dict[tuple[str, Side], bool] = field(default_factory=dict)  # whether told open, when a close was asked for


class ProcessView:
    """What the process that lives was shown and told.

    Attributes:
        listed_at: when a list first showed any process each stop, by client order id, in seconds of the world.
    """

    def __init__(self) -> None:
        self.listed_at: dict[str, float] = {}
        self._booked: dict[str, set[Decimal]] = {}  # by client order id: the prices that the order ever had
        self._process = _OfOneProcess()

    def process_died(self) -> None:
        """The next process was shown and told nothing yet."""
        self._process = _OfOneProcess()

    # What is shown and told.

    def note_booking(self, booking: LogEntry) -> None:
        """The exchange has booked, or refused, something."""
        if isinstance(booking.result, StopOrder):
            self._booked.setdefault(booking.result.client_order_id, set()).add(booking.result.price)

    def note_shown(self, orders: Sequence[StopOrder], *, within: float = 0.0) -> None:
        """The process was shown stops. A price that a stop never had excuses nothing, and counts for nothing.

        Args:
            within: the seconds after which the process can't overlook them.
        """
        for order in orders:
            own, before = order.client_order_id, self._process.shown.get(order.client_order_id)
            was_true = order.price in self._booked.get(own, ())
            if was_true and (before is None or before.price != order.price):
                counts_from = trio.current_time() + within
                self._process.shown[own] = _Shown(order.price, counts_from, None if before is None else before.price)

    def note_listed(self, orders: Sequence[StopOrder]) -> None:
        """The process was shown the list of all stops."""
        listed = {str(order.client_order_id) for order in orders}
        for own in listed:
            self.listed_at.setdefault(own, trio.current_time())
        if listed:  # an empty list says nothing
            self._process.missed = Counter(
                {own: self._process.missed[own] + 1 for own in self._process.shown.keys() - listed}
            )
        self.note_shown(orders, within=BOTH_LISTS)

    def note_update(self, update: OrderUpdate | PositionUpdate) -> None:
        """The process was told what became of an order, or how large a position is."""
        if isinstance(update, PositionUpdate):
            key = (update.symbol, update.side)
            (self._process.open.add if update.quantity else self._process.open.discard)(key)
        elif update.status in {"cancelled", "filled"}:
            self._process.ended.add(update.client_order_id)

    def note_cancelled(self, order: StopOrder) -> None:
        """The process has asked for a cancellation."""
        self._process.cancelled.add(order.client_order_id)

    def note_closing(self, symbol: str, side: Side) -> None:
        """The process asks for a close of a position."""
        self._process.closing[symbol, side] = self.received_open(symbol, side)

    # What can be known.

    def shown_price(self, order: StopOrder) -> Decimal | None:
        """The price that the process was shown of a stop, and can't overlook any more; None: there is none."""
        shown = self._process.shown.get(order.client_order_id)
        return None if shown is None or trio.current_time() < shown.counts_from else shown.price

    def possible_prices(self, order: StopOrder) -> set[Decimal]:
        """The prices for which the process may take a stop: the true one, and the one that it was shown last."""
        prices, shown = {order.price}, self._process.shown.get(order.client_order_id)
        if shown is not None:
            prices.add(shown.price)
            if shown.before is not None and trio.current_time() < shown.counts_from:
                prices.add(shown.before)
        return prices

    def must_assume_live(self, order: StopOrder) -> bool:
        """Whether the process was shown a stop, was not told of its end, and has not asked for it.

        It may take a stop for gone that two lists in a row did not show, but for lists that showed no stop at all.
        """
        own, process = order.client_order_id, self._process
        known = own in process.shown and own not in process.ended and own not in process.cancelled
        return known and process.missed[own] < 2

    def received_end(self, client_order_id: str) -> bool:
        """Whether the process was told that an order has ended."""
        return client_order_id in self._process.ended

    def had_to_close(self, symbol: str, side: Side) -> bool:
        """Whether the last update of a position said that it is open when the process asked for its last close."""
        return self._process.closing.get((symbol, side), False)

    def received_open(self, symbol: str, side: Side) -> bool:
        """Whether the last update of a position that the process was given said that it is open."""
        return (symbol, side) in self._process.open
