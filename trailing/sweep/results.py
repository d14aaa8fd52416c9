"""The results of a sweep, as records and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from trailing.backtest.costs import Costs
from trailing.backtest.entries import AlwaysIn, EntryPoint, Every
from trailing.backtest.results import Backtest
from trailing.backtest.running import run
from trailing.backtest.series import Series
from trailing.core.model import Market
from trailing.core.paths import AssumedOrder, CandleOrder
from trailing.core.plan import TrailPlan
from trailing.sweep.chance import Chance
from trailing.sweep.kernel import GAINS, MOVES, REFUSALS, STILL_OPEN, TRADES
from trailing.sweep.plateau import Cell, Plateau, write_value
from trailing.sweep.walk_forward import WalkForward

_RARE: Final = 0.05
"""The level of the by-chance figure at which a profit counts as found."""


class WalkedSymbol(msgspec.Struct, frozen=True, kw_only=True):
    """How the plans were walked along the prices of a symbol.

    Args:
        bars: the number of bars, or of trades.
        by_kernel, by_core: the numbers of plans.
        reasons: why plans were walked by the core, each with the number of plans.
    """

    symbol: str
    bars: int
    by_kernel: int
    by_core: int
    reasons: dict[str, int]


class PlanResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one plan.

    Every trade counts with the same stake. A profit of 5 % is 5 % of the value of one entry, after costs. The figures
    are those of the order of a bar's extremes with the lower profit, if nothing else is said.

    Args:
        number: of the plan, from 0 on.
        values: of a grid, the value on each axis.
        profit: in percent; open trades count at the last price.
        profit_high_first, profit_low_first: under each order; None: it was not walked.
        drawdown: the largest fall of the sum of profits of closed trades, in percent; None: not computed.
        trades, won, still_open: the numbers of trades.
        refused: entries for which the plan has no possible first stop.
        moves: the number of moves of all stops.
    """

    number: int
    values: dict[str, str]
    profit: float
    profit_high_first: float | None
    profit_low_first: float | None
    drawdown: float | None
    trades: int
    won: int
    still_open: int
    refused: int
    moves: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """The results of all plans under one order of a bar's extremes.

    Args:
        candles: the order; None: there are only trades, which have none.
        counts: per plan the trades, those that gained, the open ones, the refused entries, the moves, and the trades of
            the first part.
        sums: per lane and plan the sums of the entry prices and of the exit prices of closed trades, in the units of
            the lane, exact.
        profits: per plan and segment of time, as a share of the value of an entry, after costs.
    """

    candles: AssumedOrder | None
    counts: npt.NDArray[np.int64]
    sums: tuple[npt.NDArray[Any], ...]
    profits: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepInputs:
    """What the plans of a sweep were walked along, as `trailing.backtest.run` takes it."""

    prices: Mapping[str, Series]
    entries: Sequence[EntryPoint] | Every | AlwaysIn
    candles: CandleOrder
    markets: Mapping[str, Market]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The result of `trailing.sweep.run`.

    Args:
        plans: every plan.
        axes: of a grid, the values of each axis, as text; `cells`: of each plan, the index of its value on each axis.
        costs: as they were given.
        orders: the results under each order of a bar's extremes.
        edges: UTC milliseconds at which the segments of time begin, and at which the last one ends.
        best: the best plans, the best one first.
        walk_forward, chance: how far to trust the best one.
        plateau: of a grid; else None.
        ranges: the tightest trailing distance of the best plan, in mean ranges of a bar; None: it does not trail on bars.
        warnings: plain sentences.
        walked: how each symbol was walked.
        inputs: what every plan was walked along.
    """

    plans: tuple[TrailPlan, ...]
    axes: dict[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    costs: Costs
    orders: tuple[OrderResult, ...]
    edges: tuple[int, ...]
    best: tuple[PlanResult, ...]
    walk_forward: WalkForward
    chance: Chance
    plateau: Plateau | None
    ranges: float | None
    warnings: tuple[str, ...]
    walked: tuple[WalkedSymbol, ...]
    inputs: SweepInputs

    @property
    def is_found(self) -> bool:
        """Return whether the sweep found a plan that is better than chance.

        The best profit has a probability of at most 5 % by chance, the plan that was chosen on the first part gained on
        the rest, and the best plan does not trail inside the range of a bar, where the model may invent a profit.
        """
        is_rare = self.chance.probability <= _RARE
        return is_rare and self.walk_forward.rest_profit > 0 and (self.ranges is None or self.ranges >= 1)

    def worse_order_of(self, number: int) -> OrderResult:
        """Return the results under the order of a bar's extremes in which a plan gained less.

        Args:
            number: of the plan, from 0 on.
        """
        return min(self.orders, key=lambda order: float(order.profits[number].sum()))

    def plan_result(self, number: int, *, drawdown: float | None = None) -> PlanResult:
        """Return the result of a plan.

        Args:
            number: of the plan, from 0 on.
            drawdown: is passed on.
        """
        order = self.worse_order_of(number)
        counts = order.counts[number]
        profits = {each.candles: 100 * float(each.profits[number].sum()) for each in self.orders}
        return PlanResult(
            number=number,
            values={
                name: values[index]
                for (name, values), index in zip(
                    self.axes.items(), self.cells[number] if self.cells else (), strict=True
                )
            },
            profit=min(profits.values()),
            profit_high_first=profits.get("high-first"),
            profit_low_first=profits.get("low-first"),
            drawdown=drawdown,
            trades=int(counts[TRADES]),
            won=int(counts[GAINS]),
            still_open=int(counts[STILL_OPEN]),
            refused=int(counts[REFUSALS]),
            moves=int(counts[MOVES]),
        )

    def backtest(self, number: int, *, candles: CandleOrder | None = None, keeps_stops: bool = False) -> Backtest:
        """Return the trades of a plan, walked by the core.

        Args:
            number: of the plan, from 0 on.
            candles: which extreme of a bar is assumed to come first; None: as in the sweep.
            keeps_stops: whether `Run.stops` is filled, for a picture.

        Raises:
            UsageError: the plan has no possible first stop for one of the entries.
        """
        given = self.inputs
        return run(
            self.plans[number],
            given.prices,
            given.entries,
            costs=self.costs,
            candles=candles or given.candles,
            markets=given.markets,
            keeps_stops=keeps_stops,
        )

    def records(self) -> list[dict[str, Any]]:
        """Return a dict for each plan, as ``pandas.DataFrame`` and ``polars.DataFrame`` take them."""
        return [_flat(self.plan_result(number)) for number in range(len(self.plans))]

    def columns(self) -> dict[str, list[Any]]:
        """Return the plans as columns: the name of each field with its values."""
        records = self.records()
        return {name: [record[name] for record in records] for name in records[0]}


def _flat(result: PlanResult) -> dict[str, Any]:
    record = msgspec.structs.asdict(result)
    values = record.pop("values")
    return {"number": record.pop("number"), **values, **record}


def worse_order(orders: Sequence[OrderResult]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the counts and the profits of each plan under the order in which it gained less."""
    first, *others = orders
    counts, profits = first.counts.copy(), first.profits.copy()
    for other in others:
        worse = other.profits.sum(axis=1) < profits.sum(axis=1)
        counts[worse], profits[worse] = other.counts[worse], other.profits[worse]
    return counts, profits


def axes_as_text(axes: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the values of axes as text."""
    return {name: tuple(map(write_value, values)) for name, values in axes.items()}


def write_percent(value: float | None) -> str:
    """Return a figure of a table with two decimals; None: an empty text. -0 is written as 0."""
    return "" if value is None else f"{round(value, 2) + 0.0:.2f}"
