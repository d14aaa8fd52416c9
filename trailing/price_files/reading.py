"""Reads a price file, once and whole, and checks it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Final

from trailing.core.checks import check_money
from trailing.price_files.columns import PriceColumns, prices_of, times_of
from trailing.price_files.spacing import find_gaps, find_length
from trailing.price_files.tables import Table, read_table, refuse_at
from trailing.price_files.values import Bars, Prices, Trades

TIME: Final = "timestamp_ms"
PRICES_OF_BAR: Final = ("open", "high", "low", "close")

NAME: Final = re.compile(
    r"(?P<stem>.+)-(?:trades|(?P<count>[1-9]\d{0,5})(?P<unit>[mhdw]))\.(?:csv|parquet)", re.IGNORECASE
)
"""The name of a price file: the market, and ``trades`` or the length of a bar."""

UNIT_SECONDS: Final = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def read_prices(path: str | Path, *, tick: Decimal | None = None) -> Prices:
    """Read a price file, once and whole, and check it.

    The file is CSV (UTF-8 with a header line) or Parquet, by the ending of its name. Parquet needs the extra
    ``trailing[parquet]``. Bars have the columns ``timestamp_ms`` (UTC milliseconds of the open), ``open``, ``high``, ``low``
    and ``close``; trades have ``timestamp_ms`` and ``price``. Other columns are not read. The length of a bar is that in the
    name, as in ``btc-usdt-5m.csv``; without one it is the shortest distance between two bars.

    Args:
        path: the file.
        tick: the market's tick, to which prices are rounded. None: it is the unit of the finest decimal in the file; a
            price with the noise of a calculation with floats, such as 1.2147000000000001, is rounded to it.

    Raises:
        UsageError: the file can't be read or can't be right. One line names the file, the line (of Parquet: the row), the
            field, the value, and what is accepted.
    """
    if tick is not None:
        check_money("tick", tick)
    path = Path(path)
    table = read_table(path)
    name = NAME.fullmatch(path.name)
    _check_columns(table, bars=name is not None and name["count"] is not None, trades=_has_trades(table, name))
    if _has_trades(table, name):
        return _read_trades(table, tick)
    return _read_bars(table, tick, seconds=name and int(name["count"]) * UNIT_SECONDS[name["unit"].lower()])


def _has_trades(table: Table, name: re.Match[str] | None) -> bool:
    return "price" in table.names and "open" not in table.names if name is None else name["count"] is None


def _check_columns(table: Table, *, bars: bool, trades: bool) -> None:
    fields = ("price",) if trades else PRICES_OF_BAR
    for field in (TIME, *fields):
        if field not in table.names:
            wants = f"a column {field}" if bars or trades or field == TIME else f"a column {field}, or price of trades"
            place = "line 1" if table.path.suffix.lower() == ".csv" else ""
            raise refuse_at(table.path, place, "header", ",".join(table.names), wants)


def _read_trades(table: Table, tick: Decimal | None) -> Trades:
    at = times_of(table, TIME)
    if at.tolist() != sorted(at):
        row = next(row for row in range(1, len(at)) if at[row] < at[row - 1])
        raise table.refuse(row, TIME, f"at least {at[row - 1]}, the value of the {_unit(table)} before")
    read = prices_of(table, ("price",), tick)
    return Trades(
        path=table.path,
        decimals=read.decimals,
        tick=read.tick,
        at=at,
        price_units=read.columns[0],
        off_tick=read.off_tick,
    )


def _read_bars(table: Table, tick: Decimal | None, seconds: float | None) -> Bars:
    opened_at = times_of(table, TIME)
    if seconds is None:
        seconds = find_length(table, TIME, opened_at)
    gaps = find_gaps(table, TIME, opened_at, seconds)
    read = prices_of(table, PRICES_OF_BAR, tick)
    _check_extremes(table, read)
    first, high, low, close = read.columns
    return Bars(
        path=table.path,
        seconds=seconds,
        decimals=read.decimals,
        tick=read.tick,
        opened_at=opened_at,
        open=first,
        high=high,
        low=low,
        close=close,
        off_tick=read.off_tick,
        gaps=gaps,
    )


def _check_extremes(table: Table, read: PriceColumns) -> None:
    """Check the rounded prices, because the noise of a float may lie beyond the high."""
    for row, (first, high, low, last) in enumerate(zip(*read.columns, strict=True)):
        if low <= first <= high and low <= last <= high:
            continue
        if high < low:
            raise table.refuse(row, "high", f"at least the low, {table.column('low')[row]}")
        if high < max(first, last):
            raise table.refuse(row, "high", "the highest price of the bar")
        raise table.refuse(row, "low", "the lowest price of the bar")


def _unit(table: Table) -> str:
    return table.place(0).partition(" ")[0]
