"""What the venue asks of an order, and where it liquidates."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.model import Market, Side, Source
from trailing.core.prices import EXACT, is_better, is_crossed, remainder, round_stop
from trailing.errors import StopRejected, WouldTrigger
from trailing.exchanges.paper.places import Place


def check_stop(
    place: Place, side: Side, quantity: Decimal, price: Decimal, source: Source, *, trails: bool = False
) -> None:
    """Refuse a reduce-only stop that the venue does not take.

    Args:
        trails: it is a trailing one, and `price` is the price from which on it trails, which has to be still ahead.

    Raises:
        StopRejected: it breaks a rule of the market, or is larger than the position.
        NothingToReduce: there is no such position.
        WouldTrigger: the price of its source has reached it already.
        ExchangeUnreachable: its source has no price yet.
    """
    market, held = place.market, place.held(side).quantity
    check_price(market, price)
    if quantity > held:
        raise StopRejected(f"{market.symbol}: quantity {quantity} is more than the position's {held}")
    check_quantity(market, quantity, price, held)
    now = place.known_price(source)
    if trails:
        if not is_better(side, price, now):
            raise WouldTrigger(f"{market.symbol}: the {source} price {now} is at or beyond {price}")
    elif is_crossed(side, now, price):
        raise WouldTrigger(f"{market.symbol}: the {source} price {now} is at or beyond the stop {price}")


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
