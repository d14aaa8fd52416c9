"""The price side of a position: prices and closed candles in, the best price and the wanted stop out.

The wanted stop only ever tightens. A price far from the last one is a *jump*: it counts once a second price agrees and the
exchange's own price confirms both, so that no run of bad ticks becomes a peak.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from trailing.core.model import Candle, Market, Position, Tick
from trailing.core.plan import TrailPlan
from trailing.core.prices import IS_AHEAD, is_crossed, is_within
from trailing.core.rules import Proposer

_ZERO = Decimal(0)
_NEVER_BELOW, _NEVER_ABOVE = Decimal("-Infinity"), Decimal("Infinity")


class Ratchet:
    """Where a position's stop should be, by its plan and the prices so far.

    Args:
        position: what is protected.
        plan: how.
        market: the exchange's rules for its symbol.

    Raises:
        UsageError: the plan gives no possible first stop for this position.

    Attributes:
        first_stop: the price of the initial stop.
        target: the tightest stop that the plan ever wanted. Only confirmed prices justify it.
        best: the best confirmed price so far.
        last: the last price that counts.
        jump: a price that a second one agrees with, far from `last`; the exchange's own price has to confirm it. Or None.
        bug: what a rule raised. From then on no rule is asked, and the target stays. Or None.
        candles: the closed candles that the rules look at.
        foreign_ticks: the number of ticks of a source that isn't the plan's. They change nothing else.
    """

    __slots__ = (
        "_high",
        "_is_ahead",
        "_low",
        "_near_high",
        "_near_low",
        "_propose",
        "_source",
        "best",
        "bug",
        "candles",
        "first_stop",
        "foreign_ticks",
        "jump",
        "last",
        "market",
        "plan",
        "position",
        "suspect",
        "target",
    )

    def __init__(self, position: Position, plan: TrailPlan, market: Market) -> None:
        self.position: Position = position
        self.plan: TrailPlan = plan
        self.market: Market = market
        self.first_stop: Decimal = plan.first_stop(position, market)
        self.target: Decimal = self.first_stop
        self.best: Decimal = position.entry_price
        self.last: Decimal = position.entry_price
        self.suspect: Decimal | None = None  # a price that the next one has to agree with
        self.jump: Decimal | None = None
        self.bug: Exception | None = None
        self.candles: tuple[Candle, ...] = ()
        self.foreign_ticks: int = 0
        self._source = plan.trigger
        self._is_ahead = IS_AHEAD[position.side]
        self._near_low = self._near_high = _ZERO
        self._propose: Proposer | None = None
        self._low, self._high = _NEVER_ABOVE, _NEVER_BELOW
        self.update_quiet_band()

    def take_if_quiet(self, tick: Tick) -> bool:
        """Take a price that changes nothing, at the cost of two comparisons. False: pass the tick to `take`."""
        price = tick.price
        if self._low < price < self._high and tick.source == self._source:
            self.last = price
            return True
        return False

    def take(self, tick: Tick) -> bool:
        """Take a price. Returns whether it counts: False for a foreign source, and for a jump until it is confirmed."""
        if tick.source != self._source:
            self.foreign_ticks += 1
            return False
        price, low, high = tick.price, self._near_low, self._near_high
        if not (low < price < high and low < self.last < high) and not self._is_near(price):
            return False
        self.suspect = self.jump = None
        self._count(price)
        return True

    def _is_near(self, price: Decimal) -> bool:
        """Whether a price is near the last one. Of one that isn't, the ratchet waits for a second one that agrees."""
        limit, suspect = self.plan.max_jump, self.suspect
        if is_within(price, self.last, limit):
            # Any two prices within a third of the limit of this one are within the limit of each other.
            third = limit.of(price) / 3
            self._near_low, self._near_high = price - third, price + third
            return True
        if suspect is not None and is_within(price, suspect, limit):
            self.jump = price if self.jump is None or self._is_ahead(price, self.jump) else self.jump
        self.suspect = price
        return False

    def take_own_price(self, price: Decimal) -> bool:
        """Take the exchange's own price, which decides on a jump. It is no peak by itself: it was read to confirm, at any time.

        Returns:
            Whether a jump was refuted: it was far from this price, and counts for nothing.
        """
        jump, limit = self.jump, self.plan.max_jump
        self.suspect = self.jump = None
        refuted = jump is not None and not is_within(jump, price, limit)
        if jump is not None and not refuted:
            self._count(jump)
        self.last = price
        return refuted

    def _count(self, price: Decimal) -> None:
        self.last = price
        if self._is_ahead(price, self.best):
            self.best = price

    def take_candle(self, candle: Candle) -> bool:
        """Take a closed candle. Returns whether a rule looks at it."""
        if candle.source != self._source or not self.plan.candles_needed:
            return False
        self.candles = (*self.candles, candle)[-self.plan.candles_needed :]
        return True

    def take_backfill(self, candles: Iterable[Candle], price: Decimal) -> None:
        """Take the peaks of a price gap.

        Args:
            candles: closed ones. Those of another source count for nothing, and so do those that began before the
                position was opened, because not all of their prices are the position's.
            price: the exchange's own price now.
        """
        long = self.position.side == "long"
        for candle in candles:
            if candle.source == self._source and candle.opened_at >= self.position.opened_at:
                peak = candle.high if long else candle.low
                if self._is_ahead(peak, self.best):
                    self.best = peak
        self.suspect = self.jump = None
        self._count(price)

    def ask_rules(self) -> None:
        """Let the plan's rules tighten the target. A rule that raises is a `bug`, and changes nothing."""
        if self.bug is not None:
            return
        try:
            propose = self._propose
            if propose is None:
                propose = self.plan.bind(self.position.side, self.position.entry_price, self.market.price_tick)
                if self.best != self.position.entry_price:  # kept from the first peak on: many never come so far
                    self._propose = propose
            proposal = propose(self.best, self.candles)
        except Exception as bug:  # what the exchange said counts all the same, whatever a rule makes of it
            self.bug = bug
            return
        if proposal is not None and self._is_ahead(proposal, self.target):
            self.target = proposal

    def replan(self, plan: TrailPlan) -> None:
        """Replace the plan. The best price, the target and the first stop stay, and so do candles that fit the new plan.

        Raises:
            UsageError: the plan has no possible first stop for the position. Nothing has changed then.
        """
        plan.first_stop(self.position, self.market)
        before, needed = self.plan, plan.candles_needed
        same_bars = (plan.trigger, plan.candle_seconds) == (before.trigger, before.candle_seconds)
        self.candles = self.candles[-needed:] if needed and same_bars else ()
        if plan.trigger != before.trigger:
            self.suspect = self.jump = None  # a price of another source confirms nothing
        self.plan, self.bug = plan, None
        self._source, self._propose = plan.trigger, None
        self._near_low = self._near_high = _ZERO

    @property
    def is_crossed(self) -> bool:
        """Whether the last price is at or beyond the target."""
        return is_crossed(self.position.side, self.last, self.target)

    def update_quiet_band(self, *, every_tick: bool = False, no_tick: bool = False) -> None:
        """Compute the band from the target to the best price, itself included, in which a tick changes nothing.

        The live stop is never tighter than the target by more than the exchange's rounding, so one limit serves the
        crossings of both.

        Args:
            every_tick: let no tick be quiet.
            no_tick: let every tick be quiet, because the position has ended.
        """
        if no_tick:
            self._low, self._high = _NEVER_BELOW, _NEVER_ABOVE
        elif every_tick or self.suspect is not None or self.is_crossed:
            self._low, self._high = _NEVER_ABOVE, _NEVER_BELOW
        elif self.position.side == "long":
            self._low, self._high = self.target, self.best.next_plus()
        else:
            self._low, self._high = self.best.next_minus(), self.target
