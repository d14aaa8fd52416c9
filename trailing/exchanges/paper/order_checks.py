"""The venue's checks of an order, and the liquidation price."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from trailing.core.model import Market, Side, Source
from trailing.core.prices import EXACT, is_better, is_crossed, remainder, round_stop
from trailing.errors import StopRejected, TooManyStops, WouldTrigger
from trailing.exchanges.paper.market_book import MarketBook


def check_stop(
    book: MarketBook, side: Side, quantity: Decimal, price: Decimal, source: Source, *, trails: bool = False
) -> None:
    """Refuse a reduce-only stop that violates the venue's rules.

    Args:
        book: the state of the symbol.
        side: the side of the position.
        quantity: in base units.
        price: the trigger price; of a trailing order the activation price, which must be ahead of the market.
        source: the price source by which it triggers.
        trails: whether it is a trailing order.

    Raises:
        StopRejected: it violates a rule of the market, or is larger than the position.
        NoSuchPosition: there is no such position.
        WouldTrigger: the price of its source is already at or beyond `price`.
        ExchangeUnreachable: its source has no price yet.
    """
    market, held = book.market, book.held(side).quantity
    check_price(market, price)
    if quantity > held:
        raise StopRejected(f"{market.symbol}: quantity {quantity} is larger than the position ({held})")
    check_quantity(market, quantity, price, held)
    now = book.known_price(source)
    if trails:
        if not is_better(side, price, now):
            raise WouldTrigger(f"{market.symbol}: the {source} price {now} is at or beyond {price}")
    elif is_crossed(side, now, price):
        raise WouldTrigger(f"{market.symbol}: the {source} price {now} is at or beyond the stop {price}")


def check_price(market: Market, price: Decimal) -> None:
    """Raise StopRejected for a trigger price that is no multiple of the market's tick."""
    if remainder(price, market.price_tick):
        raise StopRejected(f"{market.symbol}: price {price} is no multiple of the tick {market.price_tick}")


def check_quantity(market: Market, quantity: Decimal, price: Decimal, held: Decimal) -> None:
    """Refuse a reduce-only quantity that is no multiple of the step, or is below a minimum.

    A stop for the whole position need not reach the minimum notional.

    Raises:
        StopRejected: the message names the rule.
    """
    if remainder(quantity, market.quantity_step):
        raise StopRejected(f"{market.symbol}: quantity {quantity} is no multiple of the step {market.quantity_step}")
    if quantity < market.min_quantity:
        raise StopRejected(f"{market.symbol}: quantity {quantity} is below the minimum {market.min_quantity}")
    if quantity != held and quantity * price < market.min_notional:
        raise StopRejected(
            f"{market.symbol}: the notional of {quantity} at {price} is below the minimum {market.min_notional}"
        )


def check_count(market: Market, counts: Iterable[int]) -> None:
    """Raise TooManyStops if an account may have no further stop.

    Args:
        counts: the number of live stops in each market, which is only counted if there is a limit.
    """
    if market.most_stops is not None and (live := sum(counts)) >= market.most_stops:
        raise TooManyStops(
            f"{market.symbol}: the account has {live} stops, and may have {market.most_stops} of all symbols together"
        )


def liquidation_price(market: Market, side: Side, entry_price: Decimal, leverage: Decimal) -> Decimal | None:
    """Return the price at which an isolated position has lost its margin.

    It is ``entry * (1 - 1/leverage)`` for a long and ``entry * (1 + 1/leverage)`` for a short, without maintenance margin and
    fees, rounded to the tick towards the entry. None: that would be at or below zero.
    """
    margin = EXACT.divide(entry_price, leverage)
    price = EXACT.subtract(entry_price, margin) if side == "long" else EXACT.add(entry_price, margin)
    return round_stop(side, price, market.price_tick) if price > 0 else None
