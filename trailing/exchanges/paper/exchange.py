"""The paper exchange: the port's methods, and the market's and outside hands that a test or a replay needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from functools import partial

import trio

from trailing.core.account import PositionReport
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
from trailing.exchanges.paper.arguments import check_client_order_id, check_close, check_stop_request
from trailing.exchanges.paper.book import Book
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.places import BookRules
from trailing.exchanges.paper.requests import Booking, Requests
from trailing.exchanges.paper.saved import SavedPlace
from trailing.exchanges.paper.stream import Stream
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest
from trailing.exchanges.updates import UpdateChannel


class PaperExchange:
    """An account on an exchange that lives in this process and matches like a venue. `open_paper` makes it.

    Every method of the port is a request: it takes half of its latency to arrive, is booked at one moment, and its
    answer takes the other half.

    Cancellation: of any of them ends the caller's waiting and recalls nothing; one cancelled before it began sends
    nothing.

    Raises:
        ExchangeUnreachable: the request expired on its way: it arrived later than `request_validity` after it was sent.
        RateLimited: the rate limit refused it; nothing was sent.
        OutcomeUnknown: the exchange was closed before it answered.
        UsageError: a value that can't be right; nothing was sent.

    Attributes:
        name: ``"paper"``.
        account, hedged, orders_read_lag, positions_read_lag, request_validity: as given to `open_paper`.
    """

    name = "paper"

    def __init__(
        self,
        *,
        account: str,
        rules: BookRules,
        requests: Requests,
        limiter: Limiter | None,
        candles: CandleSeries,
        request_validity: float,
        log: Sequence[Booking],
    ) -> None:
        self.account = account
        self.hedged: bool = rules.hedged
        self.orders_read_lag, self.positions_read_lag = rules.orders_read_lag, rules.positions_read_lag
        self.request_validity = request_validity
        self._book = Book(rules, self._publish)
        self._requests = requests
        self._limiter = limiter
        self._candles = candles
        self._log = log
        self._stream = Stream()

    def __repr__(self) -> str:
        line = "connected" if self._stream.connected else "disconnected"
        return f"<PaperExchange {self.account!r}: {self._book}, {self._requests}, {line}>"

    @property
    def log(self) -> Sequence[Booking]:
        """Everything that was booked or refused so far, in order; empty unless `open_paper` was told to record."""
        return self._log

    def market(self, symbol: str) -> Market:
        """The market's rules; permissive ones where none were given. Raises UsageError for what is no symbol."""
        return self._book.market(symbol)

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop, or a trailing one.

        Raises:
            UsageError: the market has no trailing orders, or none with this callback.
            StopRejected: an id that was used before, a price off the tick, a quantity off the step, below a minimum
                or beyond the position, or a second stop where one may stand.
            NothingToReduce: there is no such position.
            WouldTrigger: the price of the request's source is already at or beyond it, or, of a trailing one, the price
                from which on it trails.
        """
        check_stop_request(request, self.market(request.symbol))
        return await self._requests.send(
            "place_stop",
            request.symbol,
            partial(self._book.place, request),
            client_order_id=request.client_order_id,
        )

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live stop in place.

        Raises:
            UsageError: this market doesn't amend, or it is a trailing one.
            StopRejected: it is gone (`NoSuchStop`), or triggered; else as `place_stop`.
        """
        check_money("price", price)
        check_money("quantity", quantity)
        if not self.market(order.symbol).can_amend or order.callback is not None:
            raise UsageError(
                f"{order.symbol} has no way to amend {'a stop' if order.callback is None else 'a trailing order'}"
            )
        return await self._requests.send(
            "amend_stop",
            order.symbol,
            lambda at: self._book.amend(order.symbol, order.client_order_id, price, quantity, at),
            client_order_id=order.client_order_id,
        )

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop, after what was sent earlier under its id. Raises NoSuchStop where it is gone."""
        await self._requests.send(
            "cancel_stop",
            order.symbol,
            lambda at: self._book.cancel(order.symbol, order.client_order_id, at),
            client_order_id=order.client_order_id,
            after_earlier=True,
        )

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """The live stop under an id, after what was sent earlier under it, as of `orders_read_lag` ago."""
        check_symbol("symbol", symbol)
        return await self._requests.send(
            "find_stop",
            symbol,
            lambda at: self._book.find(symbol, client_order_id, at),
            client_order_id=client_order_id,
            after_earlier=True,
        )

    async def open_stops(self) -> Sequence[StopOrder]:
        """All live stops, in the order of symbol and client order id, as of `orders_read_lag` ago."""
        return await self._requests.send("open_stops", None, self._book.stops)

    async def positions(self) -> Sequence[PositionReport]:
        """All open positions, in the order of symbol and side, as of `positions_read_lag` ago."""
        return await self._requests.send("positions", None, self._book.positions)

    async def price(self, symbol: str, source: Source) -> Tick:
        """The price of a source. Raises ExchangeUnreachable where there has been none."""
        check_symbol("symbol", symbol)
        check_source("source", source)
        return await self._requests.send(
            "price", symbol, lambda at: Tick(symbol, self._book.price(symbol, source), at, source)
        )

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only: all at once, at the last price (else the mark, else the index price).

        The whole position, or more than it, may always be closed; a part keeps to the market's rules.

        Raises:
            NothingToReduce: the position is flat.
            StopRejected: an id that was used before, or a part that breaks a rule.
        """
        check_close(symbol, side, quantity)
        check_client_order_id(client_order_id)
        return await self._requests.send(
            "close_position",
            symbol,
            lambda at: self._book.close(symbol, side, quantity, at, client_order_id=client_order_id),
            client_order_id=client_order_id,
        )

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Closed minute candles of what was fed, oldest first; a minute without a tick has none."""
        check_symbol("symbol", symbol)
        check_source("source", source)
        check_utc("since", since)
        return await self._requests.send("candles", symbol, lambda at: self._candles.closed(symbol, source, since, at))

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose ticks are pushed from now on, as a whole; the call that was sent last counts."""
        wanted = frozenset(symbols)
        for symbol in wanted:
            check_symbol("symbols", symbol)
        await self._requests.send("set_subscriptions", None, self._stream.new_watch(wanted))

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Everything pushed from entering on: order and position updates, and the ticks of watched symbols."""
        return self._stream.subscribe()

    def rate_limit_delay(self, operation: str) -> float:
        """Seconds until the rate limit would let an operation pass: exact, unless a lane before it gets somebody."""
        check_one_of("operation", operation, OPERATIONS)
        return 0.0 if self._limiter is None else self._limiter.rate_limit_delay(operation)

    async def enter(self, position: Position) -> None:
        """Book a filled entry, at once; one of an open position increases it and averages its entry price.

        Prices that the market doesn't have yet are set to the entry price.

        Cancellation: either nothing was booked, or all.

        Raises:
            UsageError: in one-way mode, where the other side is open.
        """
        await trio.lowlevel.checkpoint()
        at = trio.current_time()
        self._book.enter(position, at)
        self._requests.note(at, "enter", position.symbol, None, position)

    def feed(self, tick: Tick) -> None:
        """Let the market jump to a price now, whatever the tick's own time: push the tick, then trigger, fill and liquidate.

        A stop triggers at the first tick of its own source at or beyond its price, and fills at that tick's price. What
        `partial_fills` leaves of it, or `trigger_delay` holds, fills at the ticks of that source that follow, whatever their
        price. A trailing one follows the ticks of its source from the first one at or beyond its price on, which includes that
        one; it triggers at the first tick that has come back by its callback from the best of them, rounded to the tick as plans
        round. A position is liquidated at a tick of any source at or beyond its liquidation price, after its stops were filled.
        """
        self._take(tick, self._book.jump_to)

    def move_to(self, tick: Tick) -> None:
        """Let the market pass through every price from the last one of the tick's source up to this one; else as `feed`.

        Each stop on the path fills at its own price, and a liquidation happens at its own, in the order in which the price
        passes them. What `partial_fills` has left of a stop fills where the move begins.
        """
        self._take(tick, self._book.move_to)

    def save(self, symbol: str) -> SavedPlace:
        """All that the exchange knows of a symbol, as it is now: what `restore` takes, in another process."""
        return self._book.save(symbol)

    def restore(self, places: Iterable[SavedPlace], used_ids: Iterable[str] = ()) -> None:
        """Be an account that was saved, at once; nothing but `remember` may have happened to these symbols before.

        Args:
            places: one for each symbol.
            used_ids: client order ids that are refused from now on, as used before.
        """
        self._book.restore(places, used_ids, trio.current_time())

    def remember(self, tick: Tick) -> None:
        """Take in what the market was like before: as its price, for candles and trailing orders. Nothing is triggered.

        Args:
            tick: `at` says when it was, on the running clock.
        """
        self._candles.add(tick, tick.at)
        self._book.set_price(tick)

    def actual(self, symbol: str) -> tuple[tuple[StopOrder, ...], dict[Side, Decimal]]:
        """The live stops of a symbol, and what is open on each side, as they are now, whatever a read shows."""
        return self._book.actual(symbol)

    def actual_trailing(self, symbol: str, client_order_id: str) -> Decimal | None:
        """Where a live stop, plain or trailing, triggers now; None: it is gone, or does not trail yet."""
        return self._book.trailing(symbol, client_order_id)

    def actual_price(self, symbol: str, source: Source = "last") -> Decimal:
        """The price of a source, as it is now. Raises ExchangeUnreachable where there has been none."""
        return self._book.price(symbol, source)

    @property
    def watched(self) -> frozenset[str]:
        """The symbols whose ticks are pushed."""
        return self._stream.watched

    def reduce(self, symbol: str, side: Side, quantity: Decimal) -> Fill:
        """Somebody closes a position by hand, or a part of it; never more. Raises NothingToReduce where it is flat."""
        check_close(symbol, side, quantity)
        return self._book.close(symbol, side, quantity, trio.current_time())

    def place_by_hand(self, request: StopRequest) -> StopOrder:
        """Somebody places a stop by hand, at once. Raises what `place_stop` raises."""
        check_stop_request(request, self.market(request.symbol))
        at = trio.current_time()
        order = self._book.place(request, at)
        self._requests.note(at, "place_by_hand", request.symbol, request.client_order_id, order)
        return order

    def cancel_by_hand(self, client_order_id: str) -> None:
        """Cancel a stop as a person does on the exchange, at once. Raises NoSuchStop where it is gone."""
        at = trio.current_time()
        symbol = self._book.cancel_anywhere(client_order_id, at)
        self._requests.note(at, "cancel_by_hand", symbol, client_order_id, None)

    def disconnect(self, detail: str = "") -> None:
        """The stream goes down: subscribers are told, and get nothing until `reconnect`. Requests go on."""
        self._stream.switch(detail, connected=False)

    def reconnect(self, detail: str = "") -> None:
        """The stream is there again, with the same watched symbols; what was pushed in between is lost."""
        self._stream.switch(detail, connected=True)

    def end(self) -> None:
        """Take no more requests and end every subscriber's channel; `open_paper` does it when its block ends."""
        self._requests.end()
        self._stream.end()

    def _take(self, tick: Tick, move: Callable[[Tick, float], None]) -> None:
        at = trio.current_time()
        self._candles.add(tick, at)
        self._stream.publish(tick)
        move(tick, at)

    def _publish(self, update: OrderUpdate | PositionUpdate) -> None:
        if isinstance(update, OrderUpdate) and update.fill is not None:
            self._requests.note(update.at, "fill", update.symbol, update.client_order_id, update.fill)
        self._stream.publish(update)
