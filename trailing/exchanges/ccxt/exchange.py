"""A real exchange behind the port: each method is one request of ccxt's, made from the venue's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import trio

from trailing.core.account import PositionReport
from trailing.core.model import (
    Candle,
    Fill,
    Market,
    Side,
    Source,
    StopOrder,
    Tick,
    check_money,
    check_side,
    check_source,
    check_symbol,
    check_utc,
    refuse,
)
from trailing.core.prices import EXACT, remainder
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected, UsageError
from trailing.exchanges.ccxt.conversion import (
    CANDLE_SECONDS,
    CLOSING,
    Raw,
    amount,
    candles_of,
    id_there,
    number,
    text,
    tightened,
)
from trailing.exchanges.ccxt.lists import Lists
from trailing.exchanges.ccxt.reading import Prices
from trailing.exchanges.ccxt.requests import Requests
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.venue import Slot, Venue, filled
from trailing.exchanges.port import StopRequest, check_callback
from trailing.exchanges.updates import UpdateChannel

_CANDLE_PAGE = 1000
"""Bars that are asked for at once; every venue of the table gives as many, or says by giving fewer."""


class Pushing(Protocol):
    """What pushes."""

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose prices are wanted from now on, as a whole."""

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Everything pushed from now on."""


class CcxtExchange:
    """An account on a real exchange. `open_ccxt` makes it.

    Cancellation: of any method ends the caller's waiting and recalls nothing; one whose turn in the rate limit had
    not come yet sends nothing.

    Attributes:
        name: the venue's; on a testnet it says so.
        account: as given to `open_ccxt`.
        hedged: as the exchange reported when it was opened.
        session, venue: what it is made of, for the doctor and for tests.
    """

    def __init__(
        self,
        session: Session,
        venue: Venue,
        markets: Mapping[str, Market],
        streams: Pushing,
        *,
        name: str,
        account: str,
        hedged: bool,
    ) -> None:
        self.name = name
        self.account = account
        self.hedged = hedged
        self.orders_read_lag: float = venue.orders_read_lag
        self.positions_read_lag: float = venue.positions_read_lag
        self.request_validity: float = venue.request_validity
        self.session = session
        self._streams = streams
        self._requests = Requests(session, venue, hedged=hedged)
        self._prices = Prices(session, venue)
        self._lists = Lists(self._requests, venue, markets, session.client.markets)
        self.venue = venue
        self._markets = markets

    def __repr__(self) -> str:
        return f"<CcxtExchange {self.name} {self.account!r}: {len(self._markets)} markets, {self.session}>"

    def market(self, symbol: str) -> Market:
        """The market's rules, as of when the exchange was opened."""
        check_symbol("symbol", symbol)
        try:
            return self._markets[symbol]
        except KeyError:
            raise UsageError(f"symbol got {symbol!r}, which {self.name} does not trade") from None

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop at market, or a trailing one.

        Raises:
            UsageError: a price off the tick, a quantity off the step, a source that the venue can't trigger by, or a
                callback that it does not have.
        """
        market = self.market(request.symbol)
        check_side("StopRequest.side", request.side)
        check_callback(request, market)
        _check_steps(market, request.price, request.quantity)
        trailing = self.venue.trailing if request.callback is not None else None
        template = self.venue.place if trailing is None else trailing.place
        price = tightened(self.venue, request.side, request.price)
        own_id = id_there(self.venue, request.client_order_id)
        raw = await self._requests.call(
            "place_stop",
            "create_order",
            request.symbol,
            "market",
            CLOSING[request.side],
            amount(self.venue, request.quantity, market),
            text(price) if self.venue.price_too else None,
            {
                **self._requests.params(template, request.side, price, request.source, own_id, request.callback),
                **self._requests.hedge,
            },
            symbol=request.symbol,
            about=request.client_order_id,
        )
        return StopOrder(
            symbol=request.symbol,
            side=request.side,
            quantity=request.quantity,
            price=(trailing is None and _acknowledged_price(raw)) or price,
            client_order_id=request.client_order_id,
            order_id=_acknowledged_id("place_stop", raw),
            source=request.source,
            callback=request.callback,
        )

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live stop in place. Raises UsageError where the venue has no way to, and for a trailing one."""
        market = self.market(order.symbol)
        _check_steps(market, price, quantity)
        if self.venue.amend is None or order.callback is not None:
            raise UsageError(
                f"{self.name} has no way to amend {'a stop' if order.callback is None else 'a trailing order'}"
            )
        price = tightened(self.venue, order.side, price)
        own_id = id_there(self.venue, order.client_order_id)
        raw = await self._requests.call(
            "amend_stop",
            "edit_order",
            order.order_id,
            order.symbol,
            self.venue.amend_type,
            CLOSING[order.side],
            amount(self.venue, quantity, market),
            text(price) if self.venue.price_too else None,
            self._requests.params(self.venue.amend, order.side, price, order.source, own_id),
            symbol=order.symbol,
            about=order.client_order_id,
        )
        order_id = order.order_id if raw is None else _acknowledged_id("amend_stop", raw)
        return StopOrder(order.symbol, order.side, quantity, price, order.client_order_id, order_id, order.source)

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop, after what is under way for its id."""
        own_id = id_there(self.venue, order.client_order_id) if order.client_order_id else ""
        raw = await self._requests.call(
            "cancel_stop",
            "cancel_order",
            order.order_id,
            order.symbol,
            self._requests.params(self.venue.cancel, order.side, order.price, order.source, own_id),
            symbol=order.symbol,
            about=order.client_order_id,
            after_earlier=True,
        )
        if self.venue.verified:  # of the others it is not known whether they name the order
            _acknowledged_id("cancel_stop", raw)

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """The live stop under an id, after what is under way for it."""
        self.market(symbol)
        values = {Slot.CLIENT_ORDER_ID: id_there(self.venue, client_order_id)}
        await self.session.wait_for(client_order_id)
        if self.venue.find is None:
            params = filled(self.venue.find_list, values)
            raws = await self._requests.orders("find_stop", symbol, params)
        else:
            try:
                raw = await self._requests.call(
                    "find_stop", "fetch_order", None, symbol, filled(self.venue.find, values), symbol=symbol
                )
            except StopRejected:  # there is no such order
                return None
            if not raw.get("id"):
                raise ExchangeUnreachable(f"{self.name} find_stop: the answer is no order")
            raws = [raw]
        return self._lists.find(raws, client_order_id)

    async def open_stops(self) -> Sequence[StopOrder]:
        """All live stops, plain and trailing, that close a position at market, ours or not, in the order of symbol and client order id."""
        return await self._lists.stops()

    async def positions(self) -> Sequence[PositionReport]:
        """All open positions in linear contracts, in the order of symbol and side."""
        return await self._lists.positions()

    async def price(self, symbol: str, source: Source) -> Tick:
        """The exchange's own price. Raises UsageError for a source that the venue doesn't tell."""
        self.market(symbol)
        check_source("source", source)
        if source not in self.venue.prices:
            raise UsageError(f"{self.name} does not tell its {source} price")
        for found in await self._prices.read([symbol], [source]):
            if isinstance(found, Tick):
                return found
            raise ExchangeUnreachable(f"{self.name}: {found.detail}")
        raise ExchangeUnreachable(f"{self.name} has no {source} price of {symbol}")

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only; a part has to be a multiple of the quantity step."""
        market = self.market(symbol)
        check_side("side", side)
        check_money("quantity", quantity)
        own_id = id_there(self.venue, client_order_id)
        price = text((await self.price(symbol, "mark")).price) if self.venue.price_too else None
        raw = await self._requests.call(
            "close_position",
            "create_order",
            symbol,
            "market",
            CLOSING[side],
            amount(self.venue, quantity, market),
            price,
            {**self._requests.params(self.venue.close, side, None, None, own_id), **self._requests.hedge},
            symbol=symbol,
            about=client_order_id,
        )
        order_id = _acknowledged_id("close_position", raw)
        closed, average = await self._requests.fill_of(symbol, order_id, raw)
        return Fill(
            symbol=symbol,
            side=side,
            quantity=EXACT.multiply(closed, market.contract_size),
            price=average,
            order_id=order_id,
            client_order_id=client_order_id,
            at=trio.current_time(),
        )

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Closed minute candles, oldest first; none for a source that the venue has none of."""
        self.market(symbol)
        check_source("source", source)
        check_utc("since", since)
        params = self.venue.candles.get(source)
        candles: list[Candle] = []
        while params is not None:
            start = int(since.timestamp() * 1000)
            asked = (symbol, "1m", start, _CANDLE_PAGE, dict(params))
            rows = await self._requests.call("candles", "fetch_ohlcv", *asked, symbol=symbol)
            page = candles_of(symbol, source, rows)
            still_open = datetime.now(UTC) - timedelta(seconds=CANDLE_SECONDS)
            candles += [candle for candle in page if since <= candle.opened_at <= still_open]
            if len(rows) < _CANDLE_PAGE or not page:
                break
            since = page[-1].opened_at + timedelta(seconds=CANDLE_SECONDS)
        return candles

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose prices are wanted from now on, as a whole."""
        for symbol in symbols:
            self.market(symbol)
        await self._streams.set_subscriptions(symbols)

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Everything pushed from entering on."""
        return self._streams.updates()

    def rate_limit_delay(self, operation: str) -> float:
        """Seconds until the rate limit would let an operation pass."""
        return self.session.turns.rate_limit_delay(operation)


def _check_steps(market: Market, price: Decimal, quantity: Decimal) -> None:
    check_money("StopRequest.price", price)
    check_money("StopRequest.quantity", quantity)
    if remainder(price, market.price_tick):
        raise refuse("StopRequest.price", price, f"a multiple of {market.symbol}'s tick, {market.price_tick}")
    if remainder(quantity, market.quantity_step):
        raise refuse("StopRequest.quantity", quantity, f"a multiple of {market.symbol}'s step, {market.quantity_step}")


def _acknowledged_id(operation: str, raw: Raw) -> str:
    """The order's id; an answer without one, such as a page of HTML, acknowledges nothing."""
    answer: Raw = raw if isinstance(raw, Mapping) else {}
    if answer.get("status") == "rejected":
        raise StopRejected(f"{operation}: the order {answer.get('id')} was rejected")
    if not answer.get("id"):
        raise OutcomeUnknown(f"{operation}: the answer holds no order id")
    return str(answer["id"])


def _acknowledged_price(raw: Any) -> Decimal | None:
    """The trigger price that an answer shows; one that can't be read acknowledges nothing."""
    if not isinstance(raw, Mapping):
        return None
    try:
        price = number(raw.get("triggerPrice"))
        check_money("triggerPrice", price or Decimal(0), zero=True)
    except UsageError as error:
        raise OutcomeUnknown(f"place_stop: the answer can't be read: {error}") from error
    return price
