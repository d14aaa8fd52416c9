"""Where a position's stop should be: prices, rules, pacing and time in, decisions out.

What is live on the exchange is only read here. `trailing.core.stop` is told of it and changes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from operator import ge, le
from typing import Literal, TypeAlias

import msgspec

from trailing.core.model import Candle, Market, Position, StopOrder, Tick
from trailing.core.plan import TrailPlan
from trailing.core.prices import IS_AHEAD, is_within
from trailing.core.rules import Proposer
from trailing.core.states import CLOSED, LIVE, OPENING, UNPROTECTED, State

_ZERO = Decimal(0)
_NEVER_BELOW, _NEVER_ABOVE = Decimal("-Infinity"), Decimal("Infinity")


class MoveStop(msgspec.Struct, frozen=True, gc=False):
    """The stop should be at this price (or, where the price is the same, cover another quantity)."""

    price: Decimal
    reason: str


class ExitPosition(msgspec.Struct, frozen=True, gc=False):
    """The position should be closed at market, once the exchange's own price has confirmed the crossing."""

    reason: str


Decision: TypeAlias = MoveStop | ExitPosition

NativeTask: TypeAlias = Literal["place", "withdraw", "replace"]
"""What is to be done about the exchange's own trailing order; ``"replace"``: withdraw it, then place another one."""


class Trail:
    """The price side of a `TrailingStop`, which see for what its attributes mean."""

    __slots__ = (
        "_asked",
        "_candles",
        "_crossed_at",
        "_deferred",
        "_high",
        "_is_ahead",
        "_is_crossed",
        "_is_paced",
        "_kept",
        "_last",
        "_low",
        "_moved_at",
        "_near_high",
        "_near_low",
        "_now",
        "_propose",
        "_source",
        "_suspect",
        "best",
        "bug",
        "due_at",
        "first_price",
        "foreign_ticks",
        "market",
        "native",
        "native_task",
        "order",
        "orders",
        "plan",
        "position",
        "state",
        "target",
    )

    def __init__(self, position: Position, plan: TrailPlan, market: Market, at: float) -> None:
        self.position: Position = position
        self.plan: TrailPlan = plan
        self.market: Market = market
        self.first_price: Decimal = plan.first_stop(position, market)
        self.state: State = OPENING
        self.orders: dict[str, StopOrder] = {}
        self.order: StopOrder | None = None
        self.target: Decimal = self.first_price
        self.best: Decimal = position.entry_price
        self.bug: Exception | None = None
        self.due_at: float | None = None
        self.foreign_ticks: int = 0
        self.native: StopOrder | None = None
        self.native_task: NativeTask | None = "place" if plan.native else None
        self._source = plan.trigger
        self._is_ahead = IS_AHEAD[position.side]
        self._is_crossed = le if position.side == "long" else ge
        self._is_paced = not plan.pacing.is_immediate
        self._last = position.entry_price
        self._suspect: Decimal | None = None  # a price that the next one has to confirm
        self._asked: Decimal | None = None  # the stop of a move under way
        self._moved_at: float | None = None
        self._crossed_at: float | None = None
        self._deferred = False  # an improvement waits for its time: its crossing matters
        self._kept = False  # one waits for the price to be ahead of it again
        self._near_low = self._near_high = _ZERO
        self._propose: Proposer | None = None
        self._candles: tuple[Candle, ...] = ()
        self._now = at
        self._arm()

    def on_tick(self, tick: Tick) -> Decision | None:
        """Take a price of this position's symbol.

        Returns:
            A new `MoveStop` for every improvement that pacing lets pass, also while a move is under way; an
            `ExitPosition` where software has to close; mostly None, at the cost of two comparisons.
        """
        price = tick.price
        if self._low < price < self._high and tick.source == self._source:
            self._last = price
            return None
        return self._on_notable_tick(tick)

    def _on_notable_tick(self, tick: Tick) -> Decision | None:
        if tick.source != self._source:
            self.foreign_ticks += 1
            return None
        price = tick.price
        low, high = self._near_low, self._near_high
        if not (low < price < high and low < self._last < high) and not self._is_believed(price):
            return None
        self._suspect = None
        self._last = price
        if self._is_ahead(price, self.best):
            self.best = price
        return self._decide(tick.at)

    def _is_believed(self, price: Decimal) -> bool:
        """Whether a price is near the last one; one that isn't needs the next one to confirm it."""
        limit, suspect = self.plan.max_jump, self._suspect
        if is_within(price, self._last, limit):
            # Any two prices within a third of the limit of this one are within the limit of each other.
            third = limit.of(price) / 3
            self._near_low, self._near_high = price - third, price + third
            return True
        if suspect is None or not is_within(price, suspect, limit):
            self._suspect = price
            self._arm()
            return False
        if self._is_ahead(suspect, self.best):
            self.best = suspect
        return True

    def on_candle(self, candle: Candle, at: float) -> Decision | None:
        """Take a closed candle, for the rules that look at candles."""
        if candle.source != self._source or not self.plan.candles_needed:
            return None
        self._candles = (*self._candles, candle)[-self.plan.candles_needed :]
        return self._decide(at)

    def caught_up(self, candles: Iterable[Candle], price: Decimal, at: float) -> Decision | None:
        """Take in what passed while no tick came.

        Args:
            candles: closed ones. Those of another source count for nothing, and so do those that began before the
                position was opened, which is not in all of their prices.
            price: the one now: it alone tells whether a stop is crossed.
        """
        long = self.position.side == "long"
        peaks = [
            candle.high if long else candle.low
            for candle in candles
            if candle.source == self._source and candle.opened_at >= self.position.opened_at
        ]
        for peak in (*peaks, price):
            if self._is_ahead(peak, self.best):
                self.best = peak
        self._suspect, self._last = None, price
        return self._decide(at)

    def on_time(self, at: float) -> Decision | None:
        """Call when `due_at` has come: what pacing deferred, or what was not filled in its time, is decided now."""
        if self.due_at is None or at < self.due_at:
            return None
        return self._decide(at)

    def _decide(self, at: float) -> Decision | None:
        self._now = at
        self.due_at = None
        self._deferred = self._kept = False
        decision: Decision | None = None
        if self.state in LIVE or self.state is UNPROTECTED:
            if self.bug is None:
                self._ratchet()
            order = self.order
            if order is None:
                decision = self._decide_bare()
            else:
                decision = self._decide_live(at, order.price if self.native is None else self._standing(order))
        self._arm()
        return decision

    def _ratchet(self) -> None:
        try:
            propose = self._propose
            if propose is None:
                propose = self.plan.bind(self.position.side, self.position.entry_price, self.market.price_tick)
                if self.best != self.position.entry_price:  # kept from the first peak on: many never come so far
                    self._propose = propose
            proposal = propose(self.best, self._candles)
        except Exception as bug:  # what the exchange said is taken all the same, whatever a rule makes of it
            self.bug = bug
            return
        if proposal is not None and self._is_ahead(proposal, self.target):
            self.target = proposal

    def _standing(self, order: StopOrder) -> Decimal:
        """Where a stop stands: the exchange's own trailing order stands where we would have moved the plain one to."""
        return order.price if self.native_task is not None else self.target

    def _decide_bare(self) -> Decision | None:
        if self.plan.on_would_trigger == "exit" and self._is_crossed(self._last, self.target):
            return ExitPosition("the price is beyond the stop of a position that has none")
        return None

    def _decide_live(self, at: float, live: Decimal) -> Decision | None:
        last, target = self._last, self.target
        if self._is_crossed(last, live):
            if self._crossed_at is None:
                self._crossed_at = at
            grace_ends = self._crossed_at + self.plan.exit_grace
            if at >= grace_ends:
                return ExitPosition(f"the stop was crossed and not filled within {self.plan.exit_grace} s")
            self.due_at = grace_ends
            return None
        self._crossed_at = None
        asked = self._asked
        reference = live if asked is None else asked
        if not self._is_ahead(target, reference):
            return None
        wait: float | None = 0.0
        if self._is_paced:  # asked beforehand, since every new peak comes this way
            since_move = None if self._moved_at is None else at - self._moved_at
            wait = self.plan.pacing.wait(since_move, reference, target)
            if wait is None:
                return None
        if self._is_crossed(last, target):
            self._kept = True
            # With a move under way its own outcome says more than this price.
            if asked is None and self.plan.on_would_trigger == "exit":
                return ExitPosition("a stop that was not sent yet is crossed")
            return None
        if wait:
            self.due_at = at + wait
            self._deferred = True
            return None
        self._asked, self._moved_at = target, at
        return MoveStop(target, "trailing")

    def _postpone(self, at: float) -> Decision | None:
        """Decide, with a move left to `on_time`: the caller thinks fit when to try again what has just failed."""
        decision = self._decide(at)
        if not isinstance(decision, MoveStop):
            return decision
        self._asked = self._moved_at = None
        self.due_at = at
        self._deferred = True
        self._arm()
        return None

    def _take_plan(self, plan: TrailPlan) -> None:
        """Replace the plan. What was seen and wanted by then stays, but for candles that are not the new plan's."""
        before, needed = self.plan, plan.candles_needed
        same_bars = (plan.trigger, plan.candle_seconds) == (before.trigger, before.candle_seconds)
        self._candles = self._candles[-needed:] if needed and same_bars else ()
        if plan.trigger != before.trigger:
            self._suspect = None  # a price of another source confirms nothing
        self.plan = plan
        self.bug = None
        self._source = plan.trigger
        self._is_paced = not plan.pacing.is_immediate
        self._near_low = self._near_high = _ZERO
        self._propose = None

    def _arm(self) -> None:
        """Compute the band between the next crossing and the next peak, inside which a tick changes nothing."""
        if self.state is CLOSED:
            self._low, self._high = _NEVER_BELOW, _NEVER_ABOVE
            return
        if self._suspect is not None or self._crossed_at is not None:
            self._low, self._high = _NEVER_ABOVE, _NEVER_BELOW  # every tick is notable
            return
        order = self.order
        if order is None or self._deferred:
            crossing = self.target
        else:
            crossing = order.price if self.native is None else self._standing(order)
        better = self.target if self._kept else self.best
        self._low, self._high = (crossing, better) if self.position.side == "long" else (better, crossing)
