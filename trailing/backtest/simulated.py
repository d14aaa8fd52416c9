"""One position on the core alone: the core decides, and a venue without latency answers at once.

This is the only module that steps the core's state outside of a manager. The venue here has one stop, which fills on the
path of the price, and orders at market.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from trailing.core.candles import CandleBuilder
from trailing.core.entry_checks import check_side, check_size
from trailing.core.evidence import Timing
from trailing.core.inputs import (
    Answered,
    Begun,
    CandleClosed,
    OpeningEnded,
    PriceSeen,
    Sent,
    StopFound,
    TimePassed,
)
from trailing.core.model import Candle, Fill, Market, Position, StopOrder, Tick
from trailing.core.next_request import next_request, refresh
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.prices import first_crossing, is_crossed
from trailing.core.ratchet import Ratchet
from trailing.core.requests import AmendStop, ClosePosition, ReadPrice, Request
from trailing.errors import UsageError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FILLED: Final = "the stop was filled"
"""The core's word for the end of a position whose stop was filled."""

_MOST_REQUESTS: Final = 100
"""More requests than a position can want at one moment. A state that wants more has a bug."""


def check_entry_of(position: Position, plan: TrailPlan, market: Market) -> None:
    """Refuse a position that a manager would refuse, too, or a plan that no backtest can carry out.

    Raises:
        UsageError: naming the position, or the field of the plan.
    """
    if plan.native:
        raise UsageError("TrailPlan.native got True, wants False in a backtest, because no exchange trails here")
    check_first_stop(position, plan, market)


def check_first_stop(position: Position, plan: TrailPlan, market: Market) -> None:
    """Refuse a position for which the plan, or its own `stop_price`, gives no possible first stop.

    Raises:
        UsageError: naming the position, and the field with its value.
    """
    try:
        first_stop = plan.first_stop(position, market)
        check_size(position, plan, market, first_stop, position.entry_price)
        check_side(position, position.entry_price)
    except UsageError as wrong:
        raise UsageError(f"{position.symbol} {position.side}: {wrong}") from None


@lru_cache(maxsize=64)
def _amending(market: Market) -> Market:
    """Return a market whose stops are amended. How a stop is moved changes nothing without latency, and this is one request.

    The result is cached, because every trade of a symbol needs it.
    """
    return replace(market, can_amend=True)


class SimulatedPosition:
    """A protected position whose requests are answered at once.

    While the plan lets every improvement be sent at once, and no price is beyond the wanted stop, the live stop simply is the
    stop that the core's ratchet wants. Whatever else there is to decide, a `PositionState` decides.

    Args:
        position: the position.
        plan: its plan.
        market: the rules of its symbol.
        at: when it is entered, in seconds since 1970, as every time here.
        keeps_stops: whether every acknowledged stop is remembered.

    Raises:
        UsageError: the plan, the market or the position can't be right together.

    Attributes:
        position: the position.
        ratchet: the price side of the core, which every price passes.
        stop: the price of the live stop.
        stops: the time and price of each acknowledged stop, if they are kept.
        moves: how often the stop was moved.
        due: when the state wants to act without a new price. Infinite: never.
        exit_at, exit_price, exit_reason: how it ended; None: it is open.
        price: the price of the venue.
    """

    __slots__ = (
        "_candles",
        "_entered_at",
        "_ids",
        "_keeps_stops",
        "_state",
        "_symbol",
        "_trigger",
        "due",
        "exit_at",
        "exit_price",
        "exit_reason",
        "moves",
        "position",
        "price",
        "ratchet",
        "stop",
        "stops",
    )

    def __init__(
        self, position: Position, plan: TrailPlan, market: Market, at: float, *, keeps_stops: bool = False
    ) -> None:
        check_entry_of(position, plan, market)
        self.position: Position = position
        self.ratchet: Ratchet = Ratchet(position, plan, _amending(market))
        self.stop: Decimal = self.ratchet.first_stop
        self.stops: list[tuple[float, Decimal]] = [(at, self.stop)] if keeps_stops else []
        self.moves: int = 0
        self.due: float = math.inf
        self.exit_at: float | None = None
        self.exit_price: Decimal | None = None
        self.exit_reason: str | None = None
        self.price: Decimal = position.entry_price
        self._state: PositionState | None = None
        self._entered_at = at
        self._symbol, self._trigger, self._ids, self._keeps_stops = position.symbol, plan.trigger, 0, keeps_stops
        self._candles = (
            CandleBuilder(position.symbol, plan.trigger, plan.candle_seconds) if plan.candles_needed else None
        )
        self.ratchet.ask_rules()  # the entry price may be enough for one
        self._follow(at)

    @property
    def takes_candles(self) -> bool:
        """Whether its rules look at candles, so that it has to take every price."""
        return self._candles is not None

    def take(self, price: Decimal, at: float, *, continuous: bool, dated: float) -> bool:
        """Take the next price of the path, and return whether the position has ended.

        The work that is due by then is done first. The stop fills on the path, before the core takes the price.

        Args:
            price: the venue's price from now on.
            at: never before an earlier one.
            continuous: whether the price passes through every price in between. Otherwise it jumps.
            dated: the time of the price for the candles of the rules.
        """
        while self.due <= at:
            assert self._state is not None, "only a state defers anything"
            due = self.due
            self._state.step(TimePassed(), due)
            self._act(self._state, due)
            if self.exit_at is not None:
                return True
        start, self.price = self.price if continuous else price, price
        filled = first_crossing(self.position.side, self.stop, start, price)
        if filled is not None:
            self._end(filled, at, _FILLED)
            return True
        tick = Tick(self._symbol, price, at, self._trigger)
        if self._state is None:
            self._take_by_ratchet(tick, dated)
        else:
            self._take_by_state(self._state, tick, dated)
        return self.exit_at is not None

    def _take_by_ratchet(self, tick: Tick, dated: float) -> None:
        ratchet = self.ratchet
        candle = self._close_candle(tick, dated)
        if candle is not None and ratchet.take_candle(candle):
            ratchet.ask_rules()
        if not ratchet.take_if_quiet(tick):
            if not ratchet.take(tick):  # a jump. The path is the venue's own price, so it is confirmed at once
                ratchet.take(tick)
                ratchet.take_own_price(tick.price)
            ratchet.ask_rules()
        elif candle is None:
            return
        self._follow(tick.at)

    def _close_candle(self, tick: Tick, dated: float) -> Candle | None:
        """Add a price to its candle, and return the candle that closes before it. Each price of the path counts."""
        if self._candles is None:
            return None
        closed = self._candles.advance(_EPOCH + timedelta(seconds=dated))
        self._candles.add(tick.price)
        return closed

    def _follow(self, at: float) -> None:
        """Let the live stop be the wanted one, or let a state decide.

        Raises:
            UsageError: a rule of the plan raised an exception.
        """
        ratchet = self.ratchet
        self._check_rules()
        wanted = ratchet.target
        if wanted != self.stop:
            if not ratchet.plan.pacing.is_immediate or is_crossed(self.position.side, self.price, wanted):
                self._act(self._new_state(at), at)
                return
            self._set_stop(wanted, at)
            self.moves += 1
        ratchet.update_quiet_band()

    def _new_state(self, at: float) -> PositionState:
        """Return the state of this position with its live stop, which decides from now on."""
        state = PositionState(self.ratchet, Timing(), self._entered_at, self._entered_at)
        order = StopOrder(self._symbol, self.position.side, state.coverable, self.stop, "0", "0", self._trigger)
        state.step(StopFound(order), at)
        state.step(OpeningEnded(), at)
        state.moves = self.moves
        self._state = state
        return state

    def _take_by_state(self, state: PositionState, tick: Tick, dated: float) -> None:
        candle = self._close_candle(tick, dated)
        if candle is not None:
            state.step(CandleClosed(candle), tick.at)
        if not state.ratchet.take_if_quiet(tick):
            state.step(PriceSeen(tick), tick.at)
            if state.ratchet.suspect is not None:  # a jump: the second price agrees, and the venue's own confirms it
                state.step(PriceSeen(tick), tick.at)
        elif candle is None:
            return
        self._act(state, tick.at)

    def _act(self, state: PositionState, at: float) -> None:
        """Carry out every request that the state wants now.

        Raises:
            UsageError: a rule of the plan raised an exception.
        """
        self._check_rules()
        for _ in range(_MOST_REQUESTS):
            wanted = next_request(state, at)
            if not isinstance(wanted, float):
                self._carry_out(state, wanted, at)
                if self.exit_at is not None:
                    return
            elif wanted <= at:
                state.step(TimePassed(), at)
            else:
                self.due, self.moves = wanted, state.moves
                return
        raise AssertionError(f"{state!r} wants a request without end")

    def _check_rules(self) -> None:
        bug = self.ratchet.bug
        if bug is not None:
            raise UsageError(f"{self._symbol}: a rule of the plan failed: {type(bug).__name__}: {bug}") from bug

    def _carry_out(self, state: PositionState, request: Request, at: float) -> None:
        order_id = getattr(request, "id", None)
        if request.creates:
            self._ids += 1
            order_id = f"{self._ids}"
        state.step(Begun(request, order_id), at)
        if request.writes:
            fresh = refresh(state, at)
            assert fresh is not None, "nothing changes between the choice of a request and its sending"
            request = fresh
        state.step(Sent(request), at)
        state.step(self._answer(request, order_id, at), at)

    def _answer(self, request: Request, order_id: str | None, at: float) -> Answered:
        """Return the venue's answer. The state neither places a stop beyond the price nor cancels its only one."""
        side = self.position.side
        match request:
            case AmendStop(price=price, quantity=quantity):
                assert order_id is not None
                self._set_stop(price, at)
                return Answered(StopOrder(self._symbol, side, quantity, price, order_id, order_id, self._trigger))
            case ClosePosition(quantity=quantity):
                assert order_id is not None
                self._end(self.price, at, request.reason)
                return Answered(Fill(self._symbol, side, quantity, self.price, order_id, order_id, at))
            case _:
                assert isinstance(request, ReadPrice), request
                return Answered(Tick(self._symbol, self.price, at, self._trigger))

    def _set_stop(self, price: Decimal, at: float) -> None:
        self.stop = price
        if self._keeps_stops:
            self.stops.append((at, price))

    def _end(self, price: Decimal, at: float, reason: str) -> None:
        self.exit_price, self.exit_at, self.exit_reason, self.due = price, at, reason, math.inf
