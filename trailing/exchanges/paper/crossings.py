"""What a move of the market triggers on the paper exchange, at which price, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from trailing.core.model import Side, Tick
from trailing.core.prices import first_crossing
from trailing.exchanges.paper.places import LiveStop, Place

_AT_MARKET, _STOP, _LIQUIDATION = range(3)


class Crossing(NamedTuple):
    """An order to fill, or a position to liquidate.

    Args:
        distance: how far the market has moved when it gets there.
        kind: orders at market fill before stops at the same price, and stops before a liquidation.
        depth: how far beyond the trigger the market ends, negated: of stops that a jump crosses, the tightest goes first.
        price: the market's price there, at which it fills.
        stop: the order; None: the position is liquidated.
    """

    distance: Decimal
    kind: int
    depth: Decimal
    price: Decimal
    side: Side
    stop: LiveStop | None


def find_crossings(place: Place, tick: Tick, start: Decimal) -> Sequence[Crossing]:
    """Let trailing orders follow the market, and list what it triggers, in the order in which it does.

    Args:
        tick: where the market moves to. It triggers stops of its own source, and liquidates whatever its source.
        start: where the move begins: it passes through every price between `start` and the tick's. A jump begins at the
            tick's price.
    """
    end = tick.price
    found: list[Crossing] = []
    for stop in place.stops.values():
        order = stop.order
        if order.source != tick.source:
            continue
        # The path to a new best price does not trigger an order that trails behind it.
        begins_at = end if stop.follow(end) else start
        trigger = stop.trigger_price(place.market.price_tick)
        if trigger is None:
            continue
        price = start if stop.triggered else first_crossing(order.side, trigger, begins_at, end)
        if price is not None:
            kind = _AT_MARKET if stop.triggered else _STOP
            found.append(Crossing(abs(price - start), kind, -abs(end - trigger), price, order.side, stop))
    for side, holding in place.holdings.items():
        limit = holding.liquidation_price
        if limit is not None and (price := first_crossing(side, limit, start, end)) is not None:
            found.append(Crossing(abs(price - start), _LIQUIDATION, -abs(end - limit), price, side, None))
    if len(found) > 1:
        found.sort(key=lambda crossing: crossing[:3])
    return found
