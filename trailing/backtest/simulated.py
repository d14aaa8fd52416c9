"""One position on the core alone: its state decides, and a venue without latency answers at once.

This is the only module that steps the core's state outside of a manager. `PositionState` makes every decision. The
venue here has one stop, which fills on the path of the price, and orders at market.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
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
from trailing.core.model import Fill, Market, Position, StopOrder, Tick
from trailing.core.next_request import next_request, refresh
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.prices import first_crossing, is_crossed
from trailing.core.ratchet import Ratchet
from trailing.core.requests import (
    AmendStop,
    CancelStop,
    ClosePosition,
    PlaceStop,
    ReadPrice,
    ReplaceStop,
    Request,
)
from trailing.errors import UsageError, WouldTrigger

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_REQUESTS: Final = 100
"""More requests than a position can want at one moment. A state that wants more has a bug."""


def check_entry_of(position: Position, plan: TrailPlan, market: Market) -> None:
    """Refuse a position that a manager would refuse, too, or a plan that no backtest can carry out.

    Raises:
        UsageError: naming the position, or the field of the plan.
    """
    if plan.native:
        raise UsageError("TrailPlan.native got True, wants False in a backtest, because no exchange trails here")
    try:
        first_stop = plan.first_stop(position, market)
        check_size(position, plan, market, first_stop, position.entry_price)
        check_side(position, position.entry_price)
    except UsageError as wrong:
        raise UsageError(f"{position.symbol} {position.side}: {wrong}") from None


class SimulatedPosition:
    """A protected position whose requests are answered at once.

    Args:
        position: the position.
        plan: its plan.
        market: the rules of its symbol.
        at: when it is entered, in seconds since 1970, as every time here.
        keeps_stops: whether every acknowledged stop is remembered.

    Raises:
        UsageError: the plan, the market or the position can't be right together.

    Attributes:
        state: the core's state of the position.
        stop: the live stop; None: none is live.
        stops: the time and price of each acknowledged stop, if they are kept.
        due: when the state wants to act without a new price. Infinite: never.
        exit_at, exit_price, exit_reason: how it ended; None: it is open.
        price: the price of the venue.
    """

    __slots__ = (
        "_candles",
        "_ids",
        "_keeps_stops",
        "_symbol",
        "_trigger",
        "due",
        "exit_at",
        "exit_price",
        "exit_reason",
        "price",
        "state",
        "stop",
        "stops",
    )

    def __init__(
        self, position: Position, plan: TrailPlan, market: Market, at: float, *, keeps_stops: bool = False
    ) -> None:
        check_entry_of(position, plan, market)
        if not market.can_amend:  # how a stop is moved changes nothing without latency, and amending is one request
            market = replace(market, can_amend=True)
        self.state: PositionState = PositionState(Ratchet(position, plan, market), Timing(), at, at)
        self.stop: StopOrder | None = None
        self.stops: list[tuple[float, Decimal]] = []
        self.due: float = math.inf
        self.exit_at: float | None = None
        self.exit_price: Decimal | None = None
        self.exit_reason: str | None = None
        self.price: Decimal = position.entry_price
        self._symbol, self._trigger, self._ids, self._keeps_stops = position.symbol, plan.trigger, 0, keeps_stops
        self._candles = CandleBuilder(plan.candle_seconds) if plan.candles_needed else None
        self._open(at)

    def _open(self, at: float) -> None:
        """Have the first stop live at once, and let the rules look at the entry price.

        The venue's price is the entry price then, and no first stop that passed the checks is beyond it.
        """
        state = self.state
        self._set_stop("0", state.ratchet.first_stop, state.coverable, at)
        assert self.stop is not None
        state.step(StopFound(self.stop), at)
        state.step(OpeningEnded(), at)
        state.step(PriceSeen(Tick(self._symbol, self.price, at, self._trigger)), at)
        self._act(at)

    def _set_stop(self, order_id: str, price: Decimal, quantity: Decimal, at: float) -> None:
        side = self.state.position.side
        self.stop = StopOrder(self._symbol, side, quantity, price, order_id, order_id, self._trigger)
        if self._keeps_stops:
            self.stops.append((at, price))

    @property
    def takes_candles(self) -> bool:
        """Whether its rules look at candles, so that it has to take every price."""
        return self._candles is not None

    def take(self, price: Decimal, at: float, *, continuous: bool, dated: float) -> bool:
        """Take the next price of the path, and return whether the position has ended.

        The work that is due by then is done first. The stop fills on the path, before the state takes the price.

        Args:
            price: the venue's price from now on.
            at: never before an earlier one.
            continuous: whether the price passes through every price in between. Otherwise it jumps.
            dated: the time of the price for the candles of the rules.
        """
        while self.due <= at:
            due = self.due
            self.state.step(TimePassed(), due)
            self._act(due)
            if self.exit_at is not None:
                return True
        start, self.price = self.price if continuous else price, price
        stop, state = self.stop, self.state
        if stop is not None:
            filled = first_crossing(stop.side, stop.price, start, price)
            if filled is not None:
                self._end(filled, at, state.exit_reason)
                return True
        tick = Tick(self._symbol, price, at, self._trigger)
        has_closed = self._candles is not None and self._take_candle(self._candles, tick, dated)
        if state.ratchet.take_if_quiet(tick):
            if has_closed:
                self._act(at)
        else:
            state.step(PriceSeen(tick), at)
            if state.ratchet.suspect is not None:
                # A jump. The path is the venue's own price, so the same price agrees with it, and confirms it at once.
                state.step(PriceSeen(tick), at)
            self._act(at)
        return self.exit_at is not None

    def _take_candle(self, builder: CandleBuilder, tick: Tick, dated: float) -> bool:
        candle = builder.take(tick, _EPOCH + timedelta(seconds=dated))
        if candle is not None:
            self.state.step(CandleClosed(candle), tick.at)
        return candle is not None

    def _act(self, at: float) -> None:
        """Carry out every request that is wanted now.

        Raises:
            UsageError: a rule of the plan raised an exception.
        """
        state = self.state
        if state.ratchet.bug is not None:
            bug = state.ratchet.bug
            raise UsageError(f"{self._symbol}: a rule of the plan failed: {type(bug).__name__}: {bug}") from bug
        for _ in range(_MOST_REQUESTS):
            wanted = next_request(state, at)
            if isinstance(wanted, float):
                if wanted > at:
                    self.due = wanted
                    return
                state.step(TimePassed(), at)
                continue
            self._carry_out(wanted, at)
            if self.exit_at is not None:
                return
        raise AssertionError(f"{state!r} wants a request without end")

    def _carry_out(self, request: Request, at: float) -> None:
        state, order_id = self.state, getattr(request, "id", None)
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
        side = self.state.position.side
        match request:
            case PlaceStop() | ReplaceStop() | AmendStop():
                assert order_id is not None
                if is_crossed(side, self.price, request.price):
                    return Answered(error=WouldTrigger(f"{self._symbol}: {self.price} is at or beyond {request.price}"))
                self._set_stop(order_id, request.price, request.quantity, at)
                return Answered(self.stop)
            case ReadPrice():
                return Answered(Tick(self._symbol, self.price, at, self._trigger))
            case ClosePosition():
                assert order_id is not None
                self._end(self.price, at, request.reason)
                return Answered(Fill(self._symbol, side, request.quantity, self.price, order_id, order_id, at))
            case _:
                assert isinstance(request, CancelStop), request
                return Answered()

    def _end(self, price: Decimal, at: float, reason: str) -> None:
        self.exit_price, self.exit_at, self.exit_reason, self.due = price, at, reason, math.inf
