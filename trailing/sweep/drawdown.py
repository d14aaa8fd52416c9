"""Compute the drawdown of a plan from its trades in all symbols, by the time of their exits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trailing.backtest.costs import Costs
from trailing.backtest.series import times_of
from trailing.core.plan import TrailPlan
from trailing.sweep.kernel import OPEN, REFUSED
from trailing.sweep.lanes import Lane
from trailing.sweep.pieces import walk_by_core, walk_by_kernel
from trailing.sweep.results import OrderResult


def drawdown_of(
    lanes: Sequence[Lane], plan: TrailPlan, number: int, orders: Sequence[OrderResult], costs: Costs
) -> float:
    """Return the largest fall of the sum of profits of closed trades, in percent of the value of an entry.

    The trades of all symbols count in the order of the bars in which they ended. The order of a bar's extremes is the
    one in which the plan gained less.

    Args:
        number: of the plan, in the results.
    """
    order = min(orders, key=lambda each: float(each.profits[number].sum()))
    high_first = order.candles != "low-first"
    ends, gains = list[int](), list[float]()
    for lane in lanes:
        if number in lane.by_core:
            trades, _ = walk_by_core(lane, plan, high_first=high_first)
        else:
            trades = walk_by_kernel(lane, plan, high_first=high_first)
        entry_cost, exit_cost = map(float, lane.cost_shares(costs))
        times = times_of(lane.series)
        for _, entry, bar, price, _, end, *_ in trades:
            if end not in (OPEN, REFUSED):
                ends.append(times[bar])
                gains.append((price - entry) / abs(entry) - entry_cost - exit_cost * abs(price / entry))
    if not ends:
        return 0.0
    equity = np.cumsum(np.array(gains)[np.argsort(np.array(ends, np.int64), kind="stable")])
    peaks = np.maximum(np.maximum.accumulate(equity), 0.0)
    return 100 * float((peaks - equity).max())
