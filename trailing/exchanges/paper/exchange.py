"""The paper exchange: the port's methods."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NoReturn

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
    check_one_of,
    check_source,
    check_symbol,
    check_utc,
)
from trailing.errors import UsageError
from trailing.exchanges.limiter import OPERATIONS, Limiter
from trailing.exchanges.paper.account import PaperAccount
from trailing.exchanges.paper.arguments import (
    check_client_order_id,
    check_close,
    check_stop_request,
)
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.market_actions import MarketActions
from trailing.exchanges.paper.market_book import VenueRules
from trailing.exchanges.paper.stream import Stream
from trailing.exchanges.paper.transport import LogEntry, Transport
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StopRequest, check_entry_request
from trailing.exchanges.updates import UpdateChannel


class PaperExchange(MarketActions):
    """An account on an exchange that runs in this process and matches orders like a venue. `open_paper` creates it.

    Every method of the port is a request. It arrives after half of its latency, is executed at one moment, and its reply
    takes the other half.

    Cancellation: of any request ends the caller's waiting and recalls nothing. A request that is cancelled before it began
    sends nothing.

    Raises:
        ExchangeUnreachable: the request expired: it arrived later than `request_validity` after it was sent.
        RateLimited: the rate limit rejected it; nothing was sent.
        OutcomeUnknown: the exchange was closed before it replied.
        UsageError: a value is invalid; nothing was sent.

    Attributes:
        name: ``"paper"``.
        account, hedged, orders_read_lag, positions_read_lag, request_validity: as given to `open_paper`.
    """

    name = "paper"

    def __init__(
        self,
        *,
        account: str,
        rules: VenueRules,
        transport: Transport,
        limiter: Limiter | None,
        candles: CandleSeries,
        request_validity: float,
        log: Sequence[LogEntry],
    ) -> None:
        self.account: str = account
        self.hedged: bool = rules.hedged
        self.orders_read_lag: float = rules.orders_read_lag
        self.positions_read_lag: float = rules.positions_read_lag
        self.request_validity: float = request_validity
        super().__init__(PaperAccount(rules, self._publish, candles.utc), transport, candles, Stream())
        self._limiter, self._leverage = limiter, rules.leverage
        self._log = log

    def __repr__(self) -> str:
        mode = "hedge" if self.hedged else "one-way"
        stream = "up" if self._stream.connected else "down"
        return f"<PaperExchange {self.account!r}: {mode} mode, {self._account}, {self._transport}, stream {stream}>"

    @property
    def log(self) -> Sequence[LogEntry]:
        """All requests that were executed or rejected, and all fills, in order; empty unless `open_paper` got ``record=True``."""
        return self._log

    def market(self, symbol: str) -> Market:
        """Return a market's rules; permissive ones if none were given. Raises UsageError if it is no symbol."""
        return self._account.market(symbol)

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop, or a trailing one.

        Raises:
            UsageError: the market has no trailing orders, or does not accept this callback.
            StopRejected: the client order id was used before; the price is no multiple of the tick; the quantity is no
                multiple of the step, below a minimum or larger than the position; or the market allows no second stop.
            NoSuchPosition: there is no such position.
            WouldTrigger: the price of the request's source is already at or beyond the stop, or the activation price of a
                trailing order.
        """
        check_stop_request(request, self.market(request.symbol))
        return await self._transport.send(
            "place_stop",
            request.symbol,
            partial(self._account.place, request),
            client_order_id=request.client_order_id,
        )

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live stop in place.

        Raises:
            UsageError: the market does not allow amendments, or it is a trailing order.
            StopRejected: it is gone (`NoSuchStop`) or has triggered; otherwise as `place_stop`.
        """
        check_money("price", price)
        check_money("quantity", quantity)
        if not self.market(order.symbol).can_amend or order.callback is not None:
            kind = "a stop" if order.callback is None else "a trailing order"
            raise UsageError(f"{order.symbol}: the paper exchange can't amend {kind}")
        return await self._transport.send(
            "amend_stop",
            order.symbol,
            lambda at: self._account.amend(order.symbol, order.client_order_id, price, quantity, at),
            client_order_id=order.client_order_id,
        )

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop, after earlier requests for its id. Raises NoSuchStop if it is gone."""
        await self._transport.send(
            "cancel_stop",
            order.symbol,
            lambda at: self._account.cancel(order.symbol, order.client_order_id, at),
            client_order_id=order.client_order_id,
            after_earlier=True,
        )

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """Return the live stop with an id as of `orders_read_lag` ago, after earlier requests for that id; None: none."""
        check_symbol("symbol", symbol)
        return await self._transport.send(
            "find_stop",
            symbol,
            lambda at: self._account.find(symbol, client_order_id, at),
            client_order_id=client_order_id,
            after_earlier=True,
        )

    async def open_stops(self) -> Sequence[StopOrder]:
        """Return all live stops as of `orders_read_lag` ago, by symbol and client order id."""
        return await self._transport.send("open_stops", None, self._account.stops)

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        """Return all open orders of a symbol as of `orders_read_lag` ago, by client order id."""
        check_symbol("symbol", symbol)
        return await self._transport.send("open_orders", symbol, lambda at: self._account.open_orders(symbol, at))

    async def cancel_order(self, order: OpenOrder) -> None:
        """Cancel an open order of any kind, after earlier requests for its id. Raises NoSuchStop if it is gone."""
        check_symbol("OpenOrder.symbol", order.symbol)
        await self._transport.send(
            "cancel_order",
            order.symbol,
            partial(self._account.cancel_anywhere, order.client_order_id),
            client_order_id=order.client_order_id,
            after_earlier=True,
        )

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        """Return the executions of an order since a time (UTC), oldest first. The longer read lag delays them."""
        check_symbol("symbol", symbol)
        check_client_order_id(client_order_id)
        check_utc("since", since)
        start = self._candles.running_clock(since)
        return await self._transport.send(
            "order_fills",
            symbol,
            lambda at: self._account.order_fills(client_order_id, start, at),
        )

    async def positions(self) -> Sequence[PositionReport]:
        """Return all open positions as of `positions_read_lag` ago, by symbol and side."""
        return await self._transport.send("positions", None, self._account.positions)

    async def price(self, symbol: str, source: Source) -> Tick:
        """Return the price of a source. Raises ExchangeUnreachable if there is none yet."""
        check_symbol("symbol", symbol)
        check_source("source", source)
        return await self._transport.send(
            "price", symbol, lambda at: Tick(symbol, self._account.price(symbol, source), at, source)
        )

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only, in one fill at the last price (else the mark, else the index price).

        The whole position, or more, may always be closed. A part must keep to the market's rules.

        Raises:
            NothingToReduce: the position is flat, or take-profits cover all of it.
            StopRejected: the client order id was used before, or a part violates the market's rules.
        """
        check_close(symbol, side, quantity)
        check_client_order_id(client_order_id)
        return await self._transport.send(
            "close_position",
            symbol,
            lambda at: self._account.close(symbol, side, quantity, at, client_order_id=client_order_id),
            client_order_id=client_order_id,
        )

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        """Place an entry. One at market fills at the last price, one with a limit at its limit, or at a better last price.

        Raises:
            UsageError: the market can't attach the stop as requested.
            EntryRejected: a client order id was used before; the limit or the stop is no multiple of the tick; the quantity is no
                multiple of the step or below a minimum; the stop is not behind the entry; or the other side is open, in
                one-way mode.
            ExchangeUnreachable: there is no last price yet.
        """
        check_entry_request(request, self.market(request.symbol))
        return await self._transport.send(
            "place_entry",
            request.symbol,
            partial(self._account.place_entry, request),
            client_order_id=request.client_order_id,
        )

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        """Cancel what is not filled of an entry, after earlier requests for its id. Raises NoSuchEntry if it has ended."""
        check_symbol("symbol", symbol)
        check_client_order_id(client_order_id)
        await self._transport.send(
            "cancel_entry",
            symbol,
            lambda at: self._account.cancel_entry(symbol, client_order_id, at),
            client_order_id=client_order_id,
            after_earlier=True,
        )

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        """Return an entry as of `orders_read_lag` ago, after earlier requests for its id; None: none was placed by then."""
        check_symbol("symbol", symbol)
        check_client_order_id(client_order_id)
        return await self._transport.send(
            "find_entry",
            symbol,
            lambda at: self._account.entries.find(symbol, client_order_id, at),
            client_order_id=client_order_id,
            after_earlier=True,
        )

    async def entry_settings(self, symbol: str) -> EntrySettings:
        """Return what `open_paper` was given: cross margin, or with a leverage isolated margin."""
        check_symbol("symbol", symbol)
        mode: MarginMode = "cross" if self._leverage is None else "isolated"
        settings = EntrySettings(symbol, self.hedged, mode, self._leverage, self._leverage)
        return await self._transport.send("entry_settings", symbol, lambda _: settings)

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Return closed minute candles of the ticks, oldest first. A minute without a tick has none."""
        check_symbol("symbol", symbol)
        check_source("source", source)
        check_utc("since", since)
        return await self._transport.send("candles", symbol, lambda at: self._candles.closed(symbol, source, since, at))

    async def call(self, method: str, /, *args: object, **params: object) -> NoReturn:  # noqa: ARG002 - as the port's
        """Refuse the bot's own requests: only a real exchange has ccxt's methods. Raises UsageError."""
        raise UsageError(f"call got {method!r}, but the paper exchange has no methods of ccxt; use `open_ccxt`")

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose ticks are pushed. The call that was sent last counts."""
        wanted = frozenset(symbols)
        for symbol in wanted:
            check_symbol("symbols", symbol)
        await self._transport.send("set_subscriptions", None, self._stream.new_subscriptions(wanted))

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Open a channel of all updates from now on: orders, positions, and ticks of subscribed symbols."""
        return self._stream.subscribe()

    def rate_limit_delay(self, operation: str) -> float:
        """Return the seconds until the rate limit would let an operation pass; exact unless a more urgent request comes."""
        check_one_of("operation", operation, OPERATIONS)
        return 0.0 if self._limiter is None else self._limiter.rate_limit_delay(operation)

    def end(self) -> None:
        """Accept no more requests, and end the channels. `open_paper` calls it when its block ends."""
        self._transport.end()
        self._stream.end()

    def _publish(self, update: OrderUpdate | EntryUpdate | PositionUpdate) -> None:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            self._transport.note(update.at, "fill", update.symbol, update.client_order_id, update.fill)
        self._stream.publish(update)
