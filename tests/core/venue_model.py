"""A small venue that the tests of the position machine run against: its own truth, and what it lets be known of it.

It shares no code with the package but the values that cross the port. Time is a number that the test advances. Each
change of the venue is a version; a list or a look-up shows any version from the one that the read lag allows on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from msgspec.structs import replace

from trailing.core.account import AccountSnapshot, PositionReport, SnapshotBuilder
from trailing.core.evidence import Timing
from trailing.core.inputs import Backfill, OrderUpdated, PositionUpdated
from trailing.core.model import Fill, Market, Side, StopOrder, Tick
from trailing.core.requests import (
    AmendStop,
    CancelStop,
    ClosePosition,
    FindOrder,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadFills,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.errors import NoSuchPosition, NoSuchStop, StopRejected, TrailingError, WouldTrigger

SYMBOL: Final = "BTC/USDT:USDT"
OTHER_SYMBOL: Final = "ETH/USDT:USDT"
_ZERO: Final = Decimal(0)

Answer = StopOrder | Tick | Fill | Sequence[Fill] | Backfill | None

ListFault = Literal["no positions", "position missing", "no stops", "stop missing"]
"""What a list leaves out without saying so."""

Flaw = Literal["", "positions cut short", "stops cut short", "position doubled", "stop doubled"]
"""What a list says, or shows, to be wrong with it."""


@dataclass
class Version:
    """The venue after one of its changes."""

    at: float
    stops: tuple[StopOrder, ...]
    quantity: Decimal
    entry_price: Decimal


@dataclass
class Sending:
    """A request that was sent. It may be executed until `until`, whether or not its sender still waits for the answer.

    `first_version`: the oldest one that its answer may show, where it reads something.
    """

    request: Request
    order_id: str | None
    until: float
    first_version: int
    is_executed: bool = False
    answer: Answer = None
    error: TrailingError | None = None


@dataclass
class Venue:
    """One position and our orders behind it.

    Args:
        rounding: trigger prices are rounded to multiples of it, down.
        fills_as: how a pushed fill can be told from its repetition: by a trade id, by the order's cumulative quantity,
            or by its figures alone.
        finds_from: until then, no look-up finds an order.
    """

    market: Market
    timing: Timing
    side: Side
    quantity: Decimal
    entry_price: Decimal
    at: float
    rounding: Decimal
    fills_as: Literal["trade id", "cumulative", "figures"]
    price: Decimal = field(init=False)
    stops: dict[str, StopOrder] = field(default_factory=dict)
    updates: list[tuple[float, OrderUpdated | PositionUpdated]] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    filled: dict[str, Decimal] = field(default_factory=dict)
    executions: list[Fill] = field(default_factory=list)
    entered: int = 1
    trades: int = 0
    liquidation_price: Decimal | None = None
    other_side: Decimal = _ZERO
    finds_from: float = -math.inf

    def __post_init__(self) -> None:
        self.price = self.entry_price
        self._changed()

    # What it does of its own, or by other hands than ours.

    def is_beyond(self, stop: Decimal) -> bool:
        """Whether the price is at or beyond a stop."""
        return self.price <= stop if self.side == "long" else self.price >= stop

    def move_price(self, price: Decimal) -> list[str]:
        """Move the price. Returns the stops that it triggers."""
        self.price = price
        triggered = [id_ for id_, stop in self.stops.items() if stop.callback is None and self.is_beyond(stop.price)]
        triggered = [id_ for id_ in triggered if not self.stops[id_].triggered]
        for id_ in triggered:
            self.stops[id_] = replace(self.stops[id_], triggered=True)
            self._push(OrderUpdated(id_, "triggered"))
            if not self.quantity:
                self.cancel(id_, told=True)
        if triggered:
            self._changed()
        return [id_ for id_ in triggered if id_ in self.stops]

    def fill(self, id_: str, quantity: Decimal) -> None:
        """Fill a stop, or a part of it."""
        stop = self.stops[id_]
        quantity = min(quantity, stop.quantity, self.quantity)
        if quantity:
            left = stop.quantity - quantity
            self._reduce(id_, quantity, is_last=not left)
            if left:
                self.stops[id_] = replace(stop, quantity=left)
            else:
                del self.stops[id_]
        if not self.quantity and id_ in self.stops:  # nothing is left that it could reduce
            self.cancel(id_, told=True)
        self._changed()

    def cancel(self, id_: str, *, told: bool) -> None:
        """Take an order away. `told`: an update says so."""
        del self.stops[id_]
        if told:
            self._push(OrderUpdated(id_, "cancelled", reason="expired"))
        self._changed()

    def amend(self, id_: str, price: Decimal, quantity: Decimal) -> None:
        """Change an order."""
        self.stops[id_] = replace(self.stops[id_], price=price, quantity=quantity)
        self._push(OrderUpdated(id_, "live"))
        self._changed()

    def resize(self, quantity: Decimal, entry_price: Decimal) -> None:
        """Change the position by an order that is not ours. One that is opened anew is another position."""
        if quantity and not self.quantity:
            self.entered += 1
        self.quantity, self.entry_price = quantity, entry_price
        self._push(PositionUpdated(quantity, self.at))
        self._changed()

    def open_other_side(self, quantity: Decimal) -> None:
        """Change the position of the other side."""
        self.other_side = quantity
        self._push(PositionUpdated(quantity, self.at, is_other_side=True))

    # What it makes of our requests.

    def send(self, request: Request, order_id: str | None) -> Sending:
        """Take a request on its way."""
        lag = self.timing.orders_read_lag
        return Sending(request, order_id, self.at + self.timing.request_validity, self.first_version(lag))

    def execute(self, sending: Sending, pick: float) -> None:
        """Execute a request, and have its answer. `pick`, from 0 to 1: which version a look-up shows."""
        sending.is_executed = True
        try:
            sending.answer = self._execute(sending, pick)
        except TrailingError as refused:
            sending.error = refused

    def _execute(self, sending: Sending, pick: float) -> Answer:
        request, id_ = sending.request, sending.order_id
        match request:
            case PlaceStop() | ReplaceStop():
                assert id_ is not None
                return self._place(id_, request.price, request.quantity)
            case PlaceNative():
                assert id_ is not None
                return self._place_native(id_, request)
            case AmendStop():
                return self._amend(request)
            case CancelStop() | TakeDownStop():
                if request.id not in self.stops:
                    raise NoSuchStop("unknown order")
                self.cancel(request.id, told=True)
                return None
            case ClosePosition():
                assert id_ is not None
                return self._close(id_, request.quantity)
            case FindOrder() if self.at < self.finds_from:
                return None
            case FindOrder():
                version = self._version(sending.first_version, pick)
                return next((stop for stop in version.stops if stop.client_order_id == request.id), None)
            case ReadPrice():
                return Tick(SYMBOL, self.price, self.at)
            case ReadCandles():
                return Backfill((), Tick(SYMBOL, self.price, self.at))
            case ReadFills():
                return [fill for fill in self.executions if fill.client_order_id == request.id]
            case _:
                raise AssertionError(f"this venue takes no entries: {request}")

    def _place(self, id_: str, price: Decimal, quantity: Decimal) -> StopOrder:
        if not self.quantity:
            raise NoSuchPosition("nothing to reduce")
        price -= price % self.rounding
        if self.is_beyond(price):
            raise WouldTrigger("would trigger immediately")
        if not self.market.two_stops and any(stop.callback is None for stop in self.stops.values()):
            raise StopRejected("a stop exists")
        self.stops[id_] = StopOrder(SYMBOL, self.side, quantity, price, id_, f"v{id_}")
        self._push(OrderUpdated(id_, "live"))
        self._changed()
        return self.stops[id_]

    def _place_native(self, id_: str, request: PlaceNative) -> StopOrder:
        if not self.quantity:
            raise NoSuchPosition("nothing to reduce")
        order = StopOrder(SYMBOL, self.side, request.quantity, request.activation, id_, f"v{id_}")
        self.stops[id_] = replace(order, callback=request.callback)
        self._push(OrderUpdated(id_, "live"))
        self._changed()
        return self.stops[id_]

    def _amend(self, request: AmendStop) -> StopOrder:
        stop = self.stops.get(request.id)
        if stop is None:
            raise NoSuchStop("unknown order")
        price = request.price - request.price % self.rounding
        if stop.triggered:
            raise StopRejected("the order is triggered")
        if self.is_beyond(price):
            raise WouldTrigger("would trigger immediately")
        self.amend(request.id, price, request.quantity)
        return self.stops[request.id]

    def _close(self, id_: str, quantity: Decimal) -> Fill:
        if not self.quantity:
            raise NoSuchPosition("nothing to reduce")
        quantity = min(quantity, self.quantity)
        self._reduce(id_, quantity, is_last=True)
        self._changed()
        return Fill(SYMBOL, self.side, quantity, self.price, f"v{id_}", id_, self.at)

    # What it lets be known.

    def first_version(self, lag: float) -> int:
        """Return the oldest version that an answer may show which is asked for now."""
        shown = [number for number, version in enumerate(self.versions) if version.at <= self.at - lag]
        return shown[-1] if shown else 0

    def ask_lists(self) -> tuple[float, int, int]:
        """Ask for both lists: when, and which versions they show at the least."""
        timing = self.timing
        return self.at, self.first_version(timing.orders_read_lag), self.first_version(timing.positions_read_lag)

    def answer_lists(
        self, asked: tuple[float, int, int], pick: float, fault: ListFault | None, flaw: Flaw
    ) -> AccountSnapshot:
        """Return both lists, with what is wrong with them."""
        asked_at, first_stops, first_positions = asked
        stops = list(self._version(first_stops, pick).stops)
        version = self._version(first_positions, pick)
        positions = [PositionReport(OTHER_SYMBOL, "long", Decimal(1), Decimal(50))]
        if version.quantity:
            liquidation = self.liquidation_price
            positions.insert(0, PositionReport(SYMBOL, self.side, version.quantity, version.entry_price, liquidation))
        if self.other_side:
            other: Side = "short" if self.side == "long" else "long"
            positions.append(PositionReport(SYMBOL, other, self.other_side, self.price))
        ours = bool(version.quantity)
        if fault == "no positions":
            positions = []
        elif (fault == "position missing" or flaw == "positions cut short") and ours:
            positions = positions[1:]
        elif flaw == "position doubled" and ours:
            positions = [positions[0], *positions]
        if fault == "no stops":
            stops = []
        elif fault == "stop missing" or flaw == "stops cut short":
            stops = stops[1:]
        elif flaw == "stop doubled":
            stops = [*stops[:1], *stops]
        builder = SnapshotBuilder(lambda _: "ours")
        builder.add_stops(stops)
        builder.add_positions(positions)
        return builder.build(
            asked_at,
            self.at,
            shows_all_stops=flaw != "stops cut short",
            shows_all_positions=flaw != "positions cut short",
        )

    def _version(self, first: int, pick: float) -> Version:
        last = len(self.versions) - 1
        return self.versions[first + round((last - first) * pick)]

    def _changed(self) -> None:
        stops = tuple(self.stops.values())
        self.versions.append(Version(self.at, stops, self.quantity, self.entry_price))

    def _push(self, update: OrderUpdated | PositionUpdated) -> None:
        self.updates.append((self.at, update))

    def _reduce(self, id_: str, quantity: Decimal, *, is_last: bool) -> None:
        """Fill an order of ours, in two trades where the quantity can be halved."""
        self.quantity -= quantity
        half = quantity / 2
        parts = [quantity] if half % self.market.quantity_step else [half, half]
        for number, part in enumerate(parts):
            self.trades += 1
            self.filled[id_] = self.filled.get(id_, _ZERO) + part
            trade = f"t{self.trades}" if self.fills_as == "trade id" else None
            fill = Fill(SYMBOL, self.side, part, self.price, f"v{id_}", id_, self.at + number / 1e6, trade)
            self.executions.append(replace(fill, trade_id=f"t{self.trades}"))
            status = "filled" if is_last and number == len(parts) - 1 else "partial"
            cumulative = self.filled[id_] if self.fills_as == "cumulative" else None
            self._push(OrderUpdated(id_, status, fill, cumulative))
        self._push(PositionUpdated(self.quantity, self.at))


def is_looser(side: Side, stop: Decimal, than: Decimal) -> bool:
    """Whether a stop is further from the price than another."""
    return stop < than if side == "long" else stop > than


def wrong(answer: Answer, what: Literal["price", "quantity"]) -> Answer:
    """Return an acknowledgement with a figure that is not the order's."""
    if not isinstance(answer, StopOrder):
        return answer
    changes: dict[str, Any] = {what: getattr(answer, what) * 2}
    return replace(answer, **changes)
