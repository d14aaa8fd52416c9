"""Tables for people, and how money, times and states are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal

from rich.table import Table
from rich.text import Text

from trailing.cli.listings import Listing, print_listing
from trailing.cli.position_summaries import PositionSummaries, PositionSummary
from trailing.cli.reports import Report, ReportRow
from trailing.core.model import Tick
from trailing.core.prices import ahead
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


def print_report(report: Report, *, notes: Sequence[str] = (), title: str | None = None) -> None:
    """Print a report to standard output; columns that a terminal has no room for are left out."""
    rows = report.positions
    empty = {name for name in _OPTIONAL if all(getattr(row, name) is None for row in rows)}
    columns = [name for name in _REPORT if name not in empty]
    print_listing(list_report(report, columns, title=title), notes=[*_left_out(report), *notes])


def _left_out(report: Report) -> list[str]:
    """Return a sentence about what the totals leave out, if there is anything."""
    count = report.totals.profit_unknown
    positions = "1 closed position" if count == 1 else f"{count} closed positions"
    return [f"the profit leaves out {positions} with an unknown exit price"] if count else []


def list_report(report: Report, columns: Sequence[str], *, title: str | None = None) -> Listing:
    """Return a row for each position, and the totals below."""
    table = Listing(columns, right=_NUMBERS, left_out=_DISPENSABLE, title=title)
    for row in report.positions:
        cells = _cells(row)
        table.add_row(*(cells[column] for column in columns))
    totals = report.totals
    count = "1 position" if totals.positions == 1 else f"{totals.positions} positions"
    for currency, profit in totals.profit.items() or [("", None)]:
        total: dict[str, str | Text] = {
            "position": f"{count} {currency}".rstrip(),
            "state": f"{totals.closed} closed" + (f", {totals.not_entered} not entered" if totals.not_entered else ""),
            "profit": write_profit(profit, unknown=totals.profit_unknown > 0),
            "moves": str(totals.moves),
            "unprotected s": f"{totals.unprotected_seconds:.3f}",
            "by cause": _causes(totals.unprotected_time),
        }
        table.add_row(*(total.get(column, "") for column in columns), style="bold")
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
        "profit": write_profit(row.profit, unknown=row.state == "closed"),
        "costs": write_money(row.costs),
        "stop": write_money(row.stop_price),
        "moves": str(row.moves),
        "unprotected s": f"{row.unprotected_seconds:.3f}",
        "by cause": _causes(row.unprotected_time),
        "opened (UTC)": write_time(row.opened_at),
        "closed (UTC)": write_time(row.closed_at),
        "reason": row.reason or "",
    }


_NUMBERS = ("quantity", "entry", "slippage", "exit", "profit", "costs", "stop", "moves", "unprotected s")
_REPORT = ("position", "side", "state", *_NUMBERS, "by cause", "opened (UTC)", "closed (UTC)", "reason")
_OPTIONAL = ("slippage", "costs")
_DISPENSABLE = (
    "reason",
    "costs",
    "opened (UTC)",
    "slippage",
    "by cause",
    "quantity",
    "closed (UTC)",
    "entry",
    "moves",
    "unprotected s",
    "exit",
    "state",
)


def _causes(unprotected_time: UnprotectedTime) -> str:
    return str(unprotected_time) if unprotected_time.total else ""


def live_table(
    summaries: PositionSummaries, prices: Mapping[str, Tick], width: int | None = None, *, title: str | None = None
) -> Table:
    """Return a table of the positions; an open one has the profit of a close at the last price. `width`: of the terminal."""
    numbers = ("price", "stop", "distance", "profit", "moves", "unprotected s")
    table = Listing(("position", "side", "state", *numbers), right=numbers, left_out=_DISPENSABLE_LIVE, title=title)
    for summary in summaries:
        tick = prices.get(summary.symbol)
        price = tick.price if tick is not None else None
        is_over, is_closed = summary.closed_at is not None, summary.state == "closed"
        table.add_row(
            summary.symbol,
            summary.side,
            write_state(summary.state),
            write_money(summary.exit_price if is_over else price, digits=6) or (UNKNOWN if is_closed else ""),
            write_money(summary.stop_price, digits=6),
            "" if is_over else _distance(summary, price),
            write_profit(summary.profit if is_over else _open_profit(summary, price), digits=4, unknown=is_closed),
            str(summary.moves),
            f"{summary.unprotected_seconds:.1f}",
        )
    return table.fitting(width)[0]


_DISPENSABLE_LIVE = ("moves", "distance", "unprotected s", "price", "state")


def _distance(summary: PositionSummary, price: Decimal | None) -> str:
    if price is None or summary.stop_price is None:
        return ""
    return f"{abs(price - summary.stop_price) / price * 100:.2f}%"


def _open_profit(summary: PositionSummary, price: Decimal | None) -> Decimal | None:
    if price is None or summary.entry_price is None or summary.quantity is None:
        return None
    gain = ahead(summary.side, Decimal(0), price - summary.entry_price)
    return gain * summary.quantity


def write_profit(value: Decimal | None, *, digits: int = 10, unknown: bool = False) -> Text:
    """Return a profit in its colour. `unknown`: None is an unknown profit, and otherwise there is none."""
    if value is None and unknown:
        return Text(UNKNOWN)
    text = write_money(value, digits=digits)
    return Text(text, "" if not value else "green" if value > 0 else "red")
