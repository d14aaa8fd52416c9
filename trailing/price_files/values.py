"""The contents of a price file, in columns. Prices are whole numbers of a unit, so that no digit is lost."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from trailing.core.checks import check_source, check_symbol, refuse
from trailing.core.model import Source
from trailing.exchanges.prices import PricePoint
from trailing.price_files.points import bar_points, price_writer, trade_points

if TYPE_CHECKING:
    Int64s: TypeAlias = array[int]
else:
    Int64s = array  # before Python 3.12 it takes no parameter, which would stop the documentation's build

Column: TypeAlias = "Int64s | list[int]"
"""Whole numbers: an array of int64 (typecode ``q``), or a list if one of them is larger."""


class Gap(msgspec.Struct, frozen=True):
    """Missing bars in a row.

    Args:
        start: UTC milliseconds at which the first one would have opened.
        bars: their number.
    """

    start: int
    bars: int


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """The bars of a file, oldest first.

    They don't overlap and lie a whole number of bar lengths apart. In each, `high` is the highest price and `low` the lowest.

    Args:
        path: the file.
        seconds: the length of a bar.
        decimals: a price is a whole number times ``10 ** -decimals``.
        tick: every price is a multiple of it.
        opened_at: UTC milliseconds.
        off_tick: how many prices were no multiple of the tick, and were rounded to the nearest.
        gaps: missing bars.
    """

    path: Path
    seconds: float
    decimals: int
    tick: Decimal
    opened_at: Int64s
    open: Column
    high: Column
    low: Column
    close: Column
    off_tick: int
    gaps: tuple[Gap, ...]

    def __len__(self) -> int:
        return len(self.opened_at)

    @property
    def is_int64(self) -> bool:
        """Whether all columns are arrays of int64."""
        return all(isinstance(column, array) for column in (self.open, self.high, self.low, self.close))

    @property
    def starts_at(self) -> int:
        """When the first bar opens, in UTC milliseconds."""
        return self.opened_at[0]

    @property
    def ends_at(self) -> int:
        """When the last bar closes, in UTC milliseconds."""
        return self.opened_at[-1] + round(self.seconds * 1000)

    def price(self, units: int) -> Decimal:
        """Return a price of a column as a Decimal. For many, `trailing.price_files.points.price_writer` is faster."""
        return price_writer(self.decimals)(units)

    def points(self, symbol: str, *, high_first: bool, source: Source = "last") -> Iterator[PricePoint]:
        """Yield four points of each bar: the open, both extremes, and the close. `trailing.price_files.points` has the path.

        A bar does not state whether its high came before its low. Which order is worse for a trailing stop depends on the
        moment: for a long after a new peak it is `high_first` (the stop is raised, then hit); for its initial stop it is
        the low first. Neither order is a bound on the result.

        Args:
            symbol: ccxt's unified symbol, for the ticks.
            high_first: whether every bar is assumed to have reached its high before its low.
            source: the price source of the ticks.

        Raises:
            UsageError: at once, for an argument.
        """
        _check(symbol, source)
        if type(high_first) is not bool:
            raise refuse("high_first", high_first, "True or False")
        prices = zip(self.open, self.high, self.low, self.close, strict=True)
        return bar_points(
            symbol, source, self.decimals, self.seconds, zip(self.opened_at, prices, strict=True), high_first=high_first
        )


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    """The trades of a file, oldest first.

    Args:
        path: the file.
        decimals: a price is a whole number times ``10 ** -decimals``.
        tick: every price is a multiple of it.
        at: UTC milliseconds. Several trades may have the same.
        price_units: the prices.
        off_tick: how many prices were no multiple of the tick, and were rounded to the nearest.
    """

    path: Path
    decimals: int
    tick: Decimal
    at: Int64s
    price_units: Column
    off_tick: int

    def __len__(self) -> int:
        return len(self.at)

    @property
    def is_int64(self) -> bool:
        """Whether the prices are an array of int64."""
        return isinstance(self.price_units, array)

    @property
    def starts_at(self) -> int:
        """The time of the first trade, in UTC milliseconds."""
        return self.at[0]

    @property
    def ends_at(self) -> int:
        """The time of the last trade, in UTC milliseconds."""
        return self.at[-1]

    def price(self, units: int) -> Decimal:
        """Return a price as a Decimal, as `Bars.price`."""
        return price_writer(self.decimals)(units)

    def points(self, symbol: str, *, source: Source = "last") -> Iterator[PricePoint]:
        """Yield one point of each trade. The price jumps from trade to trade. Arguments and errors: as `Bars.points`."""
        _check(symbol, source)
        return trade_points(symbol, source, self.decimals, zip(self.at, self.price_units, strict=True))


Prices: TypeAlias = Bars | Trades


def _check(symbol: str, source: Source) -> None:
    check_symbol("symbol", symbol)
    check_source("source", source)
