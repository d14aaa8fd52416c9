"""The report of a run: profits after costs, under each assumed order of a candle's high and low."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from trailing.backtest import Costs
from trailing.backtest.costs import pay_funding, settle
from trailing.cli.json_output import print_json
from trailing.cli.practice.assumptions import describe_assumptions, describe_costs, describe_range
from trailing.cli.practice.plan_files import describe_plan
from trailing.cli.practice.replay_job import ReplayJob
from trailing.cli.reports import Report, ReportRow, add_up_profit
from trailing.cli.tables import print_report, write_time
from trailing.core.paths import CandleOrder
from trailing.core.plan import encode_plan
from trailing.core.prices import EXACT
from trailing.price_files import describe_prices


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one replay.

    Args:
        candles: the assumed order of a candle's high and low; None: no file has candles.
        resumed_at: where an interrupted run was resumed, in the data's time; None: it is a new run.
        report: the positions, with profits after costs.
        stops, unprotected: the numbers of open positions with and without a live stop.
        unknown_outcomes: the number of orders in the store whose outcome is unknown.
        ticks: the number of prices fed, those before an interruption included.
        dropped: the number of events that the store did not take.
    """

    candles: CandleOrder | None
    ended: str
    resumed_at: datetime | None
    report: Report
    stops: int
    unprotected: int
    unknown_outcomes: int
    ticks: int
    dropped: int


def subtract_costs(report: Report, job: ReplayJob) -> Report:
    """Return a report whose profits are after the costs of a job."""
    if job.costs == Costs():
        return report
    rows = tuple(_costed(row, job) for row in report.positions)
    return Report(rows, replace(report.totals, profit=add_up_profit(rows)))


def _costed(row: ReportRow, job: ReplayJob) -> ReportRow:
    if row.profit is None or row.exit_price is None or row.closed_at is None:
        return row
    key = (row.symbol, row.side)
    position = next(position for position in job.positions if (position.symbol, position.side) == key)
    series = next(file.prices for file in job.files if file.symbol == row.symbol)
    rates = job.costs.funding.get(row.symbol, ())
    funding = pay_funding(position, series, rates, position.opened_at.timestamp(), row.closed_at.timestamp())
    account = settle(position, row.exit_price, job.costs, at_market=False, funding=funding)
    with localcontext(EXACT):
        costs = account.slippage + account.fees + account.funding
        return replace(row, profit=row.profit - costs, costs=costs)


def print_results_json(job: ReplayJob, results: Sequence[Result], *, is_whole: bool) -> None:
    """Print the results as one JSON document. Those of several orders are in a list, with the range of their profits.

    Args:
        is_whole: whether no signal interrupted the run. Otherwise it has no range.
    """
    document: dict[str, Any] = {"plan": encode_plan(job.plan), "costs": describe_costs(job.costs)}
    if len(job.in_each_order()) == 1:
        print_json(document | asdict(results[0]))
        return
    profits = profit_range(results) if is_whole else None
    print_json(document | {"candles": job.candles, "runs": results, "profit_range": profits})


def profit_range(results: Sequence[Result]) -> dict[str, tuple[Decimal, Decimal]]:
    """Return the lowest and the highest profit by quote currency. A run without a closed position there has 0."""
    profits = defaultdict[str, list[Decimal]](list)
    for currency in {currency for result in results for currency in result.report.totals.profit}:
        for result in results:
            profits[currency].append(result.report.totals.profit.get(currency, Decimal(0)))
    return {currency: (min(found), max(found)) for currency, found in sorted(profits.items())}


def print_results(job: ReplayJob, results: Sequence[Result], *, is_whole: bool) -> None:
    """Print a table for each order, and the range and the assumptions below the last one. The arguments: as above."""
    orders = len(job.in_each_order())
    for result in results:
        notes = [f"{result.ended}, after {result.ticks} {'price' if result.ticks == 1 else 'prices'}"]
        if result.resumed_at is not None:
            notes.insert(0, f"this run was interrupted before, and resumed at {write_time(result.resumed_at)} UTC")
        if result is results[-1]:
            if is_whole and orders > 1:
                notes += describe_range(profit_range(results))
            notes += _describe(job)
        print_report(result.report, notes=notes, title=None if orders == 1 else f"candles: {result.candles}")


def _describe(job: ReplayJob) -> list[str]:
    has_trades = any(file.bar_seconds is None for file in job.files)
    return [
        f"plan{'' if job.own_plan else ' (the default)'}: {describe_plan(job.plan)}",
        *describe_assumptions(job.costs, job.assumed_candles, has_trades=has_trades),
        *(line for file in job.files for line in describe_prices(file.prices)),
    ]
