"""The report of a sweep: a table, JSON and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trailing.backtest import Trade
from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.practice.assumptions import describe_assumptions, describe_costs
from trailing.cli.practice.backtest_report import write_cell
from trailing.cli.tables import write_time
from trailing.core.paths import CandleOrder
from trailing.core.plan import encode_plan
from trailing.errors import UsageError
from trailing.sweep import PlanResult, SweepResult
from trailing.sweep.results import write_percent

_FIGURES = ("profit %", "high-first", "low-first", "drawdown %", "trades", "won", "open", "moves")
_DISPENSABLE = ("moves", "open", "won", "drawdown %", "trades", "low-first", "high-first")


def print_sweep(result: SweepResult, *, has_trades: bool, notes: Sequence[str]) -> None:
    """Print the best plans, how far to trust them, and the assumptions.

    Args:
        has_trades: whether there are price files with trades.
        notes: lines about the data.
    """
    axes = tuple(name.replace("_", " ") for name in result.axes)
    table = Listing((*axes, *_FIGURES), right=(*axes, *_FIGURES), left_out=_DISPENSABLE)
    for each in result.best:
        table.add_row(*each.values.values(), *_figures(each))
    print_listing(table, notes=[*judgement(result), *sweep_notes(result, has_trades=has_trades, notes=notes)])


def judgement(result: SweepResult) -> list[str]:
    """Return how far to trust the best plan, and the warnings, a line each."""
    return [*_judgement(result), *(f"warning: {warning}" for warning in result.warnings)]


def sweep_notes(result: SweepResult, *, has_trades: bool, notes: Sequence[str]) -> list[str]:
    """Return the assumptions and the notes, a line each. Arguments: as `print_sweep`."""
    return [
        "a profit is the sum of the trades of all symbols, each in percent of its entry's value, after costs",
        "open trades count at the last price; a plan counts with the order in which it gained less",
        *_walked(result),
        *describe_assumptions(result.costs, _candles(result), has_trades=has_trades),
        *notes,
    ]


def _figures(each: PlanResult) -> tuple[str, ...]:
    return (
        write_percent(each.profit),
        write_percent(each.profit_high_first),
        write_percent(each.profit_low_first),
        write_percent(each.drawdown),
        str(each.trades),
        str(each.won),
        str(each.still_open),
        str(each.moves),
    )


def _judgement(result: SweepResult) -> Iterator[str]:
    chance, forward = result.chance, result.walk_forward
    if result.is_found:
        yield "found: a plan that is better than chance"
    elif chance.best > 0:
        yield "not found: no plan is shown to be better than chance"
    else:
        yield "not found: no plan gained"
    yield (
        f"by chance: the best of {chance.tried} plans without an edge gains more than {write_percent(chance.median)} % in one of two "
        f"cases, and more than {chance.one_in_twenty:.2f} % in one of twenty; at least {chance.best:.2f} % in "
        f"{100 * chance.probability:.1f} % of cases"
    )
    values = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in result.plan_result(forward.chosen).values.items()
    )
    yield (
        f"walk-forward: the best plan until {write_time(_time(forward.border))} UTC ({values}) gained "
        f"{forward.first_profit:.2f} % in {forward.first_trades} trades, and afterwards {forward.rest_profit:.2f} % in "
        f"{forward.rest_trades} trades, rank {forward.rest_rank} of {chance.tried}"
    )
    if result.plateau is not None:
        spans = ", ".join(f"{span.axis.replace('_', ' ')} {span.least} to {span.most}" for span in result.plateau.spans)
        count = len(result.plateau.plans)
        plans = "the best plan alone" if count == 1 else f"{count} plans around the best one"
        yield f"plateau: {plans}" + (f", {spans}" if spans else "")


def _walked(result: SweepResult) -> Iterator[str]:
    for each in result.walked:
        parts = []
        if each.by_kernel:
            parts.append(f"{each.by_kernel} plans by the kernel, whose arithmetic is that of the core")
        parts += [f"{count} plans by the core, because {reason}" for reason, count in each.reasons.items()]
        yield f"{each.symbol}: {each.bars} prices; {'; '.join(parts)}"


def _candles(result: SweepResult) -> CandleOrder | None:
    return result.orders[0].candles if len(result.orders) == 1 else "both"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def print_sweep_json(result: SweepResult) -> None:
    """Print the result as one JSON document."""
    print_json(
        {
            "tried": len(result.plans),
            "axes": result.axes,
            "costs": describe_costs(result.costs),
            "candles": _candles(result),
            "found": result.is_found,
            "best": [
                msgspec.structs.asdict(each) | {"plan": encode_plan(result.plans[each.number])} for each in result.best
            ],
            "walk_forward": result.walk_forward,
            "chance": result.chance,
            "plateau": result.plateau,
            "ranges": result.ranges,
            "warnings": result.warnings,
            "walked": result.walked,
        }
    )


def write_plans_csv(path: Path, result: SweepResult) -> None:
    """Write all plans to a CSV file.

    Raises:
        UsageError: the file can't be written.
    """
    columns = result.columns()
    _write(path, "--csv", [tuple(columns), *zip(*columns.values(), strict=True)])


def write_best_trades_csv(path: Path, result: SweepResult) -> None:
    """Write the trades of the best plans to a CSV file, with the number of the plan in the first column.

    Raises:
        UsageError: the file can't be written.
    """
    names = Trade.__struct_fields__
    rows = [("plan", "candles", *names)]
    for each in result.best:
        for run in result.backtest(each.number).runs:
            for trade in run.trades:
                cells = (write_cell(getattr(trade, name)) for name in names)
                rows.append((str(each.number), run.candles or "", *cells))
    _write(path, "--trades", rows)


def _write(path: Path, option: str, rows: Sequence[Sequence[object]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    except OSError as error:
        raise UsageError(f"{option} {path} can't be written: {error.strerror or error}") from error
