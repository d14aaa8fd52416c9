"""Suggest plans from the own closed positions of a bot: what went against them, and which plans would have done best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec.structs import replace

from trailing.backtest.costs import Costs
from trailing.backtest.entries import EntryPoint
from trailing.backtest.own import OwnPosition, is_covered, own_trade
from trailing.backtest.results import Totals, Trade, add_up
from trailing.backtest.series import Series, is_bars
from trailing.core.model import Market, refuse
from trailing.core.paths import AssumedOrder, CandleOrder, assumed_orders
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError
from trailing.errors import suggest as similar
from trailing.sweep.chance import Chance, best_by_chance
from trailing.sweep.grids import Grid, plans_of
from trailing.sweep.intervals import Interval, draw_weights, mean_interval, quantile_interval
from trailing.sweep.per_entry import PerEntry, Steps, walk_per_entry
from trailing.sweep.results import axes_as_text
from trailing.sweep.running import Progress

LEAST_TRADES: Final = 30
"""With fewer trades there is no interval and no plan.

Measured with trades of which six in ten lose about 1 and four gain an exponential of mean 2: the true mean was inside the
95 % interval in 76 % of 2,000 draws of 5 trades, in 84 % of 10 trades, 89 % of 20, 92 % of 30 and 93 % of 100.
"""

_NO_COSTS: Final = Costs()
_LEVELS: Final = (0.5, 0.9)
_MOST_PROFITS: Final = 20_000_000  # 160 MB for each order of a bar's extremes


class Excursions(msgspec.Struct, frozen=True, kw_only=True):
    """A quantile of the excursions of the own trades, in percent of the entry price.

    Args:
        kind: ``"mae"`` or ``"mfe"``.
        won: whether it is of the trades that ended with a profit after costs; False: of the others.
        level: 0.5 is the median; at 0.9, nine of ten excursions are smaller.
        trades: the number of these trades.
        quantile: None: there are less than `LEAST_TRADES`.
    """

    kind: str
    won: bool
    level: float
    trades: int
    quantile: Interval | None


class SuggestedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan on the own entries. Profits are per trade, in percent of the value of its entry, after costs.

    The figures are those of the order of a bar's extremes in which the plan gained less.

    Args:
        number: of the plan, from 0 on; `values`: of a grid, the value on each axis.
        candles: that order; None: there are no bars.
        mean: the mean profit of a trade.
        gain: the mean of what a trade gained more than the own one.
        still_open: the trades that are open when the data end. They count at the last price.
        refused: the entries for which the plan has no possible first stop. They count with a profit of 0.
    """

    number: int
    values: dict[str, str]
    plan: TrailPlan
    candles: AssumedOrder | None
    mean: Interval
    gain: Interval
    still_open: int
    refused: int


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """What the own closed positions of one quote currency say.

    Args:
        currency: the quote currency.
        positions: by the time of their entry; `trades`: the same as trades.
        totals: their sums, in the currency.
        left_out: the number of positions that the prices do not cover.
        own: the mean profit of a trade, in percent; None: there are less than `LEAST_TRADES` trades.
        excursions: quantiles of MAE and MFE.
        best: the best plans, the best one first; empty: there are less than `LEAST_TRADES` trades.
        tried: the number of plans.
        reasons: why the core walked trades, each with their number under one order of a bar's extremes. The kernel walked
            the others.
        chance: the sum of what the best plan gained more than the own trades, beside that of plans that are no better; None:
            there are less than `LEAST_TRADES` trades.
    """

    currency: str
    positions: tuple[OwnPosition, ...]
    trades: tuple[Trade, ...]
    totals: Totals
    left_out: int
    own: Interval | None
    excursions: tuple[Excursions, ...]
    best: tuple[SuggestedPlan, ...]
    tried: int
    reasons: dict[str, int]
    chance: Chance | None


def suggest(
    positions: Iterable[OwnPosition],
    prices: Mapping[str, Series],
    plans: Grid | Sequence[TrailPlan],
    *,
    costs: Costs = _NO_COSTS,
    candles: CandleOrder = "both",
    markets: Mapping[str, Market] | None = None,
    best: int = 5,
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Suggestion, ...]:
    """Return, for each quote currency, the excursions of own positions, and the plans that would have done best on them.

    Args:
        positions: closed positions. Those that the prices do not cover are left out and counted.
        prices: bars or trades of each symbol.
        plans: a grid, or plans. Each is walked from every own entry on, with the trades of `trailing.backtest.run`.
        costs: slippage and fee, without funding. Slippage counts for the plans only.
        candles: which extreme of a bar is assumed to come first. ``"both"`` walks both orders.
        markets: the rules of symbols; by default a tick of 1e-8.
        best: how many of the best plans are returned, at least 1.
        resamples, seed: of the intervals and of the by-chance figure.
        progress: is called while the plans are walked.

    Raises:
        UsageError: an argument can't be right, a symbol has no prices, or the prices cover no position.
    """
    _check(costs, best=best, resamples=resamples)
    orders: Sequence[bool | None] = assumed_orders(candles)
    if not any(is_bars(series) for series in prices.values()):
        orders = (None,)
    found, cells = plans_of(plans)
    if any(plan.native for plan in found):
        raise UsageError("TrailPlan.native got True, wants False in a sweep, because no exchange trails here")
    given = sorted(positions, key=lambda own: own.position.opened_at)
    for own in given:
        if own.position.symbol not in prices:
            raise UsageError(f"{own.position.symbol} has no prices.{similar(own.position.symbol, prices)}")
    covered, lost = list[OwnPosition](), Counter[str]()
    for own in given:
        if is_covered(own, prices[own.position.symbol]):
            covered.append(own)
        else:
            lost[_currency(own)] += 1
    if not covered:
        raise UsageError(f"the prices cover none of {len(given)} closed positions, from entry to exit")
    groups: dict[str, list[tuple[OwnPosition, Trade]]] = {}
    for own in covered:
        trade = own_trade(own, prices[own.position.symbol], costs)
        groups.setdefault(trade.currency, []).append((own, trade))
    axes = axes_as_text(plans.axes) if isinstance(plans, Grid) else {}
    rows = [
        {name: values[index] for (name, values), index in zip(axes.items(), cell, strict=True)}
        for cell in cells or [()] * len(found)
    ]
    enough = sum(len(group) for group in groups.values() if len(group) >= LEAST_TRADES)
    if enough * len(found) > _MOST_PROFITS:
        raise UsageError(
            f"{len(found):,} plans on {enough:,} positions are {enough * len(found):,} profits, and at most "
            f"{_MOST_PROFITS:,} are kept: give fewer values, or a later time"
        )
    steps = Steps(progress, enough * len(orders))
    suggestions = []
    for currency, group in sorted(groups.items()):
        trades = tuple(trade for _, trade in group)
        suggestion = Suggestion(
            currency=currency,
            positions=tuple(own for own, _ in group),
            trades=trades,
            totals=add_up(trades)[currency],
            left_out=lost[currency],
            own=None,
            excursions=tuple(_excursions(trades, resamples=resamples, seed=seed)),
            best=(),
            tried=len(found),
            reasons={},
            chance=None,
        )
        if len(trades) >= LEAST_TRADES:
            symbols = {trade.symbol for trade in trades}
            some = {symbol: series for symbol, series in prices.items() if symbol in symbols}
            known = {symbol: (markets or {}).get(symbol) or Market(symbol) for symbol in some}
            entries = [EntryPoint(own.position) for own, _ in group]
            results = [walk_per_entry(found, some, entries, known, costs, order, steps) for order in orders]
            suggestion = _judge(suggestion, found, rows, results, best=best, resamples=resamples, seed=seed)
        suggestions.append(suggestion)
    return tuple(suggestions)


def _check(costs: Any, *, best: Any, resamples: Any) -> None:
    if not isinstance(costs, Costs):
        raise refuse("costs", costs, "a Costs")
    if costs.funding:
        raise UsageError("costs.funding has rates, but plans are suggested without funding")
    for name, value in (("best", best), ("resamples", resamples)):
        if type(value) is not int or value < 1:
            raise refuse(name, value, "a whole number of at least 1")


def _currency(own: OwnPosition) -> str:
    return own.position.symbol.partition("/")[2].partition(":")[0]


def _judge(
    suggestion: Suggestion,
    plans: tuple[TrailPlan, ...],
    rows: Sequence[dict[str, str]],
    orders: Sequence[PerEntry],
    *,
    best: int,
    resamples: int,
    seed: int,
) -> Suggestion:
    own = np.array([_share(trade) for trade in suggestion.trades])
    sums = np.array([order.profits.sum(axis=1) for order in orders])
    worse = sums.argmin(axis=0)
    profits = np.array([order.profits for order in orders])[worse, np.arange(len(plans))]
    weights = draw_weights(len(own), resamples=resamples, seed=seed)
    ranked = np.argsort(-sums.min(axis=0), kind="stable")[:best]
    return replace(
        suggestion,
        own=mean_interval(100 * own, weights),
        best=tuple(
            SuggestedPlan(
                number=int(number),
                values=rows[number],
                plan=plans[number],
                candles=orders[worse[number]].candles,
                mean=mean_interval(100 * profits[number], weights),
                gain=mean_interval(100 * (profits[number] - own), weights),
                still_open=int(orders[worse[number]].still_open[number]),
                refused=int(orders[worse[number]].refused[number]),
            )
            for number in ranked
        ),
        reasons=dict(orders[0].reasons),
        chance=best_by_chance(profits - own, resamples=resamples, seed=seed),
    )


def _excursions(trades: Sequence[Trade], *, resamples: int, seed: int) -> Iterator[Excursions]:
    for won in (True, False):
        some = [trade for trade in trades if (_share(trade) > 0) == won]
        for kind in ("mae", "mfe"):
            values = np.array([float(getattr(trade, kind)) for trade in some])
            for level in _LEVELS:
                quantile = None
                if len(some) >= LEAST_TRADES:
                    quantile = quantile_interval(values, level, resamples=resamples, seed=seed)
                yield Excursions(kind=kind, won=won, level=level, trades=len(some), quantile=quantile)


def _share(trade: Trade) -> float:
    """Return the profit of a closed trade as a share of its entry's value."""
    assert trade.profit is not None, "the position is closed"
    return float(trade.profit / (trade.entry_price * trade.quantity))
