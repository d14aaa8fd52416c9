"""What the venue asks of an order, and where it liquidates."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.model import Market, Side
from trailing.core.prices import EXACT, remainder, round_stop
from trailing.errors import StopRejected


def check_price(market: Market, price: Decimal) -> None:
    """Refuse a trigger price that is no multiple of the market's tick. Raises StopRejected."""
    if remainder(price, market.price_tick):
        raise StopRejected(f"{market.symbol}: price {price} is no multiple of the tick {market.price_tick}")


def check_quantity(market: Market, quantity: Decimal, price: Decimal, held: Decimal) -> None:
    """Refuse a reduce-only quantity off the step or below a minimum; the whole position is free of the notional one.

    Raises:
        StopRejected: naming the rule.
    """
    if remainder(quantity, market.quantity_step):
        raise StopRejected(f"{market.symbol}: quantity {quantity} is no multiple of the step {market.quantity_step}")
    if quantity < market.min_quantity:
        raise StopRejected(f"{market.symbol}: quantity {quantity} is below the minimum {market.min_quantity}")
    if quantity != held and quantity * price < market.min_notional:
        raise StopRejected(
            f"{market.symbol}: {quantity} at {price} is worth less than the minimum notional {market.min_notional}"
        )


def liquidation_price(market: Market, side: Side, entry_price: Decimal, leverage: Decimal) -> Decimal | None:
    """Where an isolated position has lost its margin: ``entry * (1 - 1/leverage)`` for a long, ``1 + …`` for a short.

    Without maintenance margin and fees; rounded to the tick, towards the entry. None where that is at or below zero.
    """
    margin = EXACT.divide(entry_price, leverage)
    price = EXACT.subtract(entry_price, margin) if side == "long" else EXACT.add(entry_price, margin)
    return round_stop(side, price, market.price_tick) if price > 0 else None
