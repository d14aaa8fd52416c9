"""Finds the stops and liquidations that a price move triggers, with their prices and their order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from trailing.core.model import Side, Tick
from trailing.core.prices import first_crossing
from trailing.exchanges.paper.market_book import LiveStop, MarketBook

_AT_MARKET, _STOP, _LIQUIDATION = range(3)


class Crossing(NamedTuple):
    """An order to fill or a position to liquidate. Crossings sort by distance, kind and depth.

    Args:
        distance: how far the price has moved when it reaches the trigger.
        kind: at one price, market orders fill before stops, and stops before a liquidation.
        depth: how far beyond the trigger the move ends, negated, so that the tightest of the stops in a jump fills first.
        price: the price at which it fills.
        side: the side of the position.
        stop: the order; None: the position is liquidated.
    """

    distance: Decimal
    kind: int
    depth: Decimal
    price: Decimal
    side: Side
    stop: LiveStop | None


def find_crossings(book: MarketBook, tick: Tick, start: Decimal) -> Sequence[Crossing]:
    """Let trailing orders follow a move, and return what it triggers, in order.

    Args:
        book: the state of the symbol.
        tick: the end of the move. It triggers stops of its own source, and liquidates for any source.
        start: the begin of the move, which passes every price from there to the tick's. A jump begins at the tick's price.
    """
    end = tick.price
    found: list[Crossing] = []
    for stop in book.stops.values():
        order = stop.order
        if order.source != tick.source:
            continue
        if order.callback is None and not stop.triggered:  # the usual case
            price = first_crossing(order.side, order.price, start, end)
            if price is not None:
                found.append(Crossing(abs(price - start), _STOP, -abs(end - order.price), price, order.side, stop))
            continue
        # The path to a new best price does not trigger the order that trails behind it.
        begins_at = end if stop.follow(end) else start
        trigger = stop.trigger_price(book.market.price_tick)
        if trigger is None:
            continue
        price = start if stop.triggered else first_crossing(order.side, trigger, begins_at, end)
        if price is not None:
            kind = _AT_MARKET if stop.triggered else _STOP
            found.append(Crossing(abs(price - start), kind, -abs(end - trigger), price, order.side, stop))
    for side, holding in book.holdings.items():
        limit = holding.liquidation_price
        if limit is not None and (price := first_crossing(side, limit, start, end)) is not None:
            found.append(Crossing(abs(price - start), _LIQUIDATION, -abs(end - limit), price, side, None))
    if len(found) > 1:
        found.sort(key=lambda crossing: crossing[:3])
    return found
