"""The price files of a replay: checking them against the wave, and merging their prices into one stream."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trailing.core.model import Position, Source
from trailing.errors import UsageError
from trailing.exchanges.prices import PricePoint
from trailing.price_files import Bars, Prices, find_price_files, read_prices
from trailing.price_files.points import BAR_SHARES

CandleOrder: TypeAlias = Literal["peak-first", "adverse-first", "high-first", "low-first"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PriceFile(msgspec.Struct, frozen=True):
    """The price file of one symbol.

    Args:
        high_first: whether the high of a candle is assumed to come before the low.
    """

    symbol: str
    prices: Prices
    high_first: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.prices.path

    @property
    def bar_seconds(self) -> float | None:
        """Seconds of a candle; None: the file has trades."""
        return self.prices.seconds if isinstance(self.prices, Bars) else None

    @property
    def period(self) -> tuple[float, float]:
        """The times of the first and the last price, in seconds since 1970."""
        prices = self.prices
        if isinstance(prices, Bars):
            return prices.starts_at / 1000, prices.opened_at[-1] / 1000 + prices.seconds * BAR_SHARES[-1]
        return prices.starts_at / 1000, prices.ends_at / 1000

    def points(self, source: Source) -> Iterator[PricePoint]:
        """Yield its prices."""
        if isinstance(self.prices, Bars):
            return self.prices.points(self.symbol, high_first=self.high_first, source=source)
        return self.prices.points(self.symbol, source=source)


def read_price_files(given: Sequence[str], positions: Sequence[Position], order: CandleOrder) -> tuple[PriceFile, ...]:
    """Read the price file of each symbol of a wave, in the wave's order.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        order: the extreme of a candle that is assumed to come first: with ``"peak-first"`` the high for a long and the
            low for a short, with ``"adverse-first"`` the other one.

    Raises:
        UsageError: a symbol has no file or several, or a file can't be right.
    """
    files = []
    for symbol, path in find_price_files(given, (position.symbol for position in positions)).items():
        prices = read_prices(path)
        high_first = isinstance(prices, Bars) and _is_high_first(symbol, positions, order)
        files.append(PriceFile(symbol, prices, high_first))
    return tuple(files)


def check_opened(files: Iterable[PriceFile], positions: Sequence[Position], *, wave: Path) -> None:
    """Check that each position was opened between the first and the last price of its symbol.

    Args:
        wave: the file of the positions, for the error.

    Raises:
        UsageError: one was not.
    """
    for file in files:
        first, last = (datetime.fromtimestamp(at, UTC) for at in file.period)
        for position in positions:
            if position.symbol == file.symbol and not first <= position.opened_at <= last:
                raise UsageError(
                    f"{wave}: {position.symbol} {position.side}: opened_at is {_write_time(position.opened_at)}; {file.path} "
                    f"has prices from {_write_time(first)} to {_write_time(last)}"
                )


def merged_points(files: Iterable[PriceFile], source: Source, start: float) -> Iterator[PricePoint]:
    """Yield the prices of all files from a time on, by time and then by the files' order."""
    merged = heapq.merge(*(file.points(source) for file in files), key=attrgetter("tick.at"))
    return (point for point in merged if point.tick.at >= start)


def longest_bar(files: Iterable[PriceFile]) -> float | None:
    """Return the seconds of the longest candles; None if all files have trades."""
    return max((file.bar_seconds for file in files if file.bar_seconds is not None), default=None)


def _write_time(at: datetime) -> str:
    """Return a time as ``opened_at_ms`` and, in brackets, as ``opened_at``."""
    return f"{(at - _EPOCH) // timedelta(milliseconds=1)} ms ({at.isoformat()})"


def _is_high_first(symbol: str, positions: Sequence[Position], order: CandleOrder) -> bool:
    if order in ("high-first", "low-first"):
        return order == "high-first"
    sides = {position.side for position in positions if position.symbol == symbol}
    if len(sides) > 1:
        raise UsageError(
            f"--candles: {order} is ambiguous, because {symbol} is long and short in the wave; choose high-first or low-first"
        )
    return (sides == {"long"}) == (order == "peak-first")
