"""The price side of a position, which turns prices and candles into the wanted stop.

The wanted stop only tightens. A price far from the last one is a *jump*. A jump counts once a second price agrees with
it and the exchange's own price confirms it, so that a run of bad ticks does not become a peak.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from trailing.core.model import Candle, Market, Position, Tick
from trailing.core.plan import TrailPlan
from trailing.core.prices import IS_AHEAD, is_crossed, is_within
from trailing.core.rules import Proposer
from trailing.errors import UsageError

_ZERO = Decimal(0)
_NEVER_BELOW, _NEVER_ABOVE = Decimal("-Infinity"), Decimal("Infinity")


class Ratchet:
    """The best price and the wanted stop of a position, by its plan.

    Args:
        position: the protected position.
        plan: its plan.
        market: the exchange's rules for its symbol.

    Raises:
        UsageError: the plan gives no possible first stop for this position.

    Attributes:
        first_stop: the price of the initial stop.
        target: the tightest stop that the plan ever wanted. Only confirmed prices justify it.
        best: the best confirmed price so far, peaks of price gaps included.
        last: the last price that counts.
        jump: a price far from `last` that a second price agrees with; the exchange's own price has to confirm it. Or
            None.
        bug: the exception that a rule raised. From then on no rule is asked, and the target stays. Or None.
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
        """Take a price that changes nothing, at the cost of two comparisons.

        False: the price is not quiet, so pass the tick to `take`.
        """
        price = tick.price
        if self._low < price < self._high and tick.source == self._source:
            self.last = price
            return True
        return False

    @property
    def quiet_band(self) -> tuple[Decimal, Decimal]:
        """The two limits between which a price changes nothing, both excluded. They may be infinite, or exclude every price."""
        return self._low, self._high

    def take(self, tick: Tick) -> bool:
        """Take a price, and return whether it counts.

        A price of a foreign source does not count, and neither does a jump until it is confirmed.
        """
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
        """Return whether a price is near the last one.

        If it isn't, the ratchet waits for a second price that agrees with it.
        """
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
        """Take the exchange's own price, which decides on a jump.

        This price is no peak by itself, because it is read only to confirm.

        Returns:
            Whether a jump was refuted. Such a jump was far from this price, and does not count.
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
        """Take a closed candle, and return whether a rule looks at it."""
        if candle.source != self._source or not self.plan.candles_needed:
            return False
        self.candles = (*self.candles, candle)[-self.plan.candles_needed :]
        return True

    def take_backfill(self, candles: Iterable[Candle], price: Decimal) -> None:
        """Take the peaks of a price gap.

        One wrong price makes an extreme, and may be the first or last price of its candle. So an extreme counts only if it is
        within `max_jump` of such a price, and this price within `max_jump` of a neighbouring candle or of the price now.

        Args:
            candles: closed candles. Candles of another source do not count. Candles that began before the position was
                opened do not count either, because not all of their prices belong to its time.
            price: the exchange's own price now, which counts, too.
        """
        long = self.position.side == "long"
        limit, opened_at = self.plan.max_jump, self.position.opened_at
        own = [one for one in candles if one.source == self._source and one.opened_at >= opened_at]
        before = None
        for candle, after in zip(own, [*(one.open for one in own[1:]), price], strict=False):
            for reached in (candle.open, candle.close):
                if is_within(reached, after, limit) or (before is not None and is_within(reached, before, limit)):
                    extreme = candle.high if long else candle.low
                    peak = extreme if is_within(extreme, reached, limit) else reached
                    self.best = peak if self._is_ahead(peak, self.best) else self.best
            before = candle.close
        self.suspect = self.jump = None
        self._count(price)

    def ask_rules(self) -> None:
        """Let the plan's rules tighten the target.

        If a rule raises, its exception becomes the `bug` and nothing else changes.
        """
        if self.bug is not None:
            return
        try:
            propose = self._propose
            if propose is None:
                propose = self.plan.bind(self.position.side, self.position.entry_price, self.market.price_tick)
                if self.best != self.position.entry_price:  # stored from the first peak on, which many never have
                    self._propose = propose
            proposal = propose(self.best, self.candles)
        except Exception as bug:  # a failed rule must not undo the message that is applied
            self.bug = bug
            return
        if proposal is not None and self._is_ahead(proposal, self.target):
            self.target = proposal

    def replan(self, plan: TrailPlan) -> None:
        """Replace the plan.

        The best price, the target and the first stop stay, and so do candles that fit the new plan.

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

    def entered(self, position: Position, *, is_first: bool) -> Ratchet:
        """Return the ratchet of the position as an entry has filled it by now.

        Prices before the first fill are no peaks. With a further fill, the best price and the target stay, because nothing
        loosens.

        Args:
            is_first: whether this is the first fill.
        """
        try:
            after = Ratchet(position, self.plan, self.market)
        except UsageError:  # the plan's distance is impossible at this price, but its stop is not
            after = Ratchet(replace(position, stop_price=self.first_stop), self.plan, self.market)
        after.last, after.candles, after.foreign_ticks, after.bug = (
            self.last,
            self.candles,
            self.foreign_ticks,
            self.bug,
        )
        if is_first:
            return after
        if self._is_ahead(self.best, after.best):
            after.best = self.best
        if self._is_ahead(self.target, after.target):
            after.target = self.target
        return after

    @property
    def is_crossed(self) -> bool:
        """Return whether the last price is at or beyond the target."""
        return is_crossed(self.position.side, self.last, self.target)

    def update_quiet_band(self, *, every_tick: bool = False, no_tick: bool = False) -> None:
        """Compute the band of prices in which a tick changes nothing.

        It reaches from the target to the best price, which it includes. A crossing of the live stop counts only if the
        price is beyond the target, too. So one limit serves both crossings.

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
