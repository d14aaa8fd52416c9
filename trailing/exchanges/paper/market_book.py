"""The state of one symbol on the paper exchange, and the rules of the venue."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeAlias

import msgspec

from trailing.core.account import OpenOrder
from trailing.core.entry_orders import AttachedStopKind, EntryOrder
from trailing.core.model import CallbackRange, Market, Side, Source, StopOrder, Tick, check_money
from trailing.core.prices import EXACT, behind, floor_quantity, is_better, round_stop
from trailing.errors import ExchangeUnreachable, NoSuchPosition, NoSuchStop
from trailing.exchanges.paper.saved import SavedEntry, SavedHolding, SavedMarketBook, SavedStop

PartialFills: TypeAlias = Decimal | Callable[[StopOrder, Tick], Decimal]
"""How much of a triggered stop one tick fills: a share of the order, or a callable that returns the quantity."""

EntryFills: TypeAlias = Decimal | Callable[[EntryOrder, Decimal], Decimal]
"""How much of an entry one price fills: a share of the order, or a callable ``(order, price) -> quantity``."""


class VenueRules(msgspec.Struct, frozen=True, kw_only=True):
    """How the venue behaves. `open_paper` describes the fields."""

    markets: Mapping[str, Market] = {}
    can_amend: bool = False
    two_stops: bool = True
    native_callbacks: CallbackRange | None = None
    most_stops: int | None = None
    attached_stop: AttachedStopKind | None = None
    hedged: bool = False
    leverage: Decimal | None = None
    partial_fills: PartialFills | None = None
    partial_entries: EntryFills | None = None
    cancel_on_flat: bool = False
    trigger_delay: float = 0.0
    orders_read_lag: float = 0.0
    positions_read_lag: float = 0.0

    def market(self, symbol: str) -> Market:
        """Return a symbol's market; a permissive one if none was given. Raises UsageError if it is no symbol."""
        market = self.markets.get(symbol)
        return market or Market(
            symbol,
            can_amend=self.can_amend,
            two_stops=self.two_stops,
            native_callbacks=self.native_callbacks,
            most_stops=self.most_stops,
            attached_stop=self.attached_stop,
        )

    def fillable(self, stop: LiveStop, tick: Tick, step: Decimal) -> Decimal:
        """Return the quantity of a triggered stop that a tick fills: whole steps, or the rest."""
        left = stop.order.quantity
        if self.partial_fills is None:
            return left
        if isinstance(self.partial_fills, Decimal):
            return min(left, max(step, floor_quantity(EXACT.multiply(stop.whole, self.partial_fills), step)))
        wanted = self.partial_fills(stop.order, tick)
        check_money("partial_fills(order, tick)", wanted, zero=True)
        return left if wanted >= left else floor_quantity(wanted, step)


class Holding:
    """A position. It is flat if its quantity is 0."""

    __slots__ = ("entry_price", "liquidation_price", "quantity")

    def __init__(self) -> None:
        self.quantity: Decimal = Decimal(0)
        self.entry_price: Decimal = Decimal(0)
        self.liquidation_price: Decimal | None = None

    def reduce(self, wanted: Decimal) -> Decimal:
        """Reduce by at most the open quantity, and return how much. So no fill makes a position cross zero."""
        taken = min(wanted, self.quantity)
        self.quantity = EXACT.subtract(self.quantity, taken)
        return taken


class LiveStop:
    """A live stop order.

    Attributes:
        order: the order, with the quantity that is not filled.
        whole: the quantity with which it was placed or amended.
        filled: the filled quantity.
        fills_from: after the trigger, the time from which it may be filled, in seconds on the running clock.
        best: the best price that a trailing order has followed; None: it is not active yet, or is a plain stop.
        is_bridge: whether an entry carried it, and it is as large as the position.
    """

    __slots__ = ("best", "filled", "fills_from", "is_bridge", "order", "whole")

    def __init__(self, order: StopOrder) -> None:
        self.order: StopOrder = order
        self.whole: Decimal = order.quantity
        self.filled: Decimal = Decimal(0)
        self.fills_from: float = -math.inf
        self.best: Decimal | None = None
        self.is_bridge: bool = False

    @property
    def triggered(self) -> bool:
        """Whether it has become a market order."""
        return self.order.triggered

    def trigger(self, fills_from: float) -> None:
        """Turn it into a market order that may be filled from a time on, in seconds on the running clock."""
        self.order, self.fills_from = msgspec.structs.replace(self.order, triggered=True), fills_from

    def follow(self, price: Decimal) -> bool:
        """Follow a price of its source. Return whether the price is a trailing order's new best price."""
        order = self.order
        if order.callback is None:
            return False
        if self.best is None:
            is_best = not is_better(order.side, order.price, price)
        else:
            is_best = is_better(order.side, price, self.best)
        if is_best:
            self.best = price
        return is_best

    def trigger_price(self, tick: Decimal) -> Decimal | None:
        """Return the present trigger price, a multiple of the tick; None: a trailing order is not active yet."""
        order = self.order
        if order.callback is None:
            return order.price
        return (
            None if self.best is None else round_stop(order.side, behind(order.side, self.best, order.callback), tick)
        )


_SOURCES: tuple[Source, ...] = ("last", "mark", "index")


class MarketBook:
    """Prices, positions and live stops of one symbol.

    Attributes:
        market: the market's rules.
        prices: the last price of each source that had one.
        first_entry_price: the price of the first entry, used for sources that had no price; None: there was no entry.
        holdings: the position of each side.
        stops: the live stops by client order id.
        take_profits: the open reduce-only limit orders of a user, by client order id.
        entries: the working entry orders, by client order id.
    """

    __slots__ = (
        "_orders",
        "_trades",
        "entries",
        "first_entry_price",
        "holdings",
        "market",
        "prices",
        "stops",
        "take_profits",
    )

    def __init__(self, market: Market) -> None:
        self.market: Market = market
        self.prices: dict[Source, Decimal] = {}
        self.first_entry_price: Decimal | None = None
        self.holdings: dict[Side, Holding] = {"long": Holding(), "short": Holding()}
        self.stops: dict[str, LiveStop] = {}
        self.take_profits: dict[str, OpenOrder] = {}
        self.entries: dict[str, SavedEntry] = {}
        self._orders = self._trades = 0

    def next_order_id(self) -> str:
        """Return the symbol's next order id. Each symbol has its own count, so ids don't depend on the order of tasks."""
        self._orders += 1
        return f"paper-{self.market.symbol}-{self._orders}"

    def next_trade_id(self) -> str:
        """Return the symbol's next trade id."""
        self._trades += 1
        return f"trade-{self.market.symbol}-{self._trades}"

    def set_price(self, tick: Tick) -> None:
        """Set the price of a source. Trailing orders follow it."""
        self.prices[tick.source] = tick.price
        for stop in self.stops.values():
            if stop.order.source == tick.source:
                stop.follow(tick.price)

    def price(self, source: Source) -> Decimal | None:
        """Return the price of a source, or of the first entry; None: there was neither."""
        return self.prices.get(source, self.first_entry_price)

    def known_price(self, source: Source) -> Decimal:
        """Return the price of a source, or of the first entry. Raises ExchangeUnreachable if there was neither."""
        price = self.price(source)
        if price is None:
            raise ExchangeUnreachable(f"{self.market.symbol}: there is no {source} price yet; feed one first")
        return price

    @property
    def market_price(self) -> Decimal:
        """The price of a market order: the last, else the mark, else the index price, else the first entry's."""
        price = next((self.prices[source] for source in _SOURCES if source in self.prices), self.first_entry_price)
        assert price is not None  # a position that is closed was entered
        return price

    def held(self, side: Side) -> Holding:
        """Return the open position. Raises NoSuchPosition if it is flat."""
        holding = self.holdings[side]
        if not holding.quantity:
            raise NoSuchPosition(f"{self.market.symbol}: there is no {side} position to reduce")
        return holding

    def free(self, side: Side) -> Decimal:
        """Return what is left of a position for closes and triggered stops: what no take-profit covers."""
        covered = (order.quantity for order in self.take_profits.values() if order.side == side)
        return max(Decimal(0), EXACT.subtract(self.holdings[side].quantity, sum(covered, Decimal(0))))

    def save(self) -> SavedMarketBook:
        """Return the state as a value, without the market's rules."""
        holdings = {
            side: SavedHolding(holding.quantity, holding.entry_price, holding.liquidation_price)
            for side, holding in self.holdings.items()
            if holding.quantity
        }
        stops = tuple(
            SavedStop(stop.order, stop.whole, stop.triggered, stop.best, stop.is_bridge) for stop in self.stops.values()
        )
        prices, first = dict(self.prices), self.first_entry_price
        return SavedMarketBook(
            self.market.symbol,
            prices,
            holdings,
            stops,
            self._orders,
            first,
            self._trades,
            tuple(self.take_profits.values()),
            tuple(self.entries.values()),
        )

    def restore(self, saved: SavedMarketBook) -> None:
        """Load a saved state."""
        self.prices, self.first_entry_price = dict(saved.prices), saved.first_entry_price
        for side, held in saved.holdings.items():
            holding = self.holdings[side]
            holding.quantity, holding.entry_price = held.quantity, held.entry_price
            holding.liquidation_price = held.liquidation_price
        for saved_stop in saved.stops:
            order = msgspec.structs.replace(saved_stop.order, triggered=saved_stop.triggered)
            stop = self.stops[order.client_order_id] = LiveStop(order)
            stop.whole, stop.best, stop.is_bridge = saved_stop.whole, saved_stop.best, saved_stop.is_bridge
            stop.filled = EXACT.subtract(saved_stop.whole, saved_stop.order.quantity)
        self.take_profits = {order.client_order_id: order for order in saved.take_profits}
        self.entries = {entry.order.client_order_id: entry for entry in saved.entries}
        self._orders, self._trades = saved.orders, saved.trades

    def live(self, client_order_id: str) -> LiveStop:
        """Return the live stop with a client order id. Raises NoSuchStop if it is gone."""
        stop = self.stops.get(client_order_id)
        if stop is None:
            raise NoSuchStop(f"{self.market.symbol}: there is no live stop {client_order_id!r}")
        return stop
