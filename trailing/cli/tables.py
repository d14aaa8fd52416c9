"""Tables for people: the report, the live table, and how money and times are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trailing.cli.reports import Report
from trailing.cli.stories import Stories, Story
from trailing.core.model import Tick
from trailing.core.prices import ahead

_SHOWN = Context(prec=10)
_STYLES = {"protected": "green", "unprotected": "bold red", "exiting": "yellow", "closed": "dim", "released": "dim"}


def write_money(value: Decimal | None) -> str:
    """At most ten digits, without an exponent and without zeros at the end."""
    if value is None:
        return ""
    text = f"{_SHOWN.plus(value):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def write_time(value: datetime | None) -> str:
    """To the second, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def write_state(state: str) -> Text:
    """A state in its colour."""
    return Text(state, _STYLES.get(state, ""))


def new_table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A table with these columns, some of them aligned to the right."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def print_table(table: Table, *, notes: Sequence[str] = ()) -> None:
    """Print a table and remarks to standard output; into a pipe as wide as it wants to be."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(80, Console(width=1000).measure(table).maximum))
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)


def print_report(report: Report, *, notes: Sequence[str] = (), title: str | None = None) -> None:
    """Print a report to standard output."""
    print_table(report_table(report, title=title), notes=notes)


def report_table(report: Report, *, title: str | None = None) -> Table:
    """A row for each position, and the totals below."""
    numbers = ("quantity", "entry", "exit", "profit", "stop", "moves", "bare s")
    columns = ("position", "side", "state", *numbers, "opened (UTC)", "closed (UTC)", "reason")
    table = new_table(*columns, right=numbers, title=title)
    for row in report.positions:
        table.add_row(
            row.symbol,
            row.side,
            write_state(row.state),
            write_money(row.quantity),
            write_money(row.entry_price),
            write_money(row.exit_price),
            _profit(row.profit),
            write_money(row.stop_price),
            str(row.moves),
            f"{row.exposure:.3f}",
            write_time(row.opened_at),
            write_time(row.closed_at),
            row.reason or "",
        )
    totals = report.totals
    table.add_section()
    for currency, profit in totals.profit.items() or [("", None)]:
        table.add_row(
            f"{totals.positions} positions {currency}".rstrip(),
            "",
            f"{totals.closed} closed",
            "",
            "",
            "",
            _profit(profit),
            "",
            str(totals.moves),
            f"{totals.exposure:.3f}",
            style="bold",
        )
    return table


def live_table(stories: Stories, prices: Mapping[str, Tick]) -> Table:
    """How every position stands now; the profit of an open one is what closing it at the last price would bring."""
    numbers = ("price", "stop", "distance", "profit", "moves", "bare s")
    table = new_table("position", "side", "state", *numbers, right=numbers)
    for story in stories:
        tick = prices.get(story.symbol)
        price = tick.price if tick is not None else None
        is_over = story.closed_at is not None
        table.add_row(
            story.symbol,
            story.side,
            write_state(story.state),
            write_money(story.exit_price if is_over else price),
            write_money(story.stop_price),
            "" if is_over else _distance(story, price),
            _profit(story.profit if is_over else _open_profit(story, price)),
            str(story.moves),
            f"{story.exposure:.3f}",
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


def _profit(value: Decimal | None) -> Text:
    text = write_money(value)
    return Text(text, "" if not value else "green" if value > 0 else "red")
