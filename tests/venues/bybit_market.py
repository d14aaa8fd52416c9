"""Bybit's market: stops of whole positions, which entries carry (`tpslMode` Full).

From the first fill of the entry on, a position has the stop, and the venue keeps it as large as the position. There is one for
each position: that of a later entry replaces it. It names its entry (`parentOrderLinkId`), and has no id of a client.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from venue_market import Leg, Order, OrderSide, Trigger, VenueMarket, Wanted


class PositionStop(Wanted, frozen=True, kw_only=True):
    """The stop of a whole position.

    Args:
        parent: the client's id of the entry that carried it; empty: it was set for the position.
        stated: the quantity that the order states, which was the position's when the stop was set.
    """

    parent: str = ""
    stated: Decimal = Decimal(0)


class BybitMarket(VenueMarket):
    """The market with one account."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._attached: set[int] = set()  # the numbers of the entries whose stop was set

    def attach(self, order: Order) -> Order | None:
        """Give the position the stop that an entry carries, at the first fill of the entry."""
        stop = order.wanted.attached
        if stop is None or not order.filled or order.number in self._attached:
            return None
        assert stop.trigger is not None
        self._attached.add(order.number)
        return self._set(order.wanted.leg, stop, stop.trigger, order.filled, order.wanted.client_order_id)

    def set_stop(self, symbol: str, leg: Leg, trigger: Trigger) -> None:
        """Set or replace the stop of a position, which names no entry."""
        held = self.holding(symbol, leg).quantity
        side: OrderSide = "sell" if held > 0 else "buy"
        self._set(leg, Wanted(symbol=symbol, side=side, quantity=abs(held), client_order_id=""), trigger, abs(held), "")

    def _set(self, leg: Leg, stop: Wanted, trigger: Trigger, quantity: Decimal, parent: str) -> Order:
        present = self.stop_of_position(stop.symbol, leg)
        wanted = PositionStop(
            symbol=stop.symbol,
            side=stop.side,
            quantity=quantity,
            client_order_id="",
            leg=leg,
            reduce_only=True,
            trigger=trigger,
            parent=parent,
            stated=quantity,
        )
        placed = self.book(wanted)
        if present is not None:
            self.cancel(present)
        return placed

    def stop_of_position(self, symbol: str, leg: Leg) -> Order | None:
        """Return the live stop of a whole position."""
        for order in self.live_stops(symbol):
            if isinstance(order.wanted, PositionStop) and order.wanted.leg == leg and order.status == "live":
                return order
        return None

    def _change_position(self, symbol: str, leg: Leg, quantity: Decimal, price: Decimal) -> None:
        super()._change_position(symbol, leg, quantity, price)
        stop, held = self.stop_of_position(symbol, leg), abs(self.holding(symbol, leg).quantity)
        if stop is not None and held:
            stop.wanted = msgspec.structs.replace(stop.wanted, quantity=held)
