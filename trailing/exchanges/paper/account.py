"""The matching engine: positions, stops and fills of a paper account. Synchronous, without clock and requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest
from trailing.core.model import Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.core.prices import EXACT
from trailing.errors import EntryRejected, NoSuchStop, StopRejected, UsageError
from trailing.exchanges.paper.crossings import find_crossings
from trailing.exchanges.paper.entries import Entries
from trailing.exchanges.paper.lagged_view import LaggedView
from trailing.exchanges.paper.market_book import LiveStop, MarketBook, VenueRules
from trailing.exchanges.paper.order_checks import check_count, check_quantity, check_stop
from trailing.exchanges.paper.order_views import Executions, as_open_order
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.paper.take_profits import TakeProfits, free
from trailing.exchanges.port import EntryUpdate, OrderStatus, OrderUpdate, PositionUpdate, StopRequest


class PaperAccount:
    """An account on the paper exchange. Every `at` is in seconds on the running clock, and never decreases.

    Args:
        rules: how the venue behaves.
        publish: called with each update, in order. It must not call the account.
        utc: returns the time of day of a time on the running clock.

    Attributes:
        entries: its entry orders.
    """

    def __init__(
        self,
        rules: VenueRules,
        publish: Callable[[OrderUpdate | EntryUpdate | PositionUpdate], None],
        utc: Callable[[float], datetime],
    ) -> None:
        self._rules = rules
        self._publish = publish
        self._books: dict[str, MarketBook] = {}
        self._ids: set[str] = set()
        self._visible_stops: LaggedView[tuple[str, str], StopOrder] = LaggedView(rules.orders_read_lag)
        self._visible_positions: LaggedView[tuple[str, Side], PositionReport] = LaggedView(rules.positions_read_lag)
        self._take_profits = TakeProfits(rules.orders_read_lag, publish)
        self.entries: Entries = Entries(rules, utc, publish, self._stop_changed, self._position_changed)
        self._executions = Executions(max(rules.orders_read_lag, rules.positions_read_lag))

    def __str__(self) -> str:
        books = self._books.values()
        positions = sum(bool(holding.quantity) for book in books for holding in book.holdings.values())
        stops = sum(len(book.stops) for book in books)
        return f"{positions} positions, {stops} stops"

    def market(self, symbol: str) -> Market:
        """Return a market's rules; permissive ones if none were given. Raises UsageError if it is no symbol."""
        return self._book(symbol).market

    def price(self, symbol: str, source: Source) -> Decimal:
        """Return the last price of a source, or the first entry's price. Raises ExchangeUnreachable if there is none."""
        return self._book(symbol).known_price(source)

    def stops(self, at: float) -> Sequence[StopOrder]:
        """Return all live stops as a read shows them at a time, by symbol and client order id."""
        return tuple(order for _, order in sorted(self._visible_stops.at(at).items(), key=lambda item: item[0]))

    def find(self, symbol: str, client_order_id: str, at: float) -> StopOrder | None:
        """Return the live stop with a client order id as a read shows it at a time; None: it shows none."""
        return self._visible_stops.at(at).get((symbol, client_order_id))

    def open_orders(self, symbol: str, at: float) -> Sequence[OpenOrder]:
        """Return all open orders of a symbol as a read shows them at a time, by client order id."""
        stops = (as_open_order(stop) for stop in self.stops(at) if stop.symbol == symbol)
        others = (*self._take_profits.visible(symbol, at), *self.entries.open_orders(symbol, at))
        return tuple(sorted((*stops, *others), key=lambda order: order.client_order_id))

    def order_fills(self, client_order_id: str, since: float, at: float) -> Sequence[Fill]:
        """Return the executions of an order since a time, as a read shows them at a time, oldest first."""
        return self._executions.of_order(client_order_id, since, at)

    def positions(self, at: float) -> Sequence[PositionReport]:
        """Return all open positions as a read shows them at a time, by symbol and side."""
        return tuple(report for _, report in sorted(self._visible_positions.at(at).items(), key=lambda item: item[0]))

    def actual(self, symbol: str) -> tuple[tuple[StopOrder, ...], dict[Side, Decimal]]:
        """Return the live stops of a symbol and the open quantity of each side, without the read lag."""
        book = self._book(symbol)
        held = {side: holding.quantity for side, holding in book.holdings.items() if holding.quantity}
        return tuple(stop.order for stop in book.stops.values()), held

    def trailing(self, symbol: str, client_order_id: str) -> Decimal | None:
        """Return the present trigger price of a live order, without the read lag; None: it is gone, or not active yet."""
        book = self._book(symbol)
        stop = book.stops.get(client_order_id)
        return None if stop is None else stop.trigger_price(book.market.price_tick)

    def save(self, symbol: str) -> SavedMarketBook:
        """Return the present state of a symbol."""
        return self._book(symbol).save()

    def restore(self, books: Iterable[SavedMarketBook], used_ids: Iterable[str], at: float) -> None:
        """Load a saved account. Reads show it at once. No update is published, because nothing happened now.

        Args:
            books: one for each symbol.
            used_ids: client order ids to refuse, as used before.
            at: seconds on the running clock.
        """
        for saved in books:
            book = self._book(saved.symbol)
            book.restore(saved)
            for stop in book.stops.values():
                key = (saved.symbol, stop.order.client_order_id)
                self._visible_stops.change(key, stop.order, at - self._rules.orders_read_lag)
            self._take_profits.load(book, at)
            self.entries.load(book, at)
            for side in saved.holdings:
                self._show(book, side, at - self._rules.positions_read_lag)
        self._ids.update(used_ids)

    def set_price(self, tick: Tick) -> None:
        """Set the price of a source. Trailing orders follow it, but no order triggers."""
        self._book(tick.symbol).set_price(tick)

    def enter(self, position: Position, at: float) -> None:
        """Add a filled entry: open a position, or increase it and average its entry price.

        Raises:
            UsageError: the other side is open, in one-way mode.
        """
        book, side = self._book(position.symbol), position.side
        other: Side = "short" if side == "long" else "long"
        if not self._rules.hedged and book.holdings[other].quantity:
            raise UsageError(
                f"{position.symbol}: can't enter {side} while a {other} position is open, because the account is in one-way mode"
            )
        self.entries.increase(book, side, position.quantity, position.entry_price, at)

    def place_entry(self, request: EntryRequest, at: float) -> EntryOrder:
        """Place an entry order.

        Raises:
            EntryRejected: the client order id was used before, the market's rules are violated, or the other side is open.
            ExchangeUnreachable: there is no price yet.
        """
        new_ids = {request.client_order_id, *([] if request.stop is None else [request.stop.client_order_id])}
        if not new_ids.isdisjoint(self._ids):
            raise EntryRejected(f"duplicate client order id {request.client_order_id!r}")
        order = self.entries.place(self._book(request.symbol), request, at)
        self._ids |= new_ids
        return order

    def cancel_entry(self, symbol: str, client_order_id: str, at: float) -> None:
        """Cancel what is not filled of an entry. Raises NoSuchEntry if it is not working."""
        self.entries.cancel(self._book(symbol), client_order_id, at)

    def place(self, request: StopRequest, at: float) -> StopOrder:
        """Place a reduce-only stop.

        Raises:
            StopRejected: the client order id was used before, the market's rules are violated, or the quantity is larger than
                the position.
            TooManyStops: the account has as many stops as the market allows.
            NoSuchPosition: there is no such position.
            WouldTrigger: the price is already at or beyond the stop.
        """
        book = self._book(request.symbol)
        self._check_new(request.client_order_id)
        trails = request.callback is not None
        check_stop(book, request.side, request.quantity, request.price, request.source, trails=trails)
        if not book.market.two_stops and any(stop.order.side == request.side for stop in book.stops.values()):
            raise StopRejected(
                f"{request.symbol} {request.side}: a stop is live already, and the market allows only one"
            )
        check_count(book.market, (len(each.stops) for each in self._books.values()))
        self._ids.add(request.client_order_id)
        order = StopOrder(
            request.symbol,
            request.side,
            request.quantity,
            request.price,
            request.client_order_id,
            book.next_order_id(),
            request.source,
            request.callback,
        )
        stop = book.stops[request.client_order_id] = LiveStop(order)
        self._stop_changed(stop, at, "live")
        return order

    def amend(self, symbol: str, client_order_id: str, price: Decimal, quantity: Decimal, at: float) -> StopOrder:
        """Change a live stop in place. Raises NoSuchStop if it is gone, StopRejected if it has triggered; else as `place`."""
        book = self._book(symbol)
        stop = book.live(client_order_id)
        if stop.triggered:
            raise StopRejected(f"{symbol}: the stop {client_order_id!r} can't be amended, because it has triggered")
        check_stop(book, stop.order.side, quantity, price, stop.order.source)
        stop.order = msgspec.structs.replace(stop.order, price=price, quantity=quantity)
        stop.whole = quantity
        self._stop_changed(stop, at, "live")
        return stop.order

    def cancel(self, symbol: str, client_order_id: str, at: float) -> None:
        """Cancel the rest of a live stop. Raises NoSuchStop if it is gone."""
        book = self._book(symbol)
        self._cancel(book, book.live(client_order_id), at)

    def cancel_anywhere(self, client_order_id: str, at: float) -> str:
        """Cancel a live stop of any symbol, and return the symbol. Raises NoSuchStop if it is gone."""
        for symbol, book in self._books.items():
            if client_order_id in book.stops:
                self.cancel(symbol, client_order_id, at)
                return symbol
            if client_order_id in book.take_profits:
                self._take_profits.cancel(book, client_order_id, at)
                return symbol
            if client_order_id in book.entries:
                self.entries.cancel(book, client_order_id, at, "cancelled by the user")
                return symbol
        raise NoSuchStop(f"there is no live stop {client_order_id!r}")

    def place_take_profit(
        self, symbol: str, side: Side, quantity: Decimal, price: Decimal, client_order_id: str, at: float
    ) -> OpenOrder:
        """Place a reduce-only limit order of a user.

        Raises:
            StopRejected: the client order id was used before, or the market's rules are violated.
            NothingToReduce: there is no such position, or other take-profits cover all of it.
        """
        self._check_new(client_order_id)
        order = self._take_profits.place(self._book(symbol), side, quantity, price, client_order_id, at)
        self._ids.add(client_order_id)
        return order

    def close(
        self, symbol: str, side: Side, quantity: Decimal, at: float, *, client_order_id: str | None = None
    ) -> Fill:
        """Close at market, at most the open quantity.

        Args:
            symbol, side: the position.
            quantity: in base units, above 0.
            at: seconds on the running clock.
            client_order_id: of the order; None: a user closes by hand, without limits on the quantity.

        Raises:
            StopRejected: the client order id was used before, or a part of the position violates the market's rules.
            NothingToReduce: the position is flat, or open take-profits cover all of it.
        """
        book = self._book(symbol)
        if client_order_id is not None:
            self._check_new(client_order_id)
        held = book.held(side).quantity
        price = book.market_price
        if client_order_id is not None:
            if quantity < held:
                check_quantity(book.market, quantity, price, held)
            quantity = min(quantity, free(book, side))
            self._ids.add(client_order_id)
        return self._fill_at_market(book, side, quantity, price, client_order_id, at)

    def jump_to(self, tick: Tick, at: float) -> None:
        """Set the price of a source. Each stop at or beyond it fills at this price, in the order of `find_crossings`."""
        self._move(tick, tick.price, at)

    def move_to(self, tick: Tick, at: float) -> None:
        """Move the price of a source through every price from the last one. The first price is a jump.

        Each stop on the path fills at its own price, in the order of the path.
        """
        start = self._book(tick.symbol).price(tick.source)
        self._move(tick, tick.price if start is None else start, at)

    def _move(self, tick: Tick, start: Decimal, at: float) -> None:
        book = self._book(tick.symbol)
        book.prices[tick.source] = tick.price
        if tick.source == "last" and book.entries:
            self.entries.take_price(book, tick.price, at)
        if tick.source == "last" and book.take_profits:
            for side, limit, order in self._take_profits.take_reached(book, tick.price, at):
                self._fill_at_market(book, side, order.quantity, limit, order.client_order_id, at, order.order_id)
        for crossing in find_crossings(book, tick, start):
            side, stop = crossing.side, crossing.stop
            if stop is not None:
                if stop.order.client_order_id in book.stops:  # an earlier fill may have cancelled it
                    self._execute(book, stop, crossing.price, tick, at)
            elif book.holdings[side].quantity:  # an earlier fill may have closed it
                self._cancel_all(book, side, at, "the position is liquidated")
                self._fill_at_market(book, side, book.holdings[side].quantity, crossing.price, None, at)

    def _book(self, symbol: str) -> MarketBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = MarketBook(self._rules.market(symbol))
        return book

    def _check_new(self, client_order_id: str) -> None:
        if client_order_id in self._ids:
            raise StopRejected(f"duplicate client order id {client_order_id!r}")

    def _execute(self, book: MarketBook, stop: LiveStop, price: Decimal, tick: Tick, at: float) -> None:
        """Trigger a stop and fill the part that this tick allows. Cancel it if there is no position to reduce."""
        holding, is_new = book.holdings[stop.order.side], not stop.triggered
        left_free = book.free(stop.order.side)
        if not left_free:
            self._cancel(book, stop, at, "other orders cover the position" if holding.quantity else "nothing to reduce")
            return
        if is_new:
            stop.trigger(at + self._rules.trigger_delay)
        order, step = stop.order, book.market.quantity_step
        part = self._rules.fillable(stop, tick, step) if at >= stop.fills_from else Decimal(0)
        if is_new and part < order.quantity:
            self._stop_changed(stop, at, "triggered")
        if not part:
            return
        taken = holding.reduce(min(part, left_free))
        stop.filled = EXACT.add(stop.filled, taken)
        ids = (order.order_id, order.client_order_id)
        fill = Fill(order.symbol, order.side, taken, price, *ids, at, book.next_trade_id())
        self._executions.add(fill)
        left = EXACT.subtract(order.quantity, taken)
        if left:
            stop.order = msgspec.structs.replace(order, quantity=left)
            self._stop_changed(stop, at, "partial", fill)
        else:
            del book.stops[order.client_order_id]
            self._stop_changed(stop, at, "filled", fill)
        self._position_changed(book, order.side, at)

    def _fill_at_market(
        self,
        book: MarketBook,
        side: Side,
        wanted: Decimal,
        price: Decimal,
        client_order_id: str | None,
        at: float,
        order_id: str | None = None,
    ) -> Fill:
        symbol, order_id = book.market.symbol, order_id or book.next_order_id()
        own_id = client_order_id or f"other-{order_id}"
        taken = book.holdings[side].reduce(wanted)
        fill = Fill(symbol, side, taken, price, order_id, own_id, at, book.next_trade_id())
        self._executions.add(fill)
        self._publish(OrderUpdate(symbol, side, own_id, order_id, "filled", at, fill, fill.quantity))
        self._position_changed(book, side, at)
        return fill

    def _cancel_all(
        self, book: MarketBook, side: Side, at: float, reason: str, *, triggered_only: bool = False
    ) -> None:
        for stop in tuple(book.stops.values()):
            if stop.order.side == side and (stop.triggered or stop.is_bridge or not triggered_only):
                self._cancel(book, stop, at, reason)

    def _cancel(self, book: MarketBook, stop: LiveStop, at: float, reason: str = "") -> None:
        del book.stops[stop.order.client_order_id]
        self._stop_changed(stop, at, "cancelled", reason=reason)

    def _stop_changed(
        self,
        stop: LiveStop,
        at: float,
        status: OrderStatus = "live",
        fill: Fill | None = None,
        reason: str = "",
    ) -> None:
        order, own_id = stop.order, stop.order.client_order_id
        self._visible_stops.change((order.symbol, own_id), None if status in {"filled", "cancelled"} else order, at)
        update = OrderUpdate(order.symbol, order.side, own_id, order.order_id, status, at, fill, stop.filled, reason)
        self._publish(update)

    def _position_changed(self, book: MarketBook, side: Side, at: float) -> None:
        symbol, holding = book.market.symbol, book.holdings[side]
        if not holding.quantity:
            holding.liquidation_price = None
        self._show(book, side, at)
        self._publish(PositionUpdate(symbol, side, holding.quantity, at))
        if not holding.quantity:
            self._take_profits.cancel_all(book, side, at)
            # A triggered stop is a market order now. If it stayed live, it would close the next position.
            only = not self._rules.cancel_on_flat
            self._cancel_all(book, side, at, "the position is flat", triggered_only=only)
        else:
            self.entries.resize_bridges(book, side, at)

    def _show(self, book: MarketBook, side: Side, at: float) -> None:
        symbol, holding = book.market.symbol, book.holdings[side]
        report = None
        if holding.quantity:
            report = PositionReport(symbol, side, holding.quantity, holding.entry_price, holding.liquidation_price)
        self._visible_positions.change((symbol, side), report, at)
