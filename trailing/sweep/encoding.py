"""Plans and bars as whole numbers, which the kernel walks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from trailing.core.model import Percent, Side
from trailing.core.plan import TrailPlan
from trailing.core.prices import EXACT
from trailing.core.rules import Breakeven, Callback, Chandelier, Distance, Rule, Steps
from trailing.sweep.kernel import BLOCK

Integers = npt.NDArray[np.int64]

KERNEL_RULES: Final = (Callback, Breakeven, Steps, Chandelier)
"""The rules that the kernel knows."""


class Scale(NamedTuple):
    """The units of whole numbers.

    Args:
        digits: a price is a multiple of 10 to the power of minus `digits`.
        den: a share is a multiple of 1 / `den`. `den` is a power of ten.
        tick: the market's tick, as a multiple of the price unit.
    """

    digits: int
    den: int
    tick: int

    def price(self, value: Decimal) -> int:
        """Return a price or an amount as a whole number."""
        return _whole(value, self.digits)

    def share(self, value: Decimal) -> int:
        """Return a share as a whole number."""
        return _whole(value, len(str(self.den)) - 1)


class PlanTable(NamedTuple):
    """The numbers of plans, for one side of one market. The kernel takes them in this order.

    Args:
        first: per plan the factor and the amount of the initial stop.
        gap: per plan the least distance of the first stop.
        trails: per plan and trailing rule the factor and the amount of its activation, then those of its distance.
        candles: per plan and Chandelier rule its multiple, its period and the row of its ranges.
        breakevens: per plan and breakeven rule the factor and the amount of its activation, then those of its stop.
    """

    first: Integers
    gap: Integers
    trails: Integers
    candles: Integers
    breakevens: Integers


def find_scale(plans: Sequence[TrailPlan], digits: int, tick: Decimal) -> Scale:
    """Return units in which every number of the plans and of a market is whole.

    Args:
        digits: the decimals of the prices.
        tick: of the market.
    """
    shares, amounts = [Decimal(1)], [tick, Decimal((0, (1,), -digits))]
    for plan in plans:
        for value in _distances(plan):
            if isinstance(value, Percent):
                shares.append(value.value / 100)
            else:
                amounts.append(value)
        shares += [rule.multiple for rule in plan.rules if isinstance(rule, Chandelier)]
    finest = max(map(decimals, amounts))
    return Scale(finest, 10 ** max(4, *map(decimals, shares)), _whole(tick, finest))


def encode_plans(plans: Sequence[TrailPlan], side: Side, scale: Scale, periods: Sequence[int]) -> PlanTable:
    """Return the numbers of plans whose rules the kernel knows.

    Args:
        periods: the period of each row of ranges.
    """
    count = len(plans)
    trails = [list(_trails(plan, side, scale)) for plan in plans]
    breakevens = [
        [
            (*_ahead(rule.at, side, scale), *_ahead(rule.offset, side, scale))
            for rule in plan.rules
            if isinstance(rule, Breakeven)
        ]
        for plan in plans
    ]
    candles = [
        [
            (scale.share(rule.multiple), rule.period, periods.index(rule.period))
            for rule in plan.rules
            if isinstance(rule, Chandelier)
        ]
        for plan in plans
    ]
    first = [_behind(plan.initial_stop, side, scale) for plan in plans]
    return PlanTable(
        np.array(first, np.int64).reshape(count, 2),
        np.array([plan.min_stop_ticks * scale.tick for plan in plans], np.int64),
        _table(trails, 4),
        _table(candles, 3),
        _table(breakevens, 4),
    )


def _table(rows: Sequence[Sequence[tuple[int, ...]]], width: int) -> Integers:
    table = np.zeros((len(rows), max(map(len, rows), default=0), width), np.int64)
    for number, row in enumerate(rows):
        for place, values in enumerate(row):
            table[number, place] = values
    return table


def _trails(plan: TrailPlan, side: Side, scale: Scale) -> Any:
    for rule in plan.rules:
        match rule:
            case Callback():
                yield (*_ahead(rule.activation, side, scale), *_behind(rule.distance, side, scale))
            case Steps():
                # The highest step that is reached proposes the tightest stop of all that are reached.
                for profit, distance in rule.steps:
                    yield (*_ahead(profit, side, scale), *_behind(distance, side, scale))


def _ahead(distance: Distance, side: Side, scale: Scale) -> tuple[int, int]:
    """Return the factor and the amount of a price ahead. The factor is 0 if no price is so far ahead."""
    if not isinstance(distance, Percent):
        return scale.den, scale.price(distance) * scale.den
    share = scale.share(distance.value / 100)
    return max(0, scale.den + (share if side == "long" else -share)), 0


def _behind(distance: Distance, side: Side, scale: Scale) -> tuple[int, int]:
    if not isinstance(distance, Percent):
        return scale.den, scale.price(distance) * scale.den
    share = scale.share(distance.value / 100)
    return scale.den + (share if side == "short" else -share), 0


def _distances(plan: TrailPlan) -> list[Distance]:
    found = [plan.initial_stop]
    for rule in plan.rules:
        match rule:
            case Callback():
                found += [rule.distance, rule.activation]
            case Breakeven():
                found += [rule.at, rule.offset]
            case Steps():
                found += [value for step in rule.steps for value in step]
    return found


def largest_share(plans: Sequence[TrailPlan], den: int) -> int:
    """Return the largest factor, as a multiple of 1 / `den`, that a walk of the plans multiplies a price by."""
    largest = 2 * den
    for plan in plans:
        for value in _distances(plan):
            if isinstance(value, Percent):
                largest = max(largest, den + _whole(value.value / 100, len(str(den)) - 1))
        for rule in plan.rules:
            if isinstance(rule, Chandelier):
                largest = max(largest, den * rule.period, _whole(rule.multiple, len(str(den)) - 1) * rule.period)
    return largest


def largest_amount(plans: Sequence[TrailPlan], scale: Scale) -> int:
    """Return the largest amount of the plans, as a multiple of the price unit."""
    return max(
        (scale.price(value) for plan in plans for value in _distances(plan) if isinstance(value, Decimal)), default=0
    )


def decimals(value: Decimal) -> int:
    """Return the number of decimals that a value needs."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _whole(value: Decimal, digits: int) -> int:
    scaled = EXACT.scaleb(value, digits)
    whole = int(scaled)
    assert whole == scaled, (value, digits)
    return whole


class BarView(NamedTuple):
    """The prices of one symbol, as one side sees them. The kernel takes them in this order.

    A short's prices are negated, so that its best price is the highest number.

    Args:
        block_highs, block_lows: the highest and the lowest price of each block of bars.
        ranges: per period and bar the sum of the true ranges of so many bars before it; 0 where they are too few.
    """

    opens: Integers
    highs: Integers
    lows: Integers
    closes: Integers
    block_highs: Integers
    block_lows: Integers
    ranges: Integers


def view_bars(prices: Integers, side: Side, periods: Sequence[int]) -> BarView:
    """Return bars as a side sees them.

    Args:
        prices: four rows: opens, highs, lows and closes, in price units.
        periods: the numbers of true ranges that rules sum up.
    """
    rows = prices if side == "long" else -prices[[0, 2, 1, 3]]
    opens, highs, lows, closes = map(np.ascontiguousarray, rows)
    blocks = np.arange(0, opens.shape[0], BLOCK)
    ranges = np.zeros((len(periods), opens.shape[0]), np.int64)
    if periods:
        spans = np.maximum(highs[1:], closes[:-1]) - np.minimum(lows[1:], closes[:-1])
        summed = np.concatenate([np.zeros(2, np.int64), np.cumsum(spans)])  # up to the bar before each one
        for row, period in enumerate(periods):
            ranges[row, period + 1 :] = (
                summed[period + 1 : -1] - summed[1 : -1 - period] if summed.shape[0] > period + 2 else 0
            )
    return BarView(
        opens,
        highs,
        lows,
        closes,
        np.maximum.reduceat(highs, blocks),
        np.minimum.reduceat(lows, blocks),
        ranges,
    )


def knows_rule(rule: Rule) -> bool:
    """Return whether the kernel knows a rule. A bot's own subclass of a rule is not known."""
    return type(rule) in KERNEL_RULES
