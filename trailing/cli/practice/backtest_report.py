"""The report of a backtest: tables, JSON and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.text import Text

from trailing.backtest import Backtest, Run, Totals, Trade
from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.practice.assumptions import describe_assumptions, describe_costs, describe_range
from trailing.cli.practice.plan_files import describe_plan
from trailing.cli.tables import write_money, write_profit, write_time
from trailing.core.paths import CandleOrder
from trailing.core.plan import encode_plan
from trailing.errors import UsageError

MOST_ROWS: Final = 100
"""The most trades that a table shows. The CSV file has all of them."""

_NUMBERS: Final = ("quantity", "entry", "exit", "profit", "moves", "MAE %", "MFE %", "bars")
_COLUMNS: Final = ("position", "side", *_NUMBERS, "entered (UTC)", "exited (UTC)", "reason")
_DISPENSABLE: Final = (
    "reason",
    "bars",
    "MFE %",
    "MAE %",
    "quantity",
    "exited (UTC)",
    "moves",
    "entered (UTC)",
    "exit",
    "entry",
)


def print_backtest(result: Backtest, *, own_plan: bool, has_trades: bool, notes: Sequence[str]) -> None:
    """Print a table of trades and totals for each order of a candle's extremes, and the assumptions.

    Args:
        own_plan: whether the plan came from a file.
        has_trades: whether there are price files with trades.
        notes: lines about the data.
    """
    for each in result.runs:
        below = list[str]()
        if len(each.trades) > MOST_ROWS:
            below.append(f"the first {MOST_ROWS} of {len(each.trades)} trades; --csv FILE writes all of them")
        if each is result.runs[-1]:
            below += backtest_notes(result, own_plan=own_plan, has_trades=has_trades, notes=notes)
        print_trades(each, title=f"candles: {each.candles}" if len(result.runs) > 1 else None, notes=below)


def backtest_notes(result: Backtest, *, own_plan: bool, has_trades: bool, notes: Sequence[str]) -> list[str]:
    """Return the range of the profits, the plan, the assumptions and the notes, a line each. Arguments: as `print_backtest`."""
    return [
        *(describe_range(result.profit_range) if len(result.runs) > 1 else ()),
        f"plan{'' if own_plan else ' (the default)'}: {describe_plan(result.plan)}",
        *describe_assumptions(result.costs, _candles(result), has_trades=has_trades),
        *notes,
    ]


def _candles(result: Backtest) -> CandleOrder | None:
    return result.runs[0].candles if len(result.runs) == 1 else "both"


def print_trades(run: Run, *, title: str | None, notes: Sequence[str]) -> None:
    """Print a table of the first trades of a run, its totals, and notes below."""
    table = Listing(_COLUMNS, right=_NUMBERS, left_out=_DISPENSABLE, title=title)
    for trade in run.trades[:MOST_ROWS]:
        table.add_row(
            trade.symbol,
            trade.side,
            write_money(trade.quantity),
            write_money(trade.entry_price),
            write_money(trade.exit_price),
            write_profit(trade.profit),
            str(trade.moves),
            f"{trade.mae:.2f}",
            f"{trade.mfe:.2f}",
            str(trade.bars),
            write_time(trade.entered_at),
            write_time(trade.exited_at),
            trade.reason or f"open; the last price is {write_money(trade.last_price)}",
        )
    for currency, totals in run.totals.items():
        _add_totals(table, currency, totals)
    print_listing(table, notes=[*map(_describe_totals, run.totals, run.totals.values()), *notes])


def _add_totals(table: Listing, currency: str, totals: Totals) -> None:
    count = "1 trade" if totals.trades == 1 else f"{totals.trades} trades"
    cells: dict[str, str | Text] = {
        "position": f"{count} {currency}",
        "profit": write_profit(totals.profit),
        "moves": str(totals.moves),
    }
    table.add_row(*(cells.get(column, "") for column in _COLUMNS), style="bold")


def _describe_totals(currency: str, totals: Totals) -> str:
    return f"{currency}: {totals.closed} closed, {totals.won} with a profit, {totals.open} open; {_parts(totals)}"


def _parts(totals: Totals) -> str:
    parts = [("slippage", totals.slippage), ("fees", totals.fees), ("funding", totals.funding)]
    paid = ", ".join(f"{name} {write_money(value)}" for name, value in parts if value)
    return f"before costs {write_money(totals.gross)}" + (f", {paid}" if paid else "")


def print_backtest_json(result: Backtest) -> None:
    """Print the result as one JSON document."""
    print_json(
        {
            "plan": encode_plan(result.plan),
            "costs": describe_costs(result.costs),
            "runs": [msgspec.structs.replace(run, stops=()) for run in result.runs],
            "profit_range": result.profit_range,
        }
    )


def write_trades_csv(path: Path, result: Backtest) -> None:
    """Write all trades to a CSV file, with the order of a candle's extremes in the first column.

    Raises:
        UsageError: the file can't be written.
    """
    names = Trade.__struct_fields__
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("candles", *names))
            for each in result.runs:
                for trade in each.trades:
                    writer.writerow((each.candles or "", *(write_cell(getattr(trade, name)) for name in names)))
    except OSError as error:
        raise UsageError(f"--csv {path} can't be written: {error.strerror or error}") from error


def write_cell(value: Any) -> str:
    """Return a value of a trade as the text of a CSV file."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
