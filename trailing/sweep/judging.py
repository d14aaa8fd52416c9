"""Rank the plans of a sweep, and say how far to trust the best one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trailing.backtest.costs import Costs
from trailing.backtest.series import times_of
from trailing.core.model import Percent
from trailing.core.plan import TrailPlan
from trailing.core.rules import Callback, Chandelier, Steps
from trailing.sweep.chance import best_by_chance
from trailing.sweep.drawdown import drawdown_of
from trailing.sweep.kernel import EARLY, REFUSALS, TRADES
from trailing.sweep.lanes import Columns, Lane, Timeline
from trailing.sweep.plateau import Cell, edges_of, find_plateau
from trailing.sweep.results import OrderResult, SweepInputs, SweepResult, WalkedSymbol, axes_as_text, worse_order
from trailing.sweep.walk_forward import walk_forward

FEW_TRADES: Final = 30
"""With fewer trades a result depends on a few of them."""

WIDE_ENOUGH: Final = 3.0
"""Mean ranges of a bar from which on a trailing distance gives the profit of the true path.

Measured on random walks of 256 steps per bar, with an entry after each exit: a trade under a callback of 0.2 to 0.4
ranges gained 0.2 to 0.07 ranges that were not there, one of 0.5 to 2 ranges lost up to 0.16, and from 3 ranges on the
difference was below 0.01. The reason is that a price that turns more than once inside a bar has only one high and one
low in the model.
"""


def judge(
    plans: tuple[TrailPlan, ...],
    axes: Mapping[str, tuple[Any, ...]],
    cells: tuple[Cell, ...],
    costs: Costs,
    orders: tuple[OrderResult, ...],
    lanes: Sequence[Lane],
    timeline: Timeline,
    inputs: SweepInputs,
    *,
    best: int,
    resamples: int,
    seed: int,
) -> SweepResult:
    """Return the result of a sweep, from what its plans gained.

    Args:
        axes: of a grid; empty for plans that are no grid.
        best: the number of plans to show.
        resamples, seed: of the by-chance figure.
    """
    counts, profits = worse_order(orders)
    totals = profits.sum(axis=1)
    ranked = np.argsort(-totals, kind="stable")[:best]
    first = int(ranked[0])
    ranges = _ranges_of(plans[first], lanes)
    result = SweepResult(
        plans=plans,
        axes=axes_as_text(axes),
        cells=cells,
        costs=costs,
        orders=orders,
        edges=timeline.edges,
        best=(),
        walk_forward=walk_forward(
            profits, counts[:, TRADES], counts[:, EARLY], early=timeline.early, border=timeline.edges[timeline.early]
        ),
        chance=best_by_chance(profits, resamples=resamples, seed=seed),
        plateau=find_plateau(cells, axes, profits, first) if axes else None,
        ranges=ranges,
        warnings=tuple(_warnings(edges_of(first, cells, axes, totals) if axes else [], counts[first], ranges)),
        walked=_walked(lanes, len(plans)),
        inputs=inputs,
    )
    shown = tuple(
        result.plan_result(int(number), drawdown=drawdown_of(lanes, plans[number], int(number), orders, costs))
        for number in ranked
    )
    return replace(result, best=shown)


def _warnings(
    edges: Sequence[tuple[str, str, str]], counts: npt.NDArray[np.int64], ranges: float | None
) -> Iterator[str]:
    for name, value, edge in edges:
        direction = "larger" if edge == "largest" else "smaller"
        yield (
            f"the best plan lies at the edge of the grid: its {name.replace('_', ' ')}, {value}, is the {edge}; "
            f"try {direction} ones"
        )
    number = int(counts[TRADES])
    if number < FEW_TRADES:
        trades = "1 trade" if number == 1 else f"{number} trades"
        yield f"the best plan rests on {trades}; with less than {FEW_TRADES} its profit may be chance"
    if ranges is not None and ranges < WIDE_ENOUGH:
        yield (
            f"the best plan trails at {ranges:.2g} times the mean range of a bar. Below {WIDE_ENOUGH:g} times, its profit "
            "depends on the path inside the bars, which is not known; use shorter bars or trades"
        )
    if counts[REFUSALS]:
        yield f"{int(counts[REFUSALS])} entries have no possible first stop under the best plan, and were left out"


def _ranges_of(plan: TrailPlan, lanes: Sequence[Lane]) -> float | None:
    """Return how many mean ranges of a bar the tightest trailing distance is; None: it does not trail, or not on bars."""
    found = []
    for series in {lane.symbol: lane.series for lane in lanes}.values():
        if not isinstance(series, Columns):
            continue
        opens, highs, lows = (np.asarray(column, np.float64) for column in (series.open, series.high, series.low))
        unit, mean = float(series.price(1)), float(((highs - lows) / opens).mean())
        for rule in plan.rules:
            match rule:
                case Callback(distance=distance) | Steps(steps=(*_, (_, distance))):
                    share = (
                        float(distance.value) / 100
                        if isinstance(distance, Percent)
                        else float(distance) / (unit * float(opens.mean()))
                    )
                    found.append(share / mean if mean else np.inf)
                case Chandelier(multiple=multiple):
                    found.append(float(multiple))
                case _:
                    pass
    return min(found, default=None)


def _walked(lanes: Sequence[Lane], plans: int) -> tuple[WalkedSymbol, ...]:
    return tuple(
        WalkedSymbol(
            symbol=symbol,
            bars=len(times_of(lane.series)),
            by_kernel=plans - len(lane.by_core),
            by_core=len(lane.by_core),
            reasons=dict(Counter(lane.by_core.values())),
        )
        for symbol, lane in {lane.symbol: lane for lane in lanes}.items()
    )
