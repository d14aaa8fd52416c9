"""What a caller of the paper exchange does besides requests: it moves the market, and acts like a user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import trio

from trailing.core.account import OpenOrder
from trailing.core.model import Fill, Position, Side, Source, StopOrder, Tick, check_money
from trailing.exchanges.paper.account import PaperAccount
from trailing.exchanges.paper.arguments import check_client_order_id, check_close, check_stop_request
from trailing.exchanges.paper.candles import CandleSeries
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.paper.stream import Stream
from trailing.exchanges.paper.transport import Transport
from trailing.exchanges.port import StopRequest


class MarketActions:
    """Methods that act at once, without latency and rate limit. `PaperExchange` has them."""

    def __init__(self, account: PaperAccount, transport: Transport, candles: CandleSeries, stream: Stream) -> None:
        self._account = account
        self._transport = transport
        self._candles = candles
        self._stream = stream

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
        check_stop_request(request, self._account.market(request.symbol))
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

    def _move(self, tick: Tick, move: Callable[[Tick, float], None]) -> None:
        at = trio.current_time()
        self._candles.add(tick, at)
        self._stream.publish(tick)
        move(tick, at)
