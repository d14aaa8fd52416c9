"""Entry orders on the paper exchange: their checks, their fills, and the stops that they carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Context, Decimal

from msgspec.structs import replace

from trailing.core.account import OpenOrder
from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest
from trailing.core.model import Market, Side, StopOrder, check_money
from trailing.core.prices import EXACT, floor_quantity, is_better, is_crossed
from trailing.errors import EntryRejected, NoSuchEntry
from trailing.exchanges.paper.lagged_view import LaggedView
from trailing.exchanges.paper.market_book import LiveStop, MarketBook, VenueRules
from trailing.exchanges.paper.order_checks import liquidation_price
from trailing.exchanges.paper.saved import SavedEntry
from trailing.exchanges.port import EntryUpdate, check_entry_steps

_AVERAGE = Context(prec=28)  # limits the digits of a division


class Entries:
    """The entry orders of an account. Every `at` is in seconds on the running clock, and never decreases.

    Args:
        rules: how the venue behaves.
        utc: returns the time of day of a time on the running clock.
        publish: called with each update of an entry.
        stop_changed: called with each stop that an entry has placed or resized.
        position_changed: called with the book and the side of each position that an entry has increased.
    """

    def __init__(
        self,
        rules: VenueRules,
        utc: Callable[[float], datetime],
        publish: Callable[[EntryUpdate], None],
        stop_changed: Callable[[LiveStop, float], None],
        position_changed: Callable[[MarketBook, Side, float], None],
    ) -> None:
        self._rules, self._utc, self._publish = rules, utc, publish
        self._stop_changed, self._position_changed = stop_changed, position_changed
        self._visible: LaggedView[tuple[str, str], EntryOrder] = LaggedView(rules.orders_read_lag)

    def find(self, symbol: str, client_order_id: str, at: float) -> EntryOrder | None:
        """Return an entry as a read shows it at a time; None: it shows none."""
        return self._visible.at(at).get((symbol, client_order_id))

    def open_orders(self, symbol: str, at: float) -> Sequence[OpenOrder]:
        """Return the working entries of a symbol as a read shows them at a time."""
        shown = self._visible.at(at).values()
        return [_as_open_order(order) for order in shown if order.symbol == symbol and order.is_working]

    def place(self, book: MarketBook, request: EntryRequest, at: float) -> EntryOrder:
        """Place an entry, and fill what the present price fills of it.

        Raises:
            EntryRejected: a rule of the market is violated, the other side is open, or the price is beyond the stop already.
            ExchangeUnreachable: there is no price yet.
        """
        price = book.known_price("last")
        _check(book, request, price)
        other: Side = "short" if request.side == "long" else "long"
        if not self._rules.hedged and book.holdings[other].quantity:
            raise EntryRejected(f"{request.symbol}: a {other} position is open, and the account is in one-way mode")
        order = EntryOrder(
            request.symbol,
            request.side,
            request.quantity,
            request.client_order_id,
            book.next_order_id(),
            is_working=True,
            filled=Decimal(0),
            limit=request.limit,
        )
        book.entries[order.client_order_id] = SavedEntry(order, request.stop)
        self._show(order, at)
        return self._execute(book, order.client_order_id, price, at) if _is_reached(order, price) else order

    def cancel(self, book: MarketBook, client_order_id: str, at: float, reason: str = "") -> None:
        """Cancel what is not filled of an entry. Raises NoSuchEntry if it is not working."""
        entry = book.entries.get(client_order_id)
        if entry is None:
            raise NoSuchEntry(f"{book.market.symbol}: there is no working entry {client_order_id!r}")
        self._end(book, replace(entry.order, is_working=False, reason=reason), entry.stop, at)

    def take_price(self, book: MarketBook, price: Decimal, at: float) -> None:
        """Fill what a price fills of the working entries: those at market at this price, those with a limit at the limit."""
        for own_id, entry in tuple(book.entries.items()):
            if _is_reached(entry.order, price):
                self._execute(book, own_id, entry.order.limit or price, at)

    def load(self, book: MarketBook, at: float) -> None:
        """Let reads show those of a loaded state at once."""
        for entry in book.entries.values():
            self._visible.change(
                (entry.order.symbol, entry.order.client_order_id), entry.order, at - self._rules.orders_read_lag
            )

    def increase(self, book: MarketBook, side: Side, added: Decimal, price: Decimal, at: float) -> None:
        """Increase a position, and average its entry price."""
        holding = book.holdings[side]
        quantity = EXACT.add(holding.quantity, added)
        if holding.quantity:
            cost = EXACT.multiply(added, price)
            holding.entry_price = _AVERAGE.divide(EXACT.fma(holding.quantity, holding.entry_price, cost), quantity)
        else:
            holding.entry_price = price
        holding.quantity = quantity
        if self._rules.leverage is not None:
            holding.liquidation_price = liquidation_price(book.market, side, holding.entry_price, self._rules.leverage)
        if book.first_entry_price is None:
            book.first_entry_price = price
        self._position_changed(book, side, at)

    def resize_bridges(self, book: MarketBook, side: Side, at: float) -> None:
        """Make the stops that entries carry as large as the position, if the exchange keeps them so."""
        for stop in book.stops.values():
            if stop.is_bridge and stop.order.side == side and not stop.triggered:
                self._resize(stop, book.holdings[side].quantity, at)

    def _attach(self, book: MarketBook, entry: EntryOrder, carried: AttachedStop, at: float) -> None:
        """Let the stop that an entry carries become live, or as large as the position. A flat position gets none."""
        if not book.holdings[entry.side].quantity:
            return
        is_bridge, own_id = book.market.attached_stop == "bridge", carried.client_order_id
        quantity = book.holdings[entry.side].quantity if is_bridge else entry.filled
        stop = book.stops.get(own_id)
        if stop is not None:
            self._resize(stop, quantity, at)
            return
        ids = (own_id, book.next_order_id())
        stop = book.stops[own_id] = LiveStop(
            StopOrder(entry.symbol, entry.side, quantity, carried.price, *ids, carried.source)
        )
        stop.is_bridge = is_bridge
        self._stop_changed(stop, at)

    def _resize(self, stop: LiveStop, quantity: Decimal, at: float) -> None:
        if stop.order.quantity != quantity:
            stop.order, stop.whole = replace(stop.order, quantity=quantity), quantity
            self._stop_changed(stop, at)

    def _execute(self, book: MarketBook, client_order_id: str, price: Decimal, at: float) -> EntryOrder:
        entry = book.entries[client_order_id]
        order, stop = entry.order, entry.stop
        part = self._fillable(order, price, book.market)
        if not part:
            return order
        filled = EXACT.add(order.filled, part)
        cost = EXACT.multiply(order.filled, order.average_price or Decimal(0))
        average = _AVERAGE.divide(EXACT.fma(part, price, cost), filled)
        order = replace(
            order,
            filled=filled,
            average_price=average,
            first_filled_at=order.first_filled_at or self._utc(at),
            is_working=filled < order.quantity,
        )
        self.increase(book, order.side, part, price, at)
        if not order.is_working:
            self._end(book, order, stop, at)
            return order
        book.entries[client_order_id] = SavedEntry(order, stop)
        if stop is not None and book.market.attached_stop == "bridge":
            self._attach(book, order, stop, at)
        self._show(order, at)
        return order

    def _end(self, book: MarketBook, order: EntryOrder, stop: AttachedStop | None, at: float) -> None:
        del book.entries[order.client_order_id]
        if stop is not None and order.filled:
            self._attach(book, order, stop, at)
        self._show(order, at)

    def _fillable(self, order: EntryOrder, price: Decimal, market: Market) -> Decimal:
        left, step, fills = (
            EXACT.subtract(order.quantity, order.filled),
            market.quantity_step,
            self._rules.partial_entries,
        )
        if fills is None:
            return left
        if isinstance(fills, Decimal):
            return min(left, max(step, floor_quantity(EXACT.multiply(order.quantity, fills), step)))
        wanted = fills(order, price)
        check_money("partial_entries(order, price)", wanted, zero=True)
        return left if wanted >= left else floor_quantity(wanted, step)

    def _show(self, order: EntryOrder, at: float) -> None:
        self._visible.change((order.symbol, order.client_order_id), order, at)
        self._publish(EntryUpdate(order, at))


def _is_reached(order: EntryOrder, price: Decimal) -> bool:
    """Return whether a price fills an entry: any price one at market, and no worse price than its limit the other one."""
    return order.limit is None or not is_better(order.side, price, order.limit)


def _check(book: MarketBook, request: EntryRequest, price: Decimal) -> None:
    """Raise EntryRejected for a request that violates a rule of the market, or whose stop would trigger at once."""
    market, limit, stop = book.market, request.limit, request.stop
    check_entry_steps(request, market)
    if request.quantity < market.min_quantity:
        raise EntryRejected(f"{market.symbol}: quantity {request.quantity} is below the minimum {market.min_quantity}")
    at = limit or price
    if request.quantity * at < market.min_notional:
        raise EntryRejected(
            f"{market.symbol}: the notional of {request.quantity} at {at} is below the minimum {market.min_notional}"
        )
    if stop is not None and is_crossed(request.side, at, stop.price):
        raise EntryRejected(f"{market.symbol}: the stop {stop.price} is not behind the entry at {at}")


def _as_open_order(order: EntryOrder) -> OpenOrder:
    return OpenOrder(
        symbol=order.symbol,
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        kind="MARKET" if order.limit is None else "LIMIT",
        order_side="buy" if order.side == "long" else "sell",
        side=None,
        quantity=order.unfilled,
        price=order.limit,
    )
