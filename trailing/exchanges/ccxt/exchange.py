"""A real exchange behind the port. Each method sends requests of ccxt's that are built from the venue's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings, MarginMode
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
)
from trailing.errors import ExchangeUnreachable, NoSuchStop, StopRejected, UsageError
from trailing.exchanges.ccxt.account_lists import AccountLists
from trailing.exchanges.ccxt.bridges import Bridges
from trailing.exchanges.ccxt.calls import BotCalls, Fence
from trailing.exchanges.ccxt.closes import Closes
from trailing.exchanges.ccxt.conversion import (
    CANDLE_SECONDS,
    CLOSING,
    amount,
    candles_of,
    check_steps,
    is_ours,
    text,
    tightened,
    to_venue_id,
    unknown_market,
)
from trailing.exchanges.ccxt.entry_orders import EntryOrders
from trailing.exchanges.ccxt.entry_settings import SettingsReader
from trailing.exchanges.ccxt.order_reads import OrderReads
from trailing.exchanges.ccxt.polling import PriceReader
from trailing.exchanges.ccxt.replies import acknowledged_id, acknowledged_price
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.unnamed_stops import UnnamedStops
from trailing.exchanges.ccxt.venue import Slot, Venue, fill_in
from trailing.exchanges.ccxt.venue_requests import VenueRequests
from trailing.exchanges.port import StopRequest, check_callback
from trailing.exchanges.updates import UpdateChannel


class UpdateSource(Protocol):
    """Publishes the exchange's updates."""

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose prices are wanted."""

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Open a channel of all updates from now on."""


class CcxtExchange:
    """An account on a real exchange. `open_ccxt` creates it.

    Cancellation: of any method ends the caller's waiting and recalls nothing. A request that still waits for the rate limit
    is not sent.

    Attributes:
        name: the venue's name, with " testnet" on its test network.
        account: as given to `open_ccxt`.
        hedged: whether the account was in hedge mode when it was opened. On Bybit: whether a symbol was.
        orders_read_lag, positions_read_lag, request_validity: seconds, as in `Exchange`.
        session, venue: for `trailing doctor` and for tests.
    """

    def __init__(
        self,
        session: Session,
        venue: Venue,
        markets: Mapping[str, Market],
        updates: UpdateSource,
        *,
        name: str,
        account: str,
        hedged: bool,
        margin_mode: MarginMode = "cross",
    ) -> None:
        self.name = name
        self.account = account
        self.hedged = hedged
        self.orders_read_lag: float = venue.delays.orders_read_lag
        self.positions_read_lag: float = venue.delays.positions_read_lag
        self.request_validity: float = venue.delays.request_validity
        self.session = session
        self._updates = updates
        self._requests = VenueRequests(session, venue, hedged=hedged, entry_margin_mode=margin_mode)
        self._prices = PriceReader(session, venue)
        self._unnamed = UnnamedStops(venue)
        self._bridges = Bridges(self._requests, venue, session.client.markets)
        self._lists = AccountLists(self._requests, venue, markets, session.client.markets, self._unnamed, self._bridges)
        self._order_reads = OrderReads(self._requests, venue)
        self._entries = EntryOrders(session, self._requests, venue, self._bridges, name=name)
        self._settings = SettingsReader(session, self._requests, venue, name=name)
        self._calls = BotCalls(session, venue)
        self._closes = Closes(self._requests, self._lists, venue, self.price, hedged=hedged)
        self.venue = venue
        self._markets = markets

    def __repr__(self) -> str:
        mode = "hedge" if self.hedged else "one-way"
        return (
            f"<CcxtExchange {self.name} {self.account!r}: {mode} mode, {len(self._markets)} markets, {self.session}, "
            f"{self._updates}>"
        )

    def market(self, symbol: str) -> Market:
        """Return a market's rules, as of when the exchange was opened. Raises UsageError for an unknown symbol."""
        check_symbol("symbol", symbol)
        try:
            return self._markets[symbol]
        except KeyError:
            raise unknown_market(self.venue, self.name, symbol) from None

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop-market order, or a trailing order.

        Returns:
            The stop as the venue acknowledged it. Its price is tightened to the figures that the venue accepts.

        Raises:
            UsageError: the price is no multiple of the tick, the quantity no multiple of the step, stops can't trigger by
                the source, or the callback is not supported. On Bybit also: the symbol is in hedge mode, and the account was
                not when the exchange was opened.
        """
        market = self.market(request.symbol)
        check_side("StopRequest.side", request.side)
        check_callback(request, market)
        check_steps(market, request.price, request.quantity)
        self._requests.check_can_protect(request.symbol)
        trailing = self.venue.stops.trailing if request.callback is not None else None
        template = self.venue.stops.place if trailing is None else trailing.place
        price = tightened(self.venue, request.side, request.price)
        own_id = to_venue_id(self.venue, request.client_order_id)
        params = self._requests.params(template, request.side, price, request.source, own_id, request.callback)
        position = await self._requests.position_params(request.symbol, request.side, must_exist=True)
        with self._unnamed.placing(request, price):
            raw = await self._requests.call(
                "place_stop",
                "create_order",
                request.symbol,
                "market",
                CLOSING[request.side],
                amount(self.venue, request.quantity, market),
                text(price) if self.venue.orders.price_required else None,
                {**params, **position},
                symbol=request.symbol,
                about=request.client_order_id,
            )
            order = StopOrder(
                symbol=request.symbol,
                side=request.side,
                quantity=request.quantity,
                price=(trailing is None and acknowledged_price(raw)) or price,
                client_order_id=request.client_order_id,
                order_id=acknowledged_id("place_stop", raw),
                source=request.source,
                callback=request.callback,
            )
        self._unnamed.note_acknowledged(order)
        self._calls.note(order.order_id)
        return order

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live plain stop in place.

        Raises UsageError for a trailing order and for a bridge, or if the venue can't amend stops.
        """
        market = self.market(order.symbol)
        check_steps(market, price, quantity)
        if self.venue.stops.amend is None or order.callback is not None:
            raise UsageError(
                f"{order.symbol}: {self.name} can't amend {'a stop' if order.callback is None else 'a trailing order'}"
            )
        if self._bridges.is_known(order.client_order_id):
            raise UsageError(f"{order.symbol}: {self.name} can't amend a stop that an entry carried")
        price = tightened(self.venue, order.side, price)
        own_id = to_venue_id(self.venue, order.client_order_id)
        raw = await self._requests.call(
            "amend_stop",
            "edit_order",
            order.order_id,
            order.symbol,
            self.venue.stops.amend_type,
            CLOSING[order.side],
            amount(self.venue, quantity, market),
            text(price) if self.venue.orders.price_required else None,
            self._requests.params(
                self.venue.stops.amend_params(order.order_id), order.side, price, order.source, own_id
            ),
            symbol=order.symbol,
            about=order.client_order_id,
        )
        order_id = order.order_id if raw is None else acknowledged_id("amend_stop", raw)
        self._calls.note(order_id)
        return StopOrder(order.symbol, order.side, quantity, price, order.client_order_id, order_id, order.source)

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop, after the requests in flight for its id have ended. One that an entry carried as a bridge is cleared."""
        if self._bridges.is_known(order.client_order_id):
            await self.session.wait_for(order.client_order_id)
            live = await self._lists.find_bridge(order.symbol, order.client_order_id)
            if live is None:
                raise NoSuchStop(f"{self.name} cancel_stop {order.symbol}: the position has no stop of that entry")
            await self._bridges.clear(live)
            return
        own_id = to_venue_id(self.venue, order.client_order_id) if order.client_order_id else ""
        raw = await self._requests.call(
            "cancel_stop",
            "cancel_order",
            order.order_id,
            order.symbol,
            self._requests.params(
                self.venue.stops.cancel_params(order.order_id), order.side, order.price, order.source, own_id
            ),
            symbol=order.symbol,
            about=order.client_order_id,
            after_earlier=True,
        )
        if self.venue.verified:  # it is unknown whether the others name the order in their reply
            acknowledged_id("cancel_stop", raw)

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """Return the live stop with a client order id, after the requests in flight for that id have ended."""
        self.market(symbol)
        values = {Slot.CLIENT_ORDER_ID: to_venue_id(self.venue, client_order_id)}
        await self.session.wait_for(client_order_id)
        if self.venue.lists.find is None:
            params = fill_in(self.venue.lists.find_list, values)
            raws = await self._requests.orders("find_stop", symbol, params)
        else:
            try:
                raw = await self._requests.call(
                    "find_stop", "fetch_order", None, symbol, fill_in(self.venue.lists.find, values), symbol=symbol
                )
            except StopRejected:  # there is no such order
                return None
            if not raw.get("id"):
                raise ExchangeUnreachable(f"{self.name} find_stop {symbol}: the reply is not an order")
            raws = [raw]
        asked_by_id = self.venue.lists.find is not None or Slot.CLIENT_ORDER_ID in self.venue.lists.find_list.values()
        found = await self._lists.find(raws, client_order_id, only=asked_by_id)
        return found or await self._lists.find_bridge(symbol, client_order_id)

    async def open_stops(self) -> Sequence[StopOrder]:
        """Return all live stop-market orders, plain and trailing, ours and foreign, by symbol and client order id."""
        stops = await self._lists.stops()
        for order in stops:
            if is_ours(order.client_order_id):
                self._calls.note(order.order_id)
        return stops

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        """Return all open orders of a symbol, plain and conditional, ours and foreign, by order id."""
        return await self._order_reads.open_orders(self.market(symbol))

    async def cancel_order(self, order: OpenOrder) -> None:
        """Cancel an order that `open_orders` lists, after the requests in flight for its id have ended."""
        self.market(order.symbol)
        await self._order_reads.cancel_order(order)

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        """Return the executions of an order of ours, oldest first.

        Raises UsageError on a venue whose row doesn't say how to read them, which is each unverified one.
        """
        check_utc("since", since)
        return await self._order_reads.order_fills(self.market(symbol), client_order_id, since)

    async def positions(self) -> Sequence[PositionReport]:
        """Return all open positions in linear contracts, by symbol and side."""
        return await self._lists.positions()

    async def price(self, symbol: str, source: Source) -> Tick:
        """Return the exchange's present price. Raises UsageError for a source that the venue does not publish."""
        self.market(symbol)
        return await self._prices.read_one(symbol, source, self.name)

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only, at most `quantity`, which must be a multiple of the market's step."""
        market = self.market(symbol)
        check_side("side", side)
        check_money("quantity", quantity)
        return await self._closes.close(market, side, quantity, client_order_id)

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        """Place an entry order, at market or with a limit that rests until it is cancelled.

        Returns:
            The entry as acknowledged. Bybit and OKX acknowledge ids only, so it shows nothing filled there.

        Raises:
            UsageError: entries were not tried on the venue, or the market can't attach the stop as requested. On Bybit also: the
                symbol has another position mode than the account.
            EntryRejected: the venue rejected it, or nothing was sent because a figure lies between the market's steps.
        """
        order = await self._entries.place(self.market(request.symbol), request)
        self._calls.note(order.order_id)
        return order

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        """Cancel what is not filled of an entry, after the requests in flight for its id have ended."""
        await self._entries.cancel(self.market(symbol), client_order_id)

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        """Return an entry, working or ended, after the requests in flight for its id have ended."""
        return await self._entries.find(self.market(symbol), client_order_id)

    async def entry_settings(self, symbol: str) -> EntrySettings:
        """Return what is set for entries in a symbol.

        On OKX each order states its margin mode: it is that of the symbol's open position, or else `margin_mode` of `open_ccxt`.
        """
        self.market(symbol)
        return await self._settings.read(symbol)

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Return closed minute candles, oldest first; empty for a source without candles on this venue."""
        self.market(symbol)
        check_source("source", source)
        check_utc("since", since)
        params = self.venue.prices.candles.get(source)
        candles: list[Candle] = []
        while params is not None:
            start = int(since.timestamp() * 1000)
            asked = (symbol, "1m", start, self.venue.prices.candle_page, dict(params))
            rows = await self._requests.call("candles", "fetch_ohlcv", *asked, symbol=symbol)
            page = candles_of(symbol, source, rows)
            still_open = datetime.now(UTC) - timedelta(seconds=CANDLE_SECONDS)
            candles += [candle for candle in page if since <= candle.opened_at <= still_open]
            if len(rows) < self.venue.prices.candle_page or not page or page[-1].opened_at > still_open:
                break
            if page[-1].opened_at < since:
                raise ExchangeUnreachable(f"{self.name} candles {symbol}: the reply has no candle since {since}")
            since = page[-1].opened_at + timedelta(seconds=CANDLE_SECONDS)
        return candles

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        """Send a request of the bot's own: any method of ccxt, through the same client and the same rate limiter.

        All other requests pass first, and it is never repeated. A method that may change something needs an open manager,
        because only the owner of the account may send it. ::

            balance = await exchange.call("fetch_balance")
            await exchange.call("set_leverage", 5, "BTC/USDT:USDT", marginMode="isolated")

        Args:
            method: a unified method of ccxt, or one of a venue's endpoint, such as ``"fapiPrivateGetIncome"``.
            args: its arguments in ccxt's order.
            params: its arguments by name. Names that it does not have become ccxt's `params`.

        Returns:
            What ccxt returns. Numbers that ccxt parses are texts.

        Raises:
            UsageError: no such method can be called, an argument is wrong or names an order of the manager, or no manager is
                open for a change. Nothing was sent.
            LeaseLost: another process owns the account now, or the manager has ended. Nothing was sent.
            CallRejected: the exchange rejected it.
            ExchangeUnreachable: it was not sent; or it only reads, and the exchange did not answer.
            OutcomeUnknown: it may have changed something.

        Cancellation: while it waits for the rate limit, nothing is sent. Later it ends the waiting and recalls nothing. For a
            method that takes several requests, those that still wait are sent nevertheless, until the caller's deadline.
        """
        return await self._calls.call(method, args, params)

    def set_fence(self, fence: Fence | None) -> None:
        """Let the bot's calls change something as far as the owner's fence allows; None: no manager owns the account."""
        self._calls.fence = fence

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose prices are wanted. Raises UsageError for an unknown symbol."""
        for symbol in symbols:
            self.market(symbol)
        await self._updates.set_subscriptions(symbols)

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Open a channel of all updates from now on."""
        return self._updates.updates()

    def rate_limit_delay(self, operation: str) -> float:
        """Return the seconds until the rate limit would let an operation (the method's name) pass."""
        return self.session.rate_limiter.rate_limit_delay(operation)
