"""Price arithmetic that depends on the side of a position.

The stop of a long is below the price, and its best price is the highest. For a short everything is the other way round.

Rounding is exact in any ambient decimal context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Context, Decimal, InvalidOperation, getcontext
from operator import gt, lt

from trailing.core.model import Percent, Side

EXACT = Context(prec=60)
_ENOUGH = (
    28  # Python's default. Plain operators are exact for prices in it, and a context's methods take ten times as long.
)

IS_AHEAD: Mapping[Side, Callable[[Decimal, Decimal], bool]] = {"long": gt, "short": lt}
"""The comparison of each side as an operator, because peaks are compared often. A better price and a tighter stop are
on the same side."""


def is_crossed(side: Side, price: Decimal, stop: Decimal) -> bool:
    """Return whether a price is at or beyond a stop, so that the stop triggers."""
    return price <= stop if side == "long" else price >= stop


def first_crossing(side: Side, stop: Decimal, start: Decimal, end: Decimal) -> Decimal | None:
    """Return the first price from `start` to `end` that is at or beyond a stop.

    None: no price is. The path passes through every price in between. A jump has no path, so its start is its end.
    """
    if is_crossed(side, start, stop):
        return start
    return stop if is_crossed(side, end, stop) else None


def is_tighter(side: Side, stop: Decimal, than: Decimal) -> bool:
    """Return whether a stop is closer to the price than another, or further beyond it.

    The ratchet moves a stop only in this direction.
    """
    return stop > than if side == "long" else stop < than


def is_better(side: Side, price: Decimal, than: Decimal) -> bool:
    """Return whether a price is better for the position than another."""
    return price > than if side == "long" else price < than


def behind(side: Side, price: Decimal, distance: Percent | Decimal) -> Decimal:
    """Return the price at a distance behind another, on the losing side.

    The distance is a percentage of that other price, or an amount.
    """
    amount = distance.of(price) if isinstance(distance, Percent) else distance
    return price - amount if side == "long" else price + amount


def ahead(side: Side, price: Decimal, distance: Percent | Decimal) -> Decimal:
    """Return the price at a distance ahead of another, on the winning side.

    The distance is a percentage of that other price, or an amount.
    """
    return behind("short" if side == "long" else "long", price, distance)


def round_stop(side: Side, price: Decimal, tick: Decimal) -> Decimal:
    """Return a stop price as a multiple of the tick, rounded towards the market.

    So rounding never loosens the stop.
    """
    if getcontext().prec >= _ENOUGH:
        try:
            rest = price % tick  # not by `remainder`, which reads the context again, because every new peak comes here
        except InvalidOperation:  # there are more ticks in it than the ambient context has digits
            pass
        else:
            if not rest:
                return price
            return price - rest + tick if side == "long" else price - rest
    down = EXACT.subtract(price, EXACT.remainder(price, tick))
    return EXACT.add(down, tick) if side == "long" and down != price else down


def remainder(value: Decimal, unit: Decimal) -> Decimal:
    """Return the exact rest of a value above its largest multiple of the unit."""
    if getcontext().prec >= _ENOUGH:
        try:
            return value % unit
        except InvalidOperation:  # there are more units in it than the ambient context has digits
            pass
    return EXACT.remainder(value, unit)


def floor_quantity(quantity: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of the step that is not above the quantity."""
    rest = remainder(quantity, step)
    return EXACT.subtract(quantity, rest) if rest else quantity


def stop_before_liquidation(side: Side, liquidation_price: Decimal, buffer: Percent, tick: Decimal) -> Decimal:
    """Return the loosest stop that triggers a buffer ahead of the liquidation price.

    It is rounded to the tick, towards the market.
    """
    return round_stop(side, ahead(side, liquidation_price, buffer), tick)


def is_within(price: Decimal, other: Decimal, limit: Percent) -> bool:
    """Return whether a price is at most a percentage of another away from it."""
    return abs(price - other) * 100 <= limit.value * other
