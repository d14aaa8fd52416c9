"""Tables for people: the report, the live table, and how money and times are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trailing.cli.reports import Report, ReportRow
from trailing.cli.stories import Stories, Story
from trailing.core.model import Tick
from trailing.core.prices import ahead
from trailing.unprotected import UnprotectedTime

UNKNOWN = "unknown"
"""What a table and a line have in place of a figure that is not known."""

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
    """At most so many digits, without an exponent and without zeros at the end."""
    if value is None:
        return ""
    text = f"{Context(prec=digits).plus(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def write_time(value: datetime | None) -> str:
    """To the second, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def write_state(state: str) -> Text:
    """A state in its colour."""
    return Text(state, _STYLES.get(state, ""))


def new_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A table with these columns, some of them aligned to the right."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def print_table(table: Table, *, notes: Sequence[str] = ()) -> None:
    """Print a table and remarks to standard output; into a pipe as wide as it wants to be."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(80, _width(table)))
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)


def print_report(report: Report, *, notes: Sequence[str] = (), title: str | None = None) -> None:
    """Print a report to standard output; on a terminal without the columns that it is too narrow for."""
    console = Console()
    columns = list(_REPORT)
    table = report_table(report, columns, title=title)
    dispensable = list(_DISPENSABLE)
    while console.is_terminal and dispensable and _width(table) > console.width:
        columns.remove(dispensable.pop(0))
        table = report_table(report, columns, title=title)
    print_table(table, notes=[*_left_out(report), *notes])


def _left_out(report: Report) -> list[str]:
    """Return what the totals leave out, in words."""
    count = report.totals.profit_unknown
    positions = "1 closed position" if count == 1 else f"{count} closed positions"
    return [f"the profit leaves out {positions} whose exit price is not known"] if count else []


def report_table(report: Report, columns: Sequence[str], *, title: str | None = None) -> Table:
    """A row for each position, and the totals below."""
    table = new_table(*columns, right=_NUMBERS, title=title)
    for row in report.positions:
        cells = _cells(row)
        table.add_row(*(cells[column] for column in columns))
    totals = report.totals
    for currency, profit in totals.profit.items() or [("", None)]:
        total: dict[str, str | Text] = {
            "position": f"{totals.positions} positions {currency}".rstrip(),
            "state": f"{totals.closed} closed",
            "profit": _profit(profit, unknown=totals.profit_unknown > 0),
            "moves": str(totals.moves),
            "bare s": f"{totals.unprotected_seconds:.3f}",
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
        "exit": write_money(row.exit_price) or (UNKNOWN if row.state == "closed" else ""),
        "profit": _profit(row.profit, unknown=row.state == "closed"),
        "stop": write_money(row.stop_price),
        "moves": str(row.moves),
        "bare s": f"{row.unprotected_seconds:.3f}",
        "by cause": _causes(row.unprotected_time),
        "opened (UTC)": write_time(row.opened_at),
        "closed (UTC)": write_time(row.closed_at),
        "reason": row.reason or "",
    }


_NUMBERS = ("quantity", "entry", "exit", "profit", "stop", "moves", "bare s")
_REPORT = ("position", "side", "state", *_NUMBERS, "by cause", "opened (UTC)", "closed (UTC)", "reason")
_DISPENSABLE = ("reason", "opened (UTC)", "by cause", "quantity", "closed (UTC)", "stop", "entry")


def _causes(unprotected_time: UnprotectedTime) -> str:
    return str(unprotected_time) if unprotected_time.total else ""


def _width(table: Table) -> int:
    """How wide it wants to be."""
    return Console(width=1000).measure(table).maximum


def live_table(stories: Stories, prices: Mapping[str, Tick]) -> Table:
    """How every position stands now; the profit of an open one is what closing it at the last price would bring."""
    numbers = ("price", "stop", "distance", "profit", "moves", "bare s")
    table = new_table("position", "side", "state", *numbers, right=numbers)
    table.padding = (0, 1, 0, 0)
    for story in stories:
        tick = prices.get(story.symbol)
        price = tick.price if tick is not None else None
        is_over, is_closed = story.closed_at is not None, story.state == "closed"
        table.add_row(
            story.symbol,
            story.side,
            write_state(story.state),
            write_money(story.exit_price if is_over else price, digits=6) or (UNKNOWN if is_closed else ""),
            write_money(story.stop_price, digits=6),
            "" if is_over else _distance(story, price),
            _profit(story.profit if is_over else _open_profit(story, price), digits=4, unknown=is_closed),
            str(story.moves),
            f"{story.unprotected_seconds:.1f}",
        )
    return table


def _distance(story: Story, price: Decimal | None) -> str:
    if price is None or story.stop_price is None:
        return ""
    return f"{abs(price - story.stop_price) / price * 100:.2f}%"


def _open_profit(story: Story, price: Decimal | None) -> Decimal | None:
    if price is None or story.entry_price is None or story.quantity is None:
        return None
    gain = ahead(story.side, Decimal(0), price - story.entry_price)
    return gain * story.quantity


def _profit(value: Decimal | None, *, digits: int = 10, unknown: bool = False) -> Text:
    if value is None and unknown:
        return Text(UNKNOWN)
    text = write_money(value, digits=digits)
    return Text(text, "" if not value else "green" if value > 0 else "red")
