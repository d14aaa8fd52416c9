"""What is checked of a position before and just after its first stop, so that no wrong figure closes a healthy position."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.account import PositionReport
from trailing.core.model import Market, Percent, Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.prices import floor_quantity, is_crossed, is_within, stop_before_liquidation
from trailing.errors import UsageError


def coverable(market: Market, quantity: Decimal) -> Decimal:
    """Return what a stop can cover of a quantity: it, down to the market's step; 0 where the market takes none so small."""
    covered = floor_quantity(quantity, market.quantity_step)
    return covered if covered >= market.min_quantity else Decimal(0)


def check_size(position: Position, plan: TrailPlan, market: Market, first_stop: Decimal, price: Decimal | None) -> None:
    """Refuse what the market does not allow: a quantity too small, a stop too near to the price, where one is known.

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
    """Refuse a given stop on the wrong side of the price that was not crossed: it was never on the right one.

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
    """Refuse an entry price that is too far from the exchange's own: the reported entry price, else the price now.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if own is not None and not is_within(position.entry_price, own, plan.max_entry_gap):
        raise UsageError(
            f"Position.entry_price of {position.symbol} got {position.entry_price}, wants within {plan.max_entry_gap} "
            f"of the exchange's {own}"
        )


def check_report(position: Position, plan: TrailPlan, market: Market, report: PositionReport) -> None:
    """Refuse what the exchange's own report contradicts.

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

    It keeps the buffer as far as the market allows. Where the market is within the buffer already, it lies just before
    the liquidation price, so that it is never an exit by itself.

    Returns:
        The stop; None: the liquidation price is on the wrong side of the market, or nothing fits in between.
    """
    for distance in (buffer, Percent(0)):
        stop = stop_before_liquidation(side, liquidation_price, distance, market.price_tick)
        if not is_crossed(side, price, liquidation_price) and not is_crossed(side, price, stop):
            return stop
    return None
