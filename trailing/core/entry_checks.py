"""Check the figures of a position before and just after its first stop.

The reason is that a wrong figure would close a healthy position.
"""

from __future__ import annotations

from decimal import Decimal

from trailing.core.account import PositionReport
from trailing.core.model import Market, Percent, Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.prices import ahead, floor_quantity, is_crossed, is_within, stop_before_liquidation
from trailing.errors import UsageError


def coverable(market: Market, quantity: Decimal) -> Decimal:
    """Return the quantity that a stop can cover, in base units.

    It is rounded down to the market's step, and 0 if it is less than the market's smallest quantity.
    """
    covered = floor_quantity(quantity, market.quantity_step)
    return covered if covered >= market.min_quantity else Decimal(0)


def check_size(position: Position, plan: TrailPlan, market: Market, first_stop: Decimal, price: Decimal | None) -> None:
    """Refuse a quantity too small for the market, or a first stop too near the price.

    The plan's `min_stop_ticks` is the least distance. It counts from the entry price if no price is known, or if the
    price is beyond the stop.

    Args:
        price: the last known one; None: none is known.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if not coverable(market, position.quantity):
        raise UsageError(
            f"Position.quantity of {position.symbol} got {position.quantity}, wants at least "
            f"{max(market.min_quantity, market.quantity_step)}"
        )
    if price is None or is_crossed(position.side, price, first_stop):
        price = position.entry_price
    if abs(price - first_stop) < plan.min_stop_ticks * market.price_tick:
        raise UsageError(
            f"the stop of {position.symbol} got {first_stop}, wants at least {plan.min_stop_ticks} ticks of "
            f"{market.price_tick} from {price}"
        )


def check_side(position: Position, price: Decimal) -> None:
    """Refuse a stop on the wrong side of both the price and the entry price.

    Only `Position.stop_price` is checked. A stop on the right side of the entry price was crossed since the entry, so
    it is not refused.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    given = position.stop_price
    if given is None or not is_crossed(position.side, price, given):
        return
    if is_crossed(position.side, position.entry_price, given):
        raise UsageError(
            f"Position.stop_price of {position.symbol} got {given}, wants it "
            f"{'below' if position.side == 'long' else 'above'} the price, {price}"
        )


def check_entry(position: Position, plan: TrailPlan, own: Decimal | None) -> None:
    """Refuse an entry price that is further than the plan's `max_entry_gap` from the exchange's own.

    Args:
        own: the entry price that the exchange reports, or else its present or last known price; None: nothing is
            checked.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if own is not None and not is_within(position.entry_price, own, plan.max_entry_gap):
        raise UsageError(
            f"Position.entry_price of {position.symbol} got {position.entry_price}, wants within {plan.max_entry_gap} "
            f"of the exchange's {own}"
        )


def check_report(position: Position, plan: TrailPlan, market: Market, report: PositionReport) -> None:
    """Refuse a position whose quantity or entry price contradicts the exchange's report.

    Its quantity, rounded down to the market's step, may be at most the reported one. `check_entry` compares the prices.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if coverable(market, position.quantity) > report.quantity:
        raise UsageError(
            f"Position.quantity of {position.symbol} got {position.quantity}, wants at most the {report.quantity} that "
            f"the exchange reports"
        )
    check_entry(position, plan, report.entry_price)


def least_stop(
    side: Side, liquidation_price: Decimal, buffer: Percent, market: Market, price: Decimal
) -> Decimal | None:
    """Return the loosest stop that triggers before the exchange liquidates.

    It lies the buffer away from the liquidation price. If the price is already beyond such a stop, it lies at the first
    tick before the liquidation price, so that it does not trigger at once.

    Args:
        price: the last price.

    Returns:
        The stop; None: the price is beyond the liquidation price, or no tick lies between the two.
    """
    if is_crossed(side, price, liquidation_price):
        return None
    for distance in (buffer, Percent(0)):
        stop = stop_before_liquidation(side, liquidation_price, distance, market.price_tick)
        if stop == liquidation_price:
            stop = ahead(side, stop, market.price_tick)
        if not is_crossed(side, price, stop):
            return stop
    return None
