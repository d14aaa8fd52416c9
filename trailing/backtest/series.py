"""The price columns that a backtest walks. Prices are whole numbers of the finest decimal, times UTC milliseconds.

`trailing.price_files.read_prices` returns such columns from CSV and Parquet files. Any object with these attributes will do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BarSeries(Protocol):
    """Bars of one symbol, by time.

    Attributes:
        seconds: the length of a bar.
        decimals: a price is a whole number times ``10 ** -decimals``.
        opened_at: when each bar opened, in UTC milliseconds, increasing.
        open, high, low, close: the prices of each bar.
    """

    @property
    def seconds(self) -> float: ...
    @property
    def decimals(self) -> int: ...
    @property
    def opened_at(self) -> Sequence[int]: ...
    @property
    def open(self) -> Sequence[int]: ...
    @property
    def high(self) -> Sequence[int]: ...
    @property
    def low(self) -> Sequence[int]: ...
    @property
    def close(self) -> Sequence[int]: ...
    def price(self, units: int, /) -> Decimal:
        """Return a price of the columns as a Decimal."""
        ...


class TradeSeries(Protocol):
    """Trades of one symbol, by time.

    Attributes:
        decimals: a price is a whole number times ``10 ** -decimals``.
        at: when each trade happened, in UTC milliseconds, never decreasing.
        price_units: the price of each trade.
    """

    @property
    def decimals(self) -> int: ...
    @property
    def at(self) -> Sequence[int]: ...
    @property
    def price_units(self) -> Sequence[int]: ...
    def price(self, units: int, /) -> Decimal:
        """Return a price of the column as a Decimal."""
        ...


Series: TypeAlias = BarSeries | TradeSeries


def is_bars(series: Series) -> TypeIs[BarSeries]:
    """Return whether a series has bars. Otherwise it has trades."""
    return hasattr(series, "opened_at")


def times_of(series: Series) -> Sequence[int]:
    """Return when each bar opened, or when each trade happened, in UTC milliseconds."""
    return series.opened_at if is_bars(series) else series.at


def first_index(series: Series, opened_at: datetime) -> int:
    """Return the index of the first bar or trade that counts for a position. The length of the series: none does.

    A bar that began before the position was opened does not count, because its extremes may have come before. A bar
    that opens at that very time counts, and so does a trade.
    """
    microseconds = (opened_at - _EPOCH) // timedelta(microseconds=1)
    return bisect_left(times_of(series), -(-microseconds // 1000))
