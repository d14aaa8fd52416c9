"""The matching: positions, stops and fills, as a venue keeps them. Synchronous; it knows no clock and no requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal

import msgspec

from trailing.core.account import PositionReport
from trailing.core.model import Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.core.prices import EXACT
from trailing.errors import NoSuchStop, StopRejected, UsageError
from trailing.exchanges.paper.crossings import find_crossings
from trailing.exchanges.paper.lag import LaggedView
from trailing.exchanges.paper.places import BookRules, LiveStop, Place
from trailing.exchanges.paper.rules import check_quantity, check_stop, liquidation_price
from trailing.exchanges.paper.saved import SavedPlace
from trailing.exchanges.port import OrderStatus, OrderUpdate, PositionUpdate, StopRequest

_AVERAGE = Context(prec=28)  # a division has to end somewhere


class Book:
    """An account. Every `at` is in seconds on the running clock and never before the last one.

    Args:
        rules: how the venue behaves.
        publish: called with each update, in order; it must not call back.
    """

    def __init__(self, rules: BookRules, publish: Callable[[OrderUpdate | PositionUpdate], None]) -> None:
        self._rules = rules
        self._publish = publish
        self._places: dict[str, Place] = {}
        self._ids: set[str] = set()
        self._stops_seen: LaggedView[tuple[str, str], StopOrder] = LaggedView(rules.orders_read_lag)
        self._positions_seen: LaggedView[tuple[str, Side], PositionReport] = LaggedView(rules.positions_read_lag)

    def __str__(self) -> str:
        places = self._places.values()
        positions = sum(bool(holding.quantity) for place in places for holding in place.holdings.values())
        stops = sum(len(place.stops) for place in places)
        return f"{positions} positions, {stops} stops"

    def market(self, symbol: str) -> Market:
        """The market's rules; permissive ones where none were given. Raises UsageError for what is no symbol."""
        return self._place(symbol).market

    def price(self, symbol: str, source: Source) -> Decimal:
        """The last price of a source, or that of the first entry. Raises ExchangeUnreachable where there has been none."""
        return self._place(symbol).known_price(source)

    def stops(self, at: float) -> Sequence[StopOrder]:
        """All live stops as a read shows them, in the order of symbol and client order id."""
        return tuple(order for _, order in sorted(self._stops_seen.at(at).items(), key=lambda item: item[0]))

    def find(self, symbol: str, client_order_id: str, at: float) -> StopOrder | None:
        """The live stop under an id as a read shows it."""
        return self._stops_seen.at(at).get((symbol, client_order_id))

    def positions(self, at: float) -> Sequence[PositionReport]:
        """All open positions as a read shows them, in the order of symbol and side."""
        return tuple(report for _, report in sorted(self._positions_seen.at(at).items(), key=lambda item: item[0]))

    def actual(self, symbol: str) -> tuple[tuple[StopOrder, ...], dict[Side, Decimal]]:
        """The live stops of a symbol, and what is open on each side, whatever a read shows."""
        place = self._place(symbol)
        held = {side: holding.quantity for side, holding in place.holdings.items() if holding.quantity}
        return tuple(stop.order for stop in place.stops.values()), held

    def trailing(self, symbol: str, client_order_id: str) -> Decimal | None:
        """Where a live order triggers now, whatever a read shows; None: it is gone, or does not trail yet."""
        place = self._place(symbol)
        stop = place.stops.get(client_order_id)
        return None if stop is None else stop.trigger_price(place.market.price_tick)

    def save(self, symbol: str) -> SavedPlace:
        """All that is known of a symbol, as it is now."""
        return self._place(symbol).save()

    def restore(self, places: Iterable[SavedPlace], used_ids: Iterable[str], at: float) -> None:
        """Be the account that was saved so; reads show it at once. Nothing of it is pushed: it did not happen now.

        Args:
            used_ids: client order ids that are not taken again.
        """
        for saved in places:
            place = self._place(saved.symbol)
            place.restore(saved)
            for stop in place.stops.values():
                key = (saved.symbol, stop.order.client_order_id)
                self._stops_seen.change(key, stop.order, at - self._rules.orders_read_lag)
            for side in saved.holdings:
                self._show(place, side, at - self._rules.positions_read_lag)
        self._ids.update(used_ids)

    def set_price(self, tick: Tick) -> None:
        """Set the price of a source. Trailing orders follow it, and nothing is triggered."""
        self._place(tick.symbol).set_price(tick)

    def enter(self, position: Position, at: float) -> None:
        """Book a filled entry: a new position, or more of one, its entry price then averaged.

        Raises:
            UsageError: in one-way mode, where the other side is open.
        """
        place, side = self._place(position.symbol), position.side
        if not self._rules.hedged and place.holdings["short" if side == "long" else "long"].quantity:
            raise UsageError(f"{position.symbol}: a {side} entry against an open position, in one-way mode")
        holding = place.holdings[side]
        cost = EXACT.multiply(position.quantity, position.entry_price)
        quantity = EXACT.add(holding.quantity, position.quantity)
        if holding.quantity:
            holding.entry_price = _AVERAGE.divide(EXACT.fma(holding.quantity, holding.entry_price, cost), quantity)
        else:
            holding.entry_price = position.entry_price
        holding.quantity = quantity
        if self._rules.leverage is not None:
            holding.liquidation_price = liquidation_price(place.market, side, holding.entry_price, self._rules.leverage)
        if place.first_entry_price is None:
            place.first_entry_price = position.entry_price
        self._position_changed(place, side, at)

    def place(self, request: StopRequest, at: float) -> StopOrder:
        """Book a reduce-only stop.

        Raises:
            StopRejected: an id that was used before, a broken rule of the market, more than the position.
            NothingToReduce: there is no such position.
            WouldTrigger: the price is already there.
        """
        place = self._place(request.symbol)
        self._check_new(request.client_order_id)
        trails = request.callback is not None
        check_stop(place, request.side, request.quantity, request.price, request.source, trails=trails)
        if not place.market.two_stops and any(stop.order.side == request.side for stop in place.stops.values()):
            raise StopRejected(f"{request.symbol} {request.side} has a stop already, and only one may stand")
        self._ids.add(request.client_order_id)
        order = StopOrder(
            request.symbol,
            request.side,
            request.quantity,
            request.price,
            request.client_order_id,
            place.next_order_id(),
            request.source,
            request.callback,
        )
        stop = place.stops[request.client_order_id] = LiveStop(order)
        self._stop_changed(stop, "live", at)
        return order

    def amend(self, symbol: str, client_order_id: str, price: Decimal, quantity: Decimal, at: float) -> StopOrder:
        """Change a live stop in place. Raises StopRejected where it is gone (NoSuchStop) or triggered; else as `place`."""
        place = self._place(symbol)
        stop = place.live(client_order_id)
        if stop.triggered:
            raise StopRejected(f"{symbol}: the stop {client_order_id!r} has been triggered")
        check_stop(place, stop.order.side, quantity, price, stop.order.source)
        stop.order = msgspec.structs.replace(stop.order, price=price, quantity=quantity)
        stop.whole = quantity
        self._stop_changed(stop, "live", at)
        return stop.order

    def cancel(self, symbol: str, client_order_id: str, at: float) -> None:
        """Cancel what is left of a live stop. Raises NoSuchStop where it is gone."""
        place = self._place(symbol)
        self._cancel(place, place.live(client_order_id), at)

    def cancel_anywhere(self, client_order_id: str, at: float) -> str:
        """Cancel a live stop of whichever symbol, and return that. Raises NoSuchStop where it is gone."""
        for symbol, place in self._places.items():
            if client_order_id in place.stops:
                self.cancel(symbol, client_order_id, at)
                return symbol
        raise NoSuchStop(f"there is no live stop {client_order_id!r}")

    def close(
        self, symbol: str, side: Side, quantity: Decimal, at: float, *, client_order_id: str | None = None
    ) -> Fill:
        """Close at market, at most what there is. Without an id it is somebody's hand, which no rule of size binds.

        Raises:
            StopRejected: an id that was used before, or a part of the position that breaks a rule of the market.
            NothingToReduce: the position is flat.
        """
        place = self._place(symbol)
        if client_order_id is not None:
            self._check_new(client_order_id)
        held = place.held(side).quantity
        price = place.market_price
        if client_order_id is not None:
            if quantity < held:
                check_quantity(place.market, quantity, price, held)
            self._ids.add(client_order_id)
        return self._fill_at_market(place, side, quantity, price, client_order_id, at)

    def jump_to(self, tick: Tick, at: float) -> None:
        """Set the price of a source. What the price is at or beyond then fills at it, in the order of `find_crossings`."""
        self._move(tick, tick.price, at)

    def move_to(self, tick: Tick, at: float) -> None:
        """Move the price of a source from its last one through every price in between; the first price is a jump.

        Each stop on the path fills at its own price, in the order in which the price passes them.
        """
        start = self._place(tick.symbol).price(tick.source)
        self._move(tick, tick.price if start is None else start, at)

    def _move(self, tick: Tick, start: Decimal, at: float) -> None:
        place = self._place(tick.symbol)
        place.prices[tick.source] = tick.price
        for crossing in find_crossings(place, tick, start):
            side, stop = crossing.side, crossing.stop
            if stop is not None:
                if stop.order.client_order_id in place.stops:  # an earlier fill may have cancelled it
                    self._execute(place, stop, crossing.price, tick, at)
            elif place.holdings[side].quantity:  # an earlier fill may have closed it
                self._cancel_all(place, side, at, "the position is liquidated")
                self._fill_at_market(place, side, place.holdings[side].quantity, crossing.price, None, at)

    def _place(self, symbol: str) -> Place:
        place = self._places.get(symbol)
        if place is None:
            place = self._places[symbol] = Place(self._rules.market(symbol))
        return place

    def _check_new(self, client_order_id: str) -> None:
        if client_order_id in self._ids:
            raise StopRejected(f"duplicate client order id {client_order_id!r}")

    def _execute(self, place: Place, stop: LiveStop, price: Decimal, tick: Tick, at: float) -> None:
        """Trigger a stop and fill it as far as this tick goes; with nothing to reduce it is cancelled."""
        holding, is_new = place.holdings[stop.order.side], not stop.triggered
        if not holding.quantity:
            self._cancel(place, stop, at, "nothing to reduce")
            return
        if is_new:
            stop.trigger(at + self._rules.trigger_delay)
        order, step = stop.order, place.market.quantity_step
        part = self._rules.part(stop, tick, step) if at >= stop.fills_from else Decimal(0)
        if is_new and part < order.quantity:
            self._stop_changed(stop, "triggered", at)
        if not part:
            return
        taken = holding.take(part)
        stop.filled = EXACT.add(stop.filled, taken)
        ids = (order.order_id, order.client_order_id)
        fill = Fill(order.symbol, order.side, taken, price, *ids, at, place.next_trade_id())
        left = EXACT.subtract(order.quantity, taken)
        if left:
            stop.order = msgspec.structs.replace(order, quantity=left)
            self._stop_changed(stop, "partial", at, fill)
        else:
            del place.stops[order.client_order_id]
            self._stop_changed(stop, "filled", at, fill)
        self._position_changed(place, order.side, at)

    def _fill_at_market(
        self, place: Place, side: Side, wanted: Decimal, price: Decimal, client_order_id: str | None, at: float
    ) -> Fill:
        symbol, order_id = place.market.symbol, place.next_order_id()
        own_id = client_order_id or f"other-{order_id}"
        taken = place.holdings[side].take(wanted)
        fill = Fill(symbol, side, taken, price, order_id, own_id, at, place.next_trade_id())
        self._publish(OrderUpdate(symbol, side, own_id, order_id, "filled", at, fill, fill.quantity))
        self._position_changed(place, side, at)
        return fill

    def _cancel_all(self, place: Place, side: Side, at: float, reason: str, *, triggered_only: bool = False) -> None:
        for stop in tuple(place.stops.values()):
            if stop.order.side == side and (stop.triggered or not triggered_only):
                self._cancel(place, stop, at, reason)

    def _cancel(self, place: Place, stop: LiveStop, at: float, reason: str = "") -> None:
        del place.stops[stop.order.client_order_id]
        self._stop_changed(stop, "cancelled", at, reason=reason)

    def _stop_changed(
        self,
        stop: LiveStop,
        status: OrderStatus,
        at: float,
        fill: Fill | None = None,
        reason: str = "",
    ) -> None:
        order, own_id = stop.order, stop.order.client_order_id
        self._stops_seen.change((order.symbol, own_id), None if status in {"filled", "cancelled"} else order, at)
        update = OrderUpdate(order.symbol, order.side, own_id, order.order_id, status, at, fill, stop.filled, reason)
        self._publish(update)

    def _position_changed(self, place: Place, side: Side, at: float) -> None:
        symbol, holding = place.market.symbol, place.holdings[side]
        if not holding.quantity:
            holding.liquidation_price = None
        self._show(place, side, at)
        self._publish(PositionUpdate(symbol, side, holding.quantity, at))
        if not holding.quantity:
            # A triggered stop is a market order by now: left standing, it would hit the next position.
            only = not self._rules.cancel_on_flat
            self._cancel_all(place, side, at, "the position is flat", triggered_only=only)

    def _show(self, place: Place, side: Side, at: float) -> None:
        symbol, holding = place.market.symbol, place.holdings[side]
        report = None
        if holding.quantity:
            report = PositionReport(symbol, side, holding.quantity, holding.entry_price, holding.liquidation_price)
        self._positions_seen.change((symbol, side), report, at)
