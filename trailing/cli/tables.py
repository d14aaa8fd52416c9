"""Tables for people, and how money, times and states are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trailing.cli.position_summaries import PositionSummaries, PositionSummary
from trailing.cli.reports import Report, ReportRow
from trailing.core.model import Tick
from trailing.core.prices import ahead
from trailing.logs import escape_unprintable
from trailing.unprotected import UnprotectedTime

UNKNOWN = "unknown"
"""The text in place of an unknown figure."""

_STYLES = {
    "protected": "green",
    "waiting": "green",
    "trailing": "green",
    "unprotected": "bold red",
    "given up": "bold red",
    "unresolved": "bold red",
    "exiting": "yellow",
    "closed": "dim",
    "released": "dim",
}


def write_money(value: Decimal | None, *, digits: int = 10) -> str:
    """Return money with at most so many digits, without an exponent and without trailing zeros; None is ``""``."""
    if value is None:
        return ""
    text = f"{Context(prec=digits).plus(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def write_time(value: datetime | None) -> str:
    """Return a UTC time to the second, without its zone; None is ``""``."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def write_state(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, _STYLES.get(state, ""))


def new_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """Return a table with these columns, those in `right` aligned to the right."""
    table = Table(
        title=None if title is None else Text(escape_unprintable(title)),
        title_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def add_row(table: Table, *cells: str | Text, style: str | None = None) -> None:
    """Add a row; unprintable characters of a cell are escaped, because symbols and texts come from outside."""
    texts = (cell if isinstance(cell, Text) else Text(cell) for cell in cells)
    table.add_row(*(Text(escape_unprintable(text.plain), text.style) for text in texts), style=style)


def print_table(table: Table, *, notes: Sequence[str] = ()) -> None:
    """Print a table and notes to standard output; where that is no terminal, the table has its full width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(80, _width(table)))
    console.print(table)
    for note in notes:
        console.print(escape_unprintable(note), soft_wrap=True, markup=False)


def print_report(report: Report, *, notes: Sequence[str] = (), title: str | None = None) -> None:
    """Print a report to standard output; columns that a terminal has no room for are left out."""
    console = Console()
    is_entered = any(row.slippage is not None for row in report.positions)
    columns = [column for column in _REPORT if column != "slippage" or is_entered]
    table = report_table(report, columns, title=title)
    dispensable = [column for column in _DISPENSABLE if column in columns]
    while console.is_terminal and dispensable and _width(table) > console.width:
        columns.remove(dispensable.pop(0))
        table = report_table(report, columns, title=title)
    print_table(table, notes=[*_left_out(report), *notes])


def _left_out(report: Report) -> list[str]:
    """Return a sentence about what the totals leave out, if there is anything."""
    count = report.totals.profit_unknown
    positions = "1 closed position" if count == 1 else f"{count} closed positions"
    return [f"the profit leaves out {positions} with an unknown exit price"] if count else []


def report_table(report: Report, columns: Sequence[str], *, title: str | None = None) -> Table:
    """Return a table with a row for each position, and the totals below."""
    table = new_table(*columns, right=_NUMBERS, title=title)
    for row in report.positions:
        cells = _cells(row)
        add_row(table, *(cells[column] for column in columns))
    totals = report.totals
    count = "1 position" if totals.positions == 1 else f"{totals.positions} positions"
    for currency, profit in totals.profit.items() or [("", None)]:
        total: dict[str, str | Text] = {
            "position": f"{count} {currency}".rstrip(),
            "state": f"{totals.closed} closed" + (f", {totals.not_entered} not entered" if totals.not_entered else ""),
            "profit": _profit(profit, unknown=totals.profit_unknown > 0),
            "moves": str(totals.moves),
            "unprotected s": f"{totals.unprotected_seconds:.3f}",
            "by cause": _causes(totals.unprotected_time),
        }
        add_row(table, *(total.get(column, "") for column in columns), style="bold")
    return table


def _cells(row: ReportRow) -> dict[str, str | Text]:
    return {
        "position": row.symbol,
        "side": row.side,
        "state": write_state(row.state),
        "quantity": write_money(row.quantity),
        "entry": write_money(row.entry_price),
        "slippage": "" if row.slippage is None else f"{row.slippage:.2f}%",
        "exit": write_money(row.exit_price) or (UNKNOWN if row.state == "closed" else ""),
        "profit": _profit(row.profit, unknown=row.state == "closed"),
        "stop": write_money(row.stop_price),
        "moves": str(row.moves),
        "unprotected s": f"{row.unprotected_seconds:.3f}",
        "by cause": _causes(row.unprotected_time),
        "opened (UTC)": write_time(row.opened_at),
        "closed (UTC)": write_time(row.closed_at),
        "reason": row.reason or "",
    }


_NUMBERS = ("quantity", "entry", "slippage", "exit", "profit", "stop", "moves", "unprotected s")
_REPORT = ("position", "side", "state", *_NUMBERS, "by cause", "opened (UTC)", "closed (UTC)", "reason")
_DISPENSABLE = ("reason", "opened (UTC)", "slippage", "by cause", "quantity", "closed (UTC)", "stop", "entry")


def _causes(unprotected_time: UnprotectedTime) -> str:
    return str(unprotected_time) if unprotected_time.total else ""


def _width(table: Table) -> int:
    """Return the width of a table that nothing is cut off from."""
    return Console(width=1000).measure(table).maximum


def live_table(summaries: PositionSummaries, prices: Mapping[str, Tick]) -> Table:
    """Return a table of the positions; an open one has the profit of a close at the last price."""
    numbers = ("price", "stop", "distance", "profit", "moves", "unprotected s")
    table = new_table("position", "side", "state", *numbers, right=numbers)
    table.padding = (0, 1, 0, 0)
    for summary in summaries:
        tick = prices.get(summary.symbol)
        price = tick.price if tick is not None else None
        is_over, is_closed = summary.closed_at is not None, summary.state == "closed"
        add_row(
            table,
            summary.symbol,
            summary.side,
            write_state(summary.state),
            write_money(summary.exit_price if is_over else price, digits=6) or (UNKNOWN if is_closed else ""),
            write_money(summary.stop_price, digits=6),
            "" if is_over else _distance(summary, price),
            _profit(summary.profit if is_over else _open_profit(summary, price), digits=4, unknown=is_closed),
            str(summary.moves),
            f"{summary.unprotected_seconds:.1f}",
        )
    return table


def _distance(summary: PositionSummary, price: Decimal | None) -> str:
    if price is None or summary.stop_price is None:
        return ""
    return f"{abs(price - summary.stop_price) / price * 100:.2f}%"


def _open_profit(summary: PositionSummary, price: Decimal | None) -> Decimal | None:
    if price is None or summary.entry_price is None or summary.quantity is None:
        return None
    gain = ahead(summary.side, Decimal(0), price - summary.entry_price)
    return gain * summary.quantity


def _profit(value: Decimal | None, *, digits: int = 10, unknown: bool = False) -> Text:
    if value is None and unknown:
        return Text(UNKNOWN)
    text = write_money(value, digits=digits)
    return Text(text, "" if not value else "green" if value > 0 else "red")
