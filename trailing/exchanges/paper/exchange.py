"""The paper exchange: the port's methods, and methods that move the market or act like a user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from functools import partial

import trio

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.model import (
    Candle,
    Fill,
    Market,
    Position,
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
from trailing.exchanges.paper.arguments import check_client_order_id, check_close, check_stop_request
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.market_book import VenueRules
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.paper.stream import Stream
from trailing.exchanges.paper.transport import LogEntry, Transport
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest
from trailing.exchanges.updates import UpdateChannel


class PaperExchange:
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
        self._account = PaperAccount(rules, self._publish)
        self._transport = transport
        self._limiter = limiter
        self._candles = candles
        self._log = log
        self._stream = Stream()

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

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Return closed minute candles of the ticks, oldest first. A minute without a tick has none."""
        check_symbol("symbol", symbol)
        check_source("source", source)
        check_utc("since", since)
        return await self._transport.send("candles", symbol, lambda at: self._candles.closed(symbol, source, since, at))

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

    async def enter(self, position: Position) -> None:
        """Add a filled entry at once: open a position, or increase it and average its entry price.

        Prices that the market does not have yet are set to the entry price.

        Raises:
            UsageError: the other side is open, in one-way mode.

        Cancellation: either nothing happened, or all of it.
        """
        await trio.lowlevel.checkpoint()
        at = trio.current_time()
        self._account.enter(position, at)
        self._transport.note(at, "enter", position.symbol, None, position)

    def feed(self, tick: Tick) -> None:
        """Let the market jump to a price now: push the tick, then trigger, fill and liquidate. The tick's own time is not used.

        A stop triggers at the first tick of its own source at or beyond its price, and fills at that tick's price. The rest
        that `partial_fills` or `trigger_delay` leaves fills at the next ticks of that source, at any price. A trailing order
        follows the ticks of its source, beginning with the first one at or beyond its price. It triggers at the first tick
        that is back by the callback from the best price, rounded to the tick as plans round. A position is liquidated at a
        tick of any source at or beyond its liquidation price, after its stops were filled.
        """
        self._move(tick, self._account.jump_to)

    def move_to(self, tick: Tick) -> None:
        """Let the market pass every price from the source's last one to the tick's; otherwise as `feed`.

        Each stop on the path fills at its own price, and a liquidation happens at its own price, in the order of the path. The
        rest that `partial_fills` left of a stop fills at the begin of the move.
        """
        self._move(tick, self._account.move_to)

    def save(self, symbol: str) -> SavedMarketBook:
        """Return the present state of a symbol, for `restore` in another process."""
        return self._account.save(symbol)

    def restore(self, books: Iterable[SavedMarketBook], used_ids: Iterable[str] = ()) -> None:
        """Load a saved account at once. Before it, only `remember` may have been called for these symbols.

        Args:
            books: one for each symbol.
            used_ids: client order ids to refuse from now on, as used before.
        """
        self._account.restore(books, used_ids, trio.current_time())

    def remember(self, tick: Tick) -> None:
        """Add a tick of the past to prices, candles and trailing orders. No order triggers.

        Args:
            tick: its `at` is in seconds on the running clock.
        """
        self._candles.add(tick, tick.at)
        self._account.set_price(tick)

    def actual(self, symbol: str) -> tuple[tuple[StopOrder, ...], dict[Side, Decimal]]:
        """Return the present live stops of a symbol and the open quantity of each side, without latency and read lag."""
        return self._account.actual(symbol)

    def actual_trailing(self, symbol: str, client_order_id: str) -> Decimal | None:
        """Return the present trigger price of a live stop, plain or trailing; None: it is gone, or not active yet."""
        return self._account.trailing(symbol, client_order_id)

    def actual_price(self, symbol: str, source: Source = "last") -> Decimal:
        """Return the present price of a source, without latency. Raises ExchangeUnreachable if there is none yet."""
        return self._account.price(symbol, source)

    @property
    def subscriptions(self) -> frozenset[str]:
        """The symbols whose ticks are pushed."""
        return self._stream.subscriptions

    def reduce(self, symbol: str, side: Side, quantity: Decimal) -> Fill:
        """Close at most the open quantity, as a user does by hand. Raises NoSuchPosition if the position is flat."""
        check_close(symbol, side, quantity)
        return self._account.close(symbol, side, quantity, trio.current_time())

    def place_by_hand(self, request: StopRequest) -> StopOrder:
        """Place a stop at once, as a user does by hand. Raises the errors of `place_stop`."""
        check_stop_request(request, self.market(request.symbol))
        at = trio.current_time()
        order = self._account.place(request, at)
        self._transport.note(at, "place_by_hand", request.symbol, request.client_order_id, order)
        return order

    def take_profit_by_hand(
        self, symbol: str, side: Side, quantity: Decimal, price: Decimal, client_order_id: str = "take-profit"
    ) -> OpenOrder:
        """Place a reduce-only limit order at once, as a bot's own take-profit.

        It fills at its price when the last price reaches it. Until then it covers its quantity, as on Binance and Bybit: a close,
        and a stop that triggers, get what it leaves of the position. If that is nothing, the close raises NothingToReduce, and the
        stop is cancelled with a reason. It ends with its position.

        Raises:
            StopRejected: the client order id was used before, or a rule of the market is violated.
            NothingToReduce: there is no such position, or other take-profits cover all of it.
        """
        check_close(symbol, side, quantity)
        check_money("price", price)
        check_client_order_id(client_order_id)
        at = trio.current_time()
        order = self._account.place_take_profit(symbol, side, quantity, price, client_order_id, at)
        self._transport.note(at, "take_profit_by_hand", symbol, client_order_id, order)
        return order

    def cancel_by_hand(self, client_order_id: str) -> None:
        """Cancel a stop or a take-profit at once, as a user does by hand. Raises NoSuchStop if it is gone."""
        at = trio.current_time()
        symbol = self._account.cancel_anywhere(client_order_id, at)
        self._transport.note(at, "cancel_by_hand", symbol, client_order_id, None)

    def disconnect(self, detail: str = "") -> None:
        """Take the stream down. Subscribers get a `StreamState`, then nothing until `reconnect`. Requests continue."""
        self._stream.switch(detail, connected=False)

    def reconnect(self, detail: str = "") -> None:
        """Take the stream up again with the same subscriptions. Updates in between are lost."""
        self._stream.switch(detail, connected=True)

    def end(self) -> None:
        """Accept no more requests, and end the channels. `open_paper` calls it when its block ends."""
        self._transport.end()
        self._stream.end()

    def _move(self, tick: Tick, move: Callable[[Tick, float], None]) -> None:
        at = trio.current_time()
        self._candles.add(tick, at)
        self._stream.publish(tick)
        move(tick, at)

    def _publish(self, update: OrderUpdate | PositionUpdate) -> None:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            self._transport.note(update.at, "fill", update.symbol, update.client_order_id, update.fill)
        self._stream.publish(update)
