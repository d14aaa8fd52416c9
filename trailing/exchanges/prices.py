"""Prices for the paper exchange: from CSV files, or generated at random from a seed.

All are lazy iterators of ticks. Their `at` is in seconds since 1970 (UTC) and never decreases; a replay maps it to its clock.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from trailing.core.model import (
    Percent,
    Source,
    Tick,
    check_money,
    check_seconds,
    check_source,
    check_symbol,
    refuse,
)
from trailing.core.paths import point_prices, point_times
from trailing.core.prices import EXACT
from trailing.errors import UsageError
from trailing.exchanges.port import escaped

_NO_JUMP = Percent(0)
_YEAR_10000 = 253_402_300_800_000  # in milliseconds; a larger value was given in another unit


class PricePoint(msgspec.Struct, frozen=True, gc=False):
    """A tick, and how the price moves to it from the tick before.

    Args:
        tick: the price.
        continuous: True: the price passes every price in between, as inside a candle (`PaperExchange.move_to`). False: it jumps,
            as between two trades or to a candle's open (`PaperExchange.feed`).
        ends_bar: whether it is the close of a candle. It comes before the next candle's open, which has the same time.
    """

    tick: Tick
    continuous: bool = False
    ends_bar: bool = False


def read_trades_csv(path: str | Path, symbol: str, *, source: Source = "last") -> Iterator[PricePoint]:
    """Read trades, one point each. The price jumps from trade to trade.

    The file is UTF-8. Its header line names at least ``timestamp_ms`` (UTC milliseconds, never decreasing) and ``price``
    (above 0). It is read while the iterator is consumed.

    Args:
        path: the file.
        symbol: ccxt's unified symbol, for the ticks.
        source: the price source of the ticks.

    Raises:
        UsageError: at once for an argument. While the file is read, for one of its lines: the message names the file, the
            line number, the field, the value, and what is accepted.
    """
    check_symbol("symbol", symbol)
    check_source("source", source)
    return _trade_points(Path(path), symbol, source)


def read_candles_csv(
    path: str | Path, symbol: str, *, high_first: bool, bar_seconds: float = 300.0, source: Source = "last"
) -> Iterator[PricePoint]:
    """Read candles, four points each: the open, the high and the low in the given order, and the close.

    The points lie at 0, 1/3, 2/3 and the end of the bar. The price jumps to the open, and is continuous from there to the close.
    `trailing.core.paths` has this path.

    The file is UTF-8. Its header line names at least ``timestamp_ms`` (UTC milliseconds of the bar's open), ``open``,
    ``high``, ``low`` and ``close`` (above 0). Missing bars are skipped. It is read while the iterator is consumed.

    Args:
        path: the file.
        symbol: ccxt's unified symbol, for the ticks.
        high_first: whether every bar is assumed to have reached its high before its low.
        bar_seconds: the length of a bar in seconds, above 0.
        source: the price source of the ticks.

    Raises:
        UsageError: as `read_trades_csv`; also if bars overlap.
    """
    check_symbol("symbol", symbol)
    if type(high_first) is not bool:
        raise refuse("high_first", high_first, "True or False")
    check_seconds("bar_seconds", bar_seconds, zero=False)
    check_source("source", source)
    return _candle_points(Path(path), symbol, source, high_first=high_first, seconds=bar_seconds)


def generate_prices(
    symbol: str,
    *,
    seed: int,
    start_price: Decimal,
    tick: Decimal,
    step_seconds: float,
    count: int,
    volatility: Percent,
    jump_probability: float = 0.0,
    jump_size: Percent = _NO_JUMP,
    start_at: float = 0.0,
    source: Source = "last",
) -> Iterator[Tick]:
    """Generate a random walk with jumps. The same arguments give the same ticks; another symbol gives other ticks.

    Args:
        symbol: ccxt's unified symbol, for the ticks.
        seed: the seed of the random numbers.
        start_price: the first price, above 0, rounded to the tick.
        tick: every price is a multiple of it, and at least one tick.
        step_seconds: seconds from one tick to the next, above 0.
        count: the number of ticks, at least 1.
        volatility: the standard deviation of one step.
        jump_probability: the probability that a step jumps, from 0 to 1.
        jump_size: the size of a jump in addition to the step, up or down with equal probability.
        start_at: the first tick's time, in seconds.
        source: the price source of the ticks.

    Raises:
        UsageError: the message names the field, the value, and what is accepted.
    """
    check_symbol("symbol", symbol)
    if type(seed) is not int:
        raise refuse("seed", seed, "a whole number")
    check_money("start_price", start_price)
    check_money("tick", tick)
    check_seconds("step_seconds", step_seconds, zero=False)
    if type(count) is not int or count < 1:
        raise refuse("count", count, "a whole number of at least 1")
    for field, percent in (("volatility", volatility), ("jump_size", jump_size)):
        if not isinstance(percent, Percent):
            raise refuse(field, percent, "a Percent")
    if type(jump_probability) not in (int, float) or not 0 <= jump_probability <= 1:
        raise refuse("jump_probability", jump_probability, "a number from 0 to 1")
    check_seconds("start_at", start_at)
    check_source("source", source)
    step, jump = float(volatility.value) / 100, float(jump_size.value) / 100
    levels = _walk(
        random.Random(f"{seed}/{symbol}"), max(1, round(start_price / tick)), step, jump_probability, jump, count
    )
    return (
        Tick(symbol, EXACT.multiply(level, tick), start_at + number * step_seconds, source)
        for number, level in enumerate(levels)
    )


def _walk(
    draw: random.Random, level: int, step: float, jump_probability: float, jump: float, count: int
) -> Iterator[int]:
    """Yield prices as whole numbers of ticks. Random numbers are floats; money is never a float."""
    for _ in range(count):
        yield level
        # All three are drawn in each step, so that a setting changes only its own part of the walk.
        move, jumps, up = draw.gauss(0, step), draw.random() < jump_probability, draw.random() < 0.5
        if jumps:
            move += jump if up else -jump
        level = max(1, level + round(level * move))


def _trade_points(path: Path, symbol: str, source: Source) -> Iterator[PricePoint]:
    previous = 0
    for row in _rows(path, ("timestamp_ms", "price")):
        at = row.milliseconds("timestamp_ms")
        if at < previous:
            raise row.refuse("timestamp_ms", f"at least {previous}, the value of the line before")
        previous = at
        yield PricePoint(Tick(symbol, row.price("price"), at / 1000, source))


def _candle_points(
    path: Path, symbol: str, source: Source, *, high_first: bool, seconds: float
) -> Iterator[PricePoint]:
    earliest = 0.0
    for row in _rows(path, ("timestamp_ms", "open", "high", "low", "close")):
        at = row.milliseconds("timestamp_ms")
        if at < earliest:
            raise row.refuse("timestamp_ms", f"at least {earliest:.0f}, the end of the bar in the line before")
        earliest = at + seconds * 1000
        first, high, low, last = (row.price(field) for field in ("open", "high", "low", "close"))
        if high < max(first, low, last):
            raise row.refuse("high", "the highest price of the bar")
        if low > min(first, last):
            raise row.refuse("low", "the lowest price of the bar")
        prices = point_prices(first, high, low, last, high_first=high_first)
        for number, (price, moment) in enumerate(zip(prices, point_times(at, seconds), strict=True)):
            yield PricePoint(Tick(symbol, price, moment, source), continuous=number > 0, ends_bar=number == 3)


class _Row:
    """One line of a file. Its methods return fields, or raise an error that names file and line."""

    def __init__(self, path: Path, number: int, columns: dict[str, int], values: Sequence[str]) -> None:
        self._path = path
        self._number = number
        self._columns = columns
        self._values = values

    def milliseconds(self, field: str) -> int:
        text = self._values[self._columns[field]]
        value = int(text) if text.isascii() and text.isdigit() else _YEAR_10000
        if value >= _YEAR_10000:
            raise self.refuse(field, "UTC milliseconds, a whole number")
        return value

    def price(self, field: str) -> Decimal:
        try:
            price = Decimal(self._values[self._columns[field]])
            check_money(field, price)
        except (InvalidOperation, UsageError):
            raise self.refuse(field, "a price above 0, below 1e18, with at most 30 digits") from None
        return price

    def refuse(self, field: str, wants: str) -> UsageError:
        return _refuse_line(self._path, self._number, field, self._values[self._columns[field]], wants)


def _rows(path: Path, fields: Sequence[str]) -> Iterator[_Row]:
    """Yield the lines of a file except blank ones. Raises UsageError if one of the columns is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                raise _refuse_line(path, 1, "header", "", "a header line that names the columns")
            columns = {name: index for index, name in enumerate(header)}
            for field in fields:
                if field not in columns:
                    raise _refuse_line(path, 1, "header", ",".join(header), f"a column {field}")
            empty = True
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise _refuse_line(path, reader.line_num, "line", ",".join(values), f"{len(header)} values")
                empty = False
                yield _Row(path, reader.line_num, columns, values)
            if empty:
                raise _refuse_line(path, reader.line_num, "file", "nothing after the header", "at least one line")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{escaped(str(path), 1000)} can't be read: {escaped(str(error))}") from error


def _refuse_line(path: Path, number: int, field: str, got: str, wants: str) -> UsageError:
    return UsageError(f"{escaped(str(path), 1000)}, line {number}: {refuse(field, got, wants)}")
