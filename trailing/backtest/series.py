"""The price columns that a backtest walks. Prices are whole numbers of the finest decimal, times UTC milliseconds.

`trailing.price_files.read_prices` returns such columns from CSV and Parquet files. Any object with these attributes will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol, TypeAlias


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
