"""The market of a venue for any API: prices, positions, orders and their matching.

Orders buy or sell; a position is a signed quantity on a leg: one leg, `both`, in one-way mode, `long` and `short` in hedge
mode. It shares no code with the paper exchange, so a test on both checks twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import count
from typing import Literal, TypeAlias

import msgspec
from venue_candles import Candles
from venue_settings import Settings

from trailing.core.model import Source
from trailing.core.prices import remainder

OrderSide: TypeAlias = Literal["buy", "sell"]
Leg: TypeAlias = Literal["both", "long", "short"]
OrderStatus: TypeAlias = Literal["live", "triggered", "partial", "filled", "cancelled", "rejected"]
Reason: TypeAlias = Literal[
    "price step",
    "quantity step",
    "minimum",
    "notional",
    "no price",
    "duplicate",
    "too many",
    "nothing to reduce",
    "covered",
    "would trigger",
    "margin",
]


class Instrument(msgspec.Struct, frozen=True):
    """A linear perpetual contract: its unified symbol, the venue's id, and the rules of orders."""

    symbol: str
    id: str
    base: str
    price_tick: Decimal
    quantity_step: Decimal
    min_notional: Decimal


def instrument(base: str, price_tick: str, quantity_step: str, min_notional: str) -> Instrument:
    """Return a contract against USDT. The minimum quantity is one step."""
    numbers = (Decimal(price_tick), Decimal(quantity_step), Decimal(min_notional))
    return Instrument(f"{base}/USDT:USDT", f"{base}USDT", base, *numbers)


INSTRUMENTS = (instrument("BTC", "0.1", "0.001", "100"), instrument("ETH", "0.01", "0.001", "20"))


class Refusal(Exception):
    """The venue refuses a request, with a reason. Each API has its own code for it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Trigger(msgspec.Struct, frozen=True):
    """The trigger of a stop: a price of one source that has risen or fallen to a level.

    With a callback in percent it trails: it becomes active at `price`, follows the best price, and triggers that far behind it.
    """

    price: Decimal
    source: Source
    rising: bool
    callback: Decimal | None = None

    def is_met(self, price: Decimal) -> bool:
        """Return whether a price of its source triggers it."""
        return price >= self.price if self.rising else price <= self.price

    def is_active(self, price: Decimal) -> bool:
        """Return whether a price activates a trailing order."""
        return price <= self.price if self.rising else price >= self.price

    def behind(self, best: Decimal) -> Trigger:
        """Return the trigger of a trailing order at its best price."""
        assert self.callback is not None
        share = self.callback / 100 * (1 if self.rising else -1)
        return Trigger(best * (1 + share), self.source, self.rising)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A requested order: a stop with a trigger, a limit order with a limit, otherwise a market order.

    Args:
        attached: the stop that an entry carries. The venue sets its quantity.
    """

    symbol: str
    side: OrderSide
    quantity: Decimal
    client_order_id: str
    leg: Leg = "both"
    reduce_only: bool = False
    trigger: Trigger | None = None
    limit: Decimal | None = None
    attached: Wanted | None = None


class Order:
    """An order and its state. Times are the venue's, in milliseconds; `number` is its id on the venue.

    Attributes:
        execution: the market order of a triggered stop. Its `stop` is this order.
        best: of a trailing order, the best price since its activation; None: it is not active.
        reason: why it was rejected, in the venue's words.
    """

    def __init__(self, number: int, wanted: Wanted, at: int, stop: Order | None = None) -> None:
        self.number: int = number
        self.wanted: Wanted = wanted
        self.created_at: int = at
        self.updated_at: int = at
        self.status: OrderStatus = "live"
        self.filled: Decimal = Decimal(0)
        self.cost: Decimal = Decimal(0)
        self.stop: Order | None = stop
        self.execution: Order | None = None
        self.best: Decimal | None = None
        self.reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is still open."""
        return self.status in {"live", "triggered", "partial"}

    def takes(self, price: Decimal) -> bool:
        """Follow a price of its source, and return whether that triggers it."""
        trigger = self.wanted.trigger
        assert trigger is not None
        if trigger.callback is None:
            return trigger.is_met(price)
        if self.best is None:
            self.best = price if trigger.is_active(price) else None
            return False
        self.best = min(self.best, price) if trigger.rising else max(self.best, price)
        return trigger.behind(self.best).is_met(price)

    @property
    def average(self) -> Decimal:
        """The average price of its fills; 0 without a fill."""
        return self.cost / self.filled if self.filled else Decimal(0)


class VenueFill(msgspec.Struct, frozen=True):
    """A fill of an order."""

    number: int
    order: Order
    quantity: Decimal
    price: Decimal
    at: int


class OrderEvent(msgspec.Struct, frozen=True):
    """An order changed; with the fill, if it was one."""

    order: Order
    status: OrderStatus
    fill: VenueFill | None = None


class PositionEvent(msgspec.Struct, frozen=True):
    """A position changed."""

    symbol: str
    leg: Leg


class PriceEvent(msgspec.Struct, frozen=True):
    """A price moved."""

    symbol: str
    price: Decimal
    source: Source


Event: TypeAlias = OrderEvent | PositionEvent | PriceEvent


class Holding:
    """The position of a leg: above 0 long, below 0 short."""

    def __init__(self) -> None:
        self.quantity: Decimal = Decimal(0)
        self.entry_price: Decimal = Decimal(0)

    def add(self, quantity: Decimal, price: Decimal) -> None:
        """Buy (above 0) or sell a quantity. The part beyond zero opens a new position."""
        after = self.quantity + quantity
        if self.quantity * quantity >= 0:
            self.entry_price = (self.quantity * self.entry_price + quantity * price) / after
        elif self.quantity * after < 0:
            self.entry_price = price
        self.quantity = after


class VenueMarket:
    """The market with one account.

    Args:
        now: the venue's time, in milliseconds.
        hedged: there is a leg for each side.
        ids_for_ever: the client order id of an ended order is refused too.
        cancel_on_flat: the reduce-only stops of a position that is flat are cancelled.
        most_stops: the most live stops, of the account or, with `stops_by_symbol`, of each symbol.
        parts: into so many fills a market order is split, where its quantity allows.
        positions_first: a fill's change of the position is told before the fill.
        executions_named: what a triggered stop becomes has an own client order id, not the stop's.
        entry_parts: a price that reaches the limit of an entry fills this part of it: 2 is a half.
        depth: an entry at market is filled up to this quantity, and the rest is cancelled; None: all of it.
        margin: an entry worth more is refused; None: none is.

    Attributes:
        listeners: are called with each event, in order.
        changes: how often the book has changed.
        fills_triggered: a stop that triggers becomes an order at market; else it stays triggered, until a price triggers it again.
        refuses_triggered: the market order of a stop that triggers is refused.
    """

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        now: Callable[[], int],
        *,
        hedged: bool = False,
        ids_for_ever: bool = False,
        cancel_on_flat: bool = False,
        most_stops: int = 200,
        stops_by_symbol: bool = False,
        parts: int = 1,
        positions_first: bool = False,
        executions_named: bool = False,
        entry_parts: int = 1,
        depth: Decimal | None = None,
        margin: Decimal | None = None,
    ) -> None:
        self.instruments: Mapping[str, Instrument] = {each.symbol: each for each in instruments}
        self.by_id: Mapping[str, Instrument] = {each.id: each for each in instruments}
        self.prices: dict[tuple[str, Source], Decimal] = {}
        self.holdings: dict[tuple[str, Leg], Holding] = {}
        self.orders: dict[int, Order] = {}
        self.fills: list[VenueFill] = []
        self.candles: Candles = Candles(now)
        self.settings: Settings = Settings()
        self.hedged: bool = hedged
        self.most_stops: int = most_stops
        self.parts: int = parts
        self.entry_parts: int = entry_parts
        self.depth: Decimal | None = depth
        self.margin: Decimal | None = margin
        self.changes: int = 0
        self.fills_triggered: bool = True
        self.refuses_triggered: bool = False
        self.now = now
        self.listeners: list[Callable[[Event], None]] = []
        self._ids_for_ever = ids_for_ever
        self._positions_first = positions_first
        self._executions_named = executions_named
        self._cancel_on_flat = cancel_on_flat
        self._stops_by_symbol = stops_by_symbol
        self._numbers = count(1001)

    def enter(self, symbol: str, side: OrderSide, quantity: Decimal, price: Decimal) -> None:
        """Add a filled entry. Missing prices of the market are set to the entry price."""
        for source in ("last", "mark", "index"):
            if (symbol, source) not in self.prices:
                self.move_price(symbol, price, source)
        leg: Leg = "both" if not self.hedged else "long" if side == "buy" else "short"
        self._change_position(symbol, leg, quantity if side == "buy" else -quantity, price)

    def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        """Move the price of a source, and trigger stops. A triggered stop fills at the last price."""
        self.prices[symbol, source] = price
        self.candles.add(symbol, source, price)
        self._publish(PriceEvent(symbol, price, source))
        for order in self.resting(symbol) if source == "last" else ():
            if _is_reached(order.wanted, price):
                self.fill(
                    order, self._part_to_take(order.wanted) if self.reduces(order.wanted) else self._part_of(order)
                )
        for order in self.live_stops(symbol):
            trigger = order.wanted.trigger
            if order.is_open and trigger is not None and trigger.source == source and order.takes(price):
                self.execute(order)

    def holding(self, symbol: str, leg: Leg) -> Holding:
        """Return the position of a leg."""
        return self.holdings.setdefault((symbol, leg), Holding())

    def live_stops(self, symbol: str | None = None) -> tuple[Order, ...]:
        """Return the live stops of one symbol, or all."""
        return tuple(
            order
            for order in self.orders.values()
            if order.is_open and order.wanted.trigger is not None and symbol in {None, order.wanted.symbol}
        )

    def resting(self, symbol: str) -> tuple[Order, ...]:
        """Return the open limit orders of a symbol."""
        orders = (order for order in self.orders.values() if order.wanted.symbol == symbol)
        return tuple(order for order in orders if order.is_open and order.wanted.limit is not None)

    def place(self, wanted: Wanted) -> Order:
        """Accept an order: a stop, a limit order, or a market order that is filled at once. Raises Refusal."""
        self.check_new(wanted)
        self.check(wanted)
        taken = self._part_left_by_others(wanted) if wanted.trigger is None else Decimal(0)
        if wanted.trigger is None and not taken:
            raise Refusal("covered")
        order = self.book(wanted)
        if wanted.trigger is not None or (wanted.limit is not None and self.reduces(wanted)):
            return order
        if wanted.limit is not None:
            if _is_reached(wanted, self.prices[wanted.symbol, "last"]):
                self.fill(order, self._part_of(order))
            return order
        opens = not self.reduces(wanted)
        self.fill(order, taken if self.depth is None or not opens else min(taken, self.depth))
        if opens and order.filled < wanted.quantity:
            self.cancel_rest(order)
        return order

    def cancel_rest(self, order: Order) -> None:
        """Cancel what the book could not fill of an order at market."""
        self.cancel(order)

    def _part_of(self, order: Order) -> Decimal:
        """Return what one price fills of an entry with a limit."""
        step, whole = self.instruments[order.wanted.symbol].quantity_step, order.wanted.quantity
        return min(whole - order.filled, max(step, whole // (step * self.entry_parts) * step))

    def amend(self, order: Order, quantity: Decimal, trigger: Trigger) -> None:
        """Change a live stop. Raises Refusal."""
        wanted = msgspec.structs.replace(order.wanted, quantity=quantity, trigger=trigger)
        self.check(wanted)
        order.wanted = wanted
        self._order_changed(order, "live")

    def cancel(self, order: Order) -> None:
        """Cancel a live order."""
        self._order_changed(order, "cancelled")
        self._check_attached(self.attach(order))

    def attach(self, order: Order) -> Order | None:
        """Place the stop that an entry carries, of the filled quantity, if the entry has ended with one. Return the stop."""
        stop = order.wanted.attached
        if stop is None or order.is_open or not order.filled:
            return None
        return self.book(msgspec.structs.replace(stop, quantity=order.filled))

    def _check_attached(self, stop: Order | None) -> None:
        """Trigger a stop that an entry carried, if the price is beyond it."""
        trigger = None if stop is None else stop.wanted.trigger
        if stop is not None and trigger is not None and trigger.is_met(self.prices[stop.wanted.symbol, trigger.source]):
            self.execute(stop)

    def find(self, *, stop: bool, number: int | None = None, client_order_id: str | None = None) -> Order | None:
        """Return the stop or plain order with a number, or the latest one with a client order id."""
        for order in reversed(self.orders.values()):
            found = order.number == number if number is not None else order.wanted.client_order_id == client_order_id
            if found and (order.wanted.trigger is not None) == stop:
                return order
        return None

    def check_new(self, wanted: Wanted) -> None:
        own_id = wanted.client_order_id  # "": it was sent without one
        for order in self.orders.values():
            if own_id and order.wanted.client_order_id == own_id and (order.is_open or self._ids_for_ever):
                raise Refusal("duplicate")
        counted = self.live_stops(wanted.symbol if self._stops_by_symbol else None)
        if wanted.trigger is not None and len(counted) >= self.most_stops:
            raise Refusal("too many")

    def check(self, wanted: Wanted) -> None:
        rules, trigger = self.instruments[wanted.symbol], wanted.trigger
        for level in (wanted.limit, None if trigger is None else trigger.price):
            if level is not None and remainder(level, rules.price_tick):
                raise Refusal("price step")
        if remainder(wanted.quantity, rules.quantity_step):
            raise Refusal("quantity step")
        if wanted.quantity < rules.quantity_step:
            raise Refusal("minimum")
        price = trigger.price if trigger is not None else self.prices.get((wanted.symbol, "last"))
        if price is None:
            raise Refusal("no price")
        worth = wanted.quantity * (wanted.limit or price)
        if not self.reduces(wanted) and worth < rules.min_notional:
            raise Refusal("notional")
        if not self.reduces(wanted) and self.margin is not None and worth > self.margin:
            raise Refusal("margin")
        if self.reduces(wanted) and not self._part_to_take(wanted):
            raise Refusal("nothing to reduce")
        if trigger is not None:
            now = self.prices[wanted.symbol, trigger.source]  # set by an entry
            if trigger.is_met(now) if trigger.callback is None else trigger.is_active(now):
                raise Refusal("would trigger")

    def reduces(self, wanted: Wanted) -> bool:
        """Return whether an order can only reduce a position."""
        return wanted.reduce_only or (wanted.leg, wanted.side) in {("long", "sell"), ("short", "buy")}

    def _publish(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _part_to_take(self, wanted: Wanted) -> Decimal:
        if not self.reduces(wanted):
            return wanted.quantity
        held = self.holding(wanted.symbol, wanted.leg).quantity
        return min(wanted.quantity, max(held if wanted.side == "sell" else -held, Decimal(0)))

    def _part_left_by_others(self, wanted: Wanted) -> Decimal:
        """Return what an order can take beside the open limit orders that reduce the same position.

        A reduce-only order is truncated to it, and refused where nothing is left: Bybit's 110017, Binance's -4118.
        """
        if not self.reduces(wanted):
            return wanted.quantity
        others = (
            order.wanted.quantity - order.filled
            for order in self.resting(wanted.symbol)
            if (order.wanted.leg, order.wanted.side) == (wanted.leg, wanted.side) and self.reduces(order.wanted)
        )
        held = abs(self.holding(wanted.symbol, wanted.leg).quantity)
        return min(self._part_to_take(wanted), max(held - sum(others, Decimal(0)), Decimal(0)))

    def book(self, wanted: Wanted, stop: Order | None = None) -> Order:
        order = Order(next(self._numbers), wanted, self.now(), stop)
        self.orders[order.number] = order
        self._order_changed(order, "live")
        return order

    def execute(self, stop: Order) -> None:
        """Turn a triggered stop into a market order."""
        self._order_changed(stop, "triggered")
        if not self.fills_triggered:
            return
        quantity = self._part_left_by_others(stop.wanted)
        if not quantity:
            stop.reason = "Reduce Only reject"
            self._order_changed(stop, "rejected")
            return
        own_id = f"triggered-{stop.number}" if self._executions_named else stop.wanted.client_order_id
        stop.execution = self.book(msgspec.structs.replace(stop.wanted, trigger=None, client_order_id=own_id), stop)
        self._order_changed(stop, "triggered")
        if self.refuses_triggered:
            stop.execution.status = "rejected"
            self._order_changed(stop, "rejected")
            return
        self.fill(stop.execution, quantity, stop)

    def fill(self, order: Order, quantity: Decimal, stop: Order | None = None) -> None:
        wanted, price = order.wanted, self.prices[order.wanted.symbol, "last"]
        parts = list(self._split(quantity, self.instruments[wanted.symbol].quantity_step))
        ends = self.reduces(wanted) or order.filled + quantity == wanted.quantity
        for part in parts:
            status: OrderStatus = "filled" if part is parts[-1] and ends else "partial"
            for each in (order, stop) if stop is not None else (order,):
                each.filled += part
                each.cost += part * price
            fill = VenueFill(len(self.fills) + 1, order, part, price, self.now())
            self.fills.append(fill)
            change = part if wanted.side == "buy" else -part
            order.status = status
            attached = self.attach(order)  # the venue's book has it at once with the position
            if self._positions_first:
                self._change_position(wanted.symbol, wanted.leg, change, price)
            self._order_changed(order, status, fill)
            if stop is not None:
                self._order_changed(stop, status, fill)
            if not self._positions_first:
                self._change_position(wanted.symbol, wanted.leg, change, price)
            self._check_attached(attached)

    def _split(self, quantity: Decimal, step: Decimal) -> Iterator[Decimal]:
        part = quantity // (step * self.parts) * step
        if not part or part == quantity:
            yield quantity
            return
        for _ in range(self.parts - 1):
            yield part
        yield quantity - part * (self.parts - 1)

    def _order_changed(self, order: Order, status: OrderStatus, fill: VenueFill | None = None) -> None:
        self.changes += 1
        order.status, order.updated_at = status, self.now()
        self._publish(OrderEvent(order, status, fill))

    def _change_position(self, symbol: str, leg: Leg, quantity: Decimal, price: Decimal) -> None:
        self.changes += 1
        holding = self.holding(symbol, leg)
        holding.add(quantity, price)
        self._publish(PositionEvent(symbol, leg))
        if not holding.quantity and self._cancel_on_flat:
            for order in self.live_stops(symbol):
                if order.wanted.leg == leg and order.status == "live" and self.reduces(order.wanted):
                    self.cancel(order)


def _is_reached(wanted: Wanted, price: Decimal) -> bool:
    """Return whether a price fills an order with a limit."""
    limit = wanted.limit
    assert limit is not None
    return price >= limit if wanted.side == "sell" else price <= limit
