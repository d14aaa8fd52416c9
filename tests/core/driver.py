"""A position's state, driven by hand, and a small exchange that executes its requests.

The plan is worked out by hand. The entry is at 100 and the initial stop 2 % behind it; from a profit of 1 % on, the stop
follows the best price at 1 %: a long's best of 102 wants 100.98, a short's best of 98 wants 98.98.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from trailing.core import next_request as requesting
from trailing.core.account import AccountSnapshot, PositionReport, SnapshotBuilder
from trailing.core.evidence import Timing
from trailing.core.inputs import (
    Answered,
    Backfill,
    Begun,
    Input,
    OpeningEnded,
    OrderUpdated,
    PriceSeen,
    Publish,
    Sent,
    SnapshotTaken,
)
from trailing.core.model import Candle, Fill, Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.next_request import NEVER, next_request, refresh
from trailing.core.orders import CHANGING, Order
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import IntendedOrder, StopRecord, restore_position, save_position
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
from trailing.core.rules import Callback, History, Rule

D = Decimal
SYMBOL = "BTC/USDT:USDT"
OPENED = datetime(2026, 1, 2, tzinfo=UTC)
MARKET = Market(SYMBOL, price_tick=D("0.01"), quantity_step=D("0.1"))
AMENDS = replace(MARKET, can_amend=True)
ONE_STOP = replace(MARKET, two_stops=False)
FOLLOWS = Callback(Percent(1), activation=Percent(1))
TIMING = Timing(orders_read_lag=1.0, positions_read_lag=1.0, request_validity=3.0)
NO_LAG = Timing()

RULES: dict[str, Any] = {"initial_stop": Percent(2), "rules": (FOLLOWS,)}


class Fails(Rule, frozen=True):
    """A rule that raises."""

    def propose(self, history: History) -> Decimal | None:
        """Raise."""
        raise ZeroDivisionError


def a_plan(**fields: Any) -> TrailPlan:
    """The plan of these tests, with other fields."""
    return TrailPlan(**(RULES | fields))


def a_position(side: Side = "long", quantity: str = "1", entry: str = "100", **fields: Any) -> Position:
    """The position of these tests."""
    return Position(SYMBOL, side, D(quantity), D(entry), OPENED, **fields)


def a_tick(price: str | Decimal, at: float = 0.0, source: Source = "last") -> Tick:
    """A price of its symbol."""
    return Tick(SYMBOL, D(price), at, source)


def a_stop(name: str, price: str | Decimal = "98", quantity: str | Decimal = "1", **fields: Any) -> StopOrder:
    """A stop as the exchange shows it."""
    fields = {"symbol": SYMBOL, "side": "long"} | fields
    return StopOrder(quantity=D(quantity), price=D(price), client_order_id=name, order_id=f"exchange-{name}", **fields)


def a_report(quantity: str = "1", entry: str = "100", liquidation: str | None = None, **fields: Any) -> PositionReport:
    """The position as the exchange reports it."""
    fields = {"symbol": SYMBOL, "side": "long"} | fields
    price = None if liquidation is None else D(liquidation)
    return PositionReport(quantity=D(quantity), entry_price=D(entry), liquidation_price=price, **fields)


def a_candle(minute: int, high: str = "101", low: str = "99", close: str = "100", source: Source = "last") -> Candle:
    """A closed candle of a minute of its life."""
    at = OPENED + timedelta(minutes=minute)
    return Candle(SYMBOL, at, 60.0, D(close), D(high), D(low), D(close), source)


SUCCESSOR = a_position(quantity="7", entry="103")
"""Another position of its key, with which no report of these tests agrees."""

ELSEWHERE = a_report(symbol="ETH/USDT:USDT")
"""Another open position, so that the list of positions is not empty."""


def is_ours(client_order_id: str) -> Literal["ours", "instance", "foreign"]:
    """Whose an order is, by the word before the first hyphen; without one it is ours."""
    word, hyphen, _ = client_order_id.partition("-")
    if not hyphen:
        return "ours"
    return "instance" if word == "instance" else "foreign"


def a_snapshot(
    asked_at: float, *shown: StopOrder | PositionReport, answered_at: float | None = None, **fields: bool
) -> AccountSnapshot:
    """A snapshot that shows some orders and positions."""
    builder = SnapshotBuilder(is_ours)
    builder.add_stops(one for one in shown if isinstance(one, StopOrder))
    builder.add_positions(one for one in shown if isinstance(one, PositionReport))
    return builder.build(asked_at, asked_at if answered_at is None else answered_at, **fields)


def check_calm(state: PositionState, at: float) -> None:
    """Only `CALM_RULES` may want something of a calm position, whatever has changed since it was found calm."""
    if state.is_calm and not state.ended:
        wanted = {rule.__name__: rule(state, at) for rule in requesting.RULES if rule not in requesting.CALM_RULES}
        assert set(wanted.values()) <= {None, NEVER}, wanted


class Driver:
    """A position's state, the time, and an exchange that does as it is asked.

    Its orders are called ``a``, ``b``, ``c`` and so on, in the order in which they were placed.

    Attributes:
        state: what is tested.
        at: the time, in seconds on the running clock.
        price: the exchange's own price.
        live: the stops that are live on the exchange, by client order id.
        told: all events that were published.
        executions: what the exchange's own trades say of an order, by client order id.
    """

    def __init__(self, state: PositionState, at: float = 0.0, price: str = "100") -> None:
        self.state = state
        self.at = at
        self.price = D(price)
        self.live: dict[str, StopOrder] = {}
        self.candles: Sequence[Candle] = ()
        self.told: list[Publish] = []
        self.executions: dict[str, Sequence[Fill]] = {}
        self._names = iter("abcdefghijklmnopqrstuvwxyz")

    # Inputs.

    def step(self, what: Input, at: float | None = None) -> list[Publish]:
        """Take something in, at a time that is not before the last one."""
        if at is not None:
            assert at >= self.at
            self.at = at
        effects = self.state.step(what, self.at)
        check_calm(self.state, self.at)
        self.told += effects
        return effects

    def sees(self, *prices: str, at: float | None = None, source: Source = "last") -> None:
        """Take prices as the feed does: the quiet ones don't reach the state."""
        for price in prices:
            self.price = D(price)
            tick = a_tick(price, self.at if at is None else at, source)
            if not self.state.ratchet.take_if_quiet(tick):
                self.step(PriceSeen(tick), at)

    def shows(
        self, *shown: StopOrder | PositionReport, at: float | None = None, answered: float | None = None, **fields: Any
    ) -> None:
        """Take a snapshot that shows these."""
        asked_at = self.at if at is None else at
        snapshot = a_snapshot(asked_at, *shown, answered_at=answered, **fields)
        self.step(SnapshotTaken(snapshot), snapshot.answered_at)

    def shows_all(self, *reports: PositionReport, at: float | None = None) -> None:
        """Take a snapshot that shows what is live, and these reports; without any, the position as it is."""
        own = a_report(str(self.state.quantity), side=self.state.position.side)
        self.shows(*self.live.values(), *(reports or (own,)), at=at)

    def fills(
        self,
        name: str,
        quantity: str,
        *,
        price: str = "98",
        trade: str | None = None,
        filled: str | None = None,
        status: str = "open",
        at: float | None = None,
    ) -> None:
        """Push a fill of an order."""
        side = self.state.position.side
        fill = Fill(SYMBOL, side, D(quantity), D(price), f"exchange-{name}", name, self.at, trade)
        known = self.live.get(name)
        if known is not None:
            left = known.quantity - D(quantity)
            self.live.pop(name) if left <= 0 else self.live.update({name: replace(known, quantity=left)})
        self.step(OrderUpdated(name, status, fill, None if filled is None else D(filled)), at)

    def cancels(self, name: str, at: float | None = None, reason: str = "") -> None:
        """Cancel a stop on the exchange from outside, with an update."""
        del self.live[name]
        self.step(OrderUpdated(name, "cancelled", reason=reason), at)

    # Requests.

    def wants(self, at: float | None = None) -> Request | float:
        """Return what is asked of the exchange next, or when."""
        if at is not None:
            assert at >= self.at
            self.at = at
        return next_request(self.state, self.at)

    def begins(self) -> Request:
        """Begin the request that is wanted, and let it leave."""
        self.begins_only()
        return self.leaves()

    def begins_only(self) -> Request:
        """Begin the request that is wanted; its intent is being stored."""
        request = self.wants()
        assert not isinstance(request, float), request
        order_id = next(self._names) if request.creates else getattr(request, "id", None)
        self.step(Begun(request, order_id))
        assert self.wants() == math.inf
        return request

    def leaves(self) -> Request:
        """Let the request under way leave, with its present figures."""
        request = refresh(self.state, self.at)
        assert request is not None
        self.step(Sent(request))
        return request

    def executes(self) -> StopOrder | Tick | Fill | Sequence[Fill] | Backfill | None:
        """Let the exchange execute the request under way. Returns its answer, which did not come back yet."""
        request, name, side = self.state.request, self.state.request_id, self.state.position.side
        match request:
            case PlaceStop() | ReplaceStop():
                assert name is not None
                source = self.state.plan.trigger
                self.live[name] = a_stop(name, request.price, request.quantity, side=side, source=source)
                return self.live[name]
            case AmendStop():
                assert name is not None
                self.live[name] = replace(self.live[name], price=request.price, quantity=request.quantity)
                return self.live[name]
            case PlaceNative():
                assert name is not None
                callback = request.callback
                order = a_stop(name, request.activation, request.quantity, side=side, callback=callback)
                self.live[name] = order
                return order
            case CancelStop() | TakeDownStop():
                del self.live[request.id]
                return None
            case FindOrder():
                return self.live.get(request.id)
            case ReadPrice():
                return a_tick(self.price, self.at, self.state.plan.trigger)
            case ClosePosition():
                assert name is not None
                return Fill(SYMBOL, side, request.quantity, self.price, f"exchange-{name}", name, self.at)
            case ReadCandles():
                return Backfill(self.candles, a_tick(self.price, self.at, self.state.plan.trigger))
            case ReadFills():
                return self.executions.get(request.id, ())
        raise AssertionError(request)

    def answers(self, result: Any = None, *, error: Exception | None = None, spread: float = 1.0) -> None:
        """Answer the request under way."""
        self.step(Answered(result, error, spread))

    def does(self) -> Request:
        """Carry out the request that is wanted now, and return it."""
        request = self.begins()
        self.answers(self.executes())
        return request

    def fails(self, error: Exception, *, executed: bool = False, spread: float = 1.0) -> Request:
        """Let the request that is wanted now fail. `executed`: the exchange executed it all the same."""
        request = self.begins()
        if executed:
            self.executes()
        self.answers(error=error, spread=spread)
        return request

    def does_entry(self, request: Request, result: Any) -> None:
        """Carry out a request about the entry that is wanted now, which is this one, and answer it."""
        assert self.begins() == request
        self.answers(result)

    def fails_if_any(self, error: Exception, *, executed: bool = False) -> None:
        """Let the request that is wanted now fail, where one is."""
        if not isinstance(self.wants(), float):
            self.fails(error, executed=executed)

    def settles(self) -> list[Request]:
        """Carry out all requests that are wanted now, and return them."""
        done: list[Request] = []
        while not isinstance(self.wants(), float):
            done.append(self.does())
            assert len(done) < 20, done
        return done

    # What is asked of the state.

    @property
    def events(self) -> list[str]:
        """The names of the events that were published."""
        return [getattr(effect.event, "__name__", "?") for effect in self.told]

    def last(self, event: Callable[..., object]) -> dict[str, Any]:
        """Return the fields of the last event of a class."""
        return [effect.fields for effect in self.told if effect.event is event][-1]

    @property
    def alarms(self) -> list[str]:
        """The texts of the alarms that were raised."""
        return [effect.fields["what"] for effect in self.told if getattr(effect.event, "__name__", "") == "Alarm"]

    @property
    def stop_price(self) -> Decimal | None:
        """The price of the stop that counts."""
        return None if self.state.stop is None else self.state.stop.price

    def row(self, name: str) -> Order:
        """Return the row of an order that may exist."""
        return self.state.orders[name]

    # Restarts.

    def record(self) -> StopRecord:
        """Return what is stored of it, as the stores keep it."""
        kept = msgspec.json.encode(save_position(self.state, self.at))
        return msgspec.json.decode(kept, type=StopRecord)

    def intended(self) -> list[IntendedOrder]:
        """Return the orders whose intents are stored and not settled."""
        return [
            IntendedOrder(row.id, "exit" if row.purpose == "exit" else "stop", row.quantity + row.told, row.price)
            for row in self.state.orders.values()
            if row.order is None or (row.state is CHANGING and row.sent_at > -math.inf)
        ]

    def restarted(self, at: float | None = None, **fields: Any) -> Driver:
        """Return the position in another process, whose clock reads `at`."""
        at = self.at if at is None else at
        timing, market = self.state.timing, self.state.market
        state = restore_position(self.record(), self.intended(), market, timing, at, **fields)
        after = Driver(state, at, str(self.price))
        after.live, after._names = dict(self.live), self._names
        return after


def opening(
    side: Side = "long",
    market: Market = MARKET,
    timing: Timing = NO_LAG,
    at: float = 0.0,
    *,
    position: Position | None = None,
    **plan: Any,
) -> Driver:
    """A position whose first stop was not placed yet."""
    position = a_position(side) if position is None else position
    return Driver(PositionState(Ratchet(position, a_plan(**plan), market), timing, at, opened_at=at), at)


def waiting(side: Side = "long", market: Market = MARKET, timing: Timing = NO_LAG, **plan: Any) -> Driver:
    """A position whose first stop, ``a``, is live and whose opening has ended."""
    driver = opening(side, market, timing, **plan)
    driver.does()
    driver.step(OpeningEnded())
    driver.told.clear()
    return driver


def amending(side: Side = "long", timing: Timing = NO_LAG, **plan: Any) -> Driver:
    """The same, where a live stop can be changed in place."""
    return waiting(side, AMENDS, timing, **plan)


def unprotected(side: Side = "long", market: Market = MARKET, timing: Timing = NO_LAG, **plan: Any) -> Driver:
    """A position whose first stop ``a`` was cancelled from outside, without a snapshot since."""
    driver = waiting(side, market, timing, **plan)
    driver.cancels("a")
    driver.told.clear()
    return driver
