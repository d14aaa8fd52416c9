"""Closes positions at market."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

import trio

from trailing.core.model import Fill, Market, Side, Source, Tick
from trailing.errors import NothingToReduce, OutcomeUnknown, UsageError
from trailing.exchanges.ccxt.account_lists import AccountLists
from trailing.exchanges.ccxt.conversion import CLOSING, Raw, amount, base_units, text, to_venue_id
from trailing.exchanges.ccxt.replies import acknowledged_id
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venue_requests import VenueRequests


class Closes:
    """Sends closing orders by the venue's row, and finds their fills.

    Args:
        requests: sends the requests.
        lists: reads the positions.
        venue: the venue's row.
        price: returns the present price of a symbol and source.
        hedged: whether the account is in hedge mode.
    """

    def __init__(
        self,
        requests: VenueRequests,
        lists: AccountLists,
        venue: Venue,
        price: Callable[[str, Source], Awaitable[Tick]],
        *,
        hedged: bool,
    ) -> None:
        self._requests, self._lists, self._venue = requests, lists, venue
        self._price = price
        self._is_exact = hedged and venue.closes.exact_in_hedge_mode

    async def close(self, market: Market, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at most `quantity` of a position. Raises as `Exchange.close_position`."""
        try:
            raw = await self._place(market, side, quantity, client_order_id)
        except NothingToReduce:
            held = await self._held(market.symbol, side) if self._is_exact else quantity
            if not 0 < held < quantity:
                raise
            raw = await self._place(market, side, held, client_order_id)
        order_id = acknowledged_id("close_position", raw)
        closed, average = await self._requests.fill_of(market.symbol, order_id, raw)
        try:
            return Fill(
                symbol=market.symbol,
                side=side,
                quantity=base_units(closed, market),
                price=average,
                order_id=order_id,
                client_order_id=client_order_id,
                at=trio.current_time(),
            )
        except UsageError as error:
            raise OutcomeUnknown(f"close_position {market.symbol}: its fill can't be parsed: {error}") from error

    async def _place(self, market: Market, side: Side, quantity: Decimal, client_order_id: str) -> Raw:
        symbol, own_id = market.symbol, to_venue_id(self._venue, client_order_id)
        price = text((await self._price(symbol, "mark")).price) if self._venue.orders.price_required else None
        position = await self._requests.position_params(symbol, side, must_exist=False)
        raw: Raw = await self._requests.call(
            "close_position",
            "create_order",
            symbol,
            "market",
            CLOSING[side],
            amount(self._venue, quantity, market),
            price,
            {**self._requests.params(self._venue.closes.place, side, None, None, own_id), **position},
            symbol=symbol,
            about=client_order_id,
        )
        return raw

    async def _held(self, symbol: str, side: Side) -> Decimal:
        """Return the quantity of a position that the venue lists; 0: none."""
        reports = await self._lists.positions()
        return next((each.quantity for each in reports if (each.symbol, each.side) == (symbol, side)), Decimal(0))
