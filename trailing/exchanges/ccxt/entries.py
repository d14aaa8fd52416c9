"""Opens a position at market, for `trailing check`, also on venues whose row has no requests about entries."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

from trailing.core.model import Side, check_money, check_side
from trailing.core.prices import EXACT
from trailing.exchanges.ccxt.conversion import amount, number, text, to_venue_id
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.replies import acknowledged_id
from trailing.exchanges.ccxt.venue_requests import VenueRequests

_OPENING: Final[Mapping[Side, str]] = {"long": "buy", "short": "sell"}

_MARGIN: Final = Decimal("1.1")
"""How much the position is worth above the venue's minimum, so that a stop some percent below its price is allowed too."""


def smallest_entry(exchange: CcxtExchange, symbol: str, price: Decimal) -> Decimal:
    """Return the smallest quantity that can be opened and protected at about a price, in base units.

    Args:
        exchange: the account.
        symbol: one of its markets.
        price: the present price, above 0.
    """
    market = exchange.market(symbol)
    worth = number(exchange.session.client.markets[symbol]["limits"]["cost"]["min"]) or Decimal(0)
    least = EXACT.divide(EXACT.multiply(_MARGIN, max(worth, market.min_notional)), price)
    least = max(least, market.min_quantity, market.quantity_step)
    steps = EXACT.divide(least, market.quantity_step).to_integral_value(ROUND_CEILING)
    return EXACT.multiply(steps, market.quantity_step)


async def enter_at_market(
    exchange: CcxtExchange, symbol: str, side: Side, quantity: Decimal, client_order_id: str
) -> str:
    """Open a position at market, and return the order's id. The order may be filled later.

    Args:
        exchange: the account.
        symbol: one of its markets.
        side: of the position.
        quantity: in base units, a multiple of the market's step.
        client_order_id: in the form of our ids.

    Raises:
        ExchangeError: as a method of the port. After `OutcomeUnknown` the position may be opened later.

    Cancellation: ends the waiting and recalls nothing. `exchange.session.wait_for(client_order_id)` waits for the reply.
    """
    venue, market = exchange.venue, exchange.market(symbol)
    check_side("side", side)
    check_money("quantity", quantity)
    requests = VenueRequests(exchange.session, venue, hedged=exchange.hedged)
    template = {name: value for name, value in venue.closes.place.items() if name != "reduceOnly"}
    price = text((await exchange.price(symbol, "mark")).price) if venue.orders.price_required else None
    raw = await requests.call(
        "enter",
        "create_order",
        symbol,
        "market",
        _OPENING[side],
        amount(venue, quantity, market),
        price,
        {
            **requests.params(template, side, None, None, to_venue_id(venue, client_order_id)),
            **requests.hedge_params(symbol, side),
        },
        symbol=symbol,
        about=client_order_id,
    )
    return acknowledged_id("enter", raw)
