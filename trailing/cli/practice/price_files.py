"""The price files of a replay: checking them against the wave, and merging their prices into one stream."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import dropwhile
from pathlib import Path

import msgspec

from trailing.backtest import Signal
from trailing.backtest.series import first_index, times_of
from trailing.cli.practice.tick_options import read_with_ticks
from trailing.core.model import Market, Position, Source
from trailing.errors import UsageError
from trailing.exchanges.paper.opening import CALLBACKS
from trailing.exchanges.prices import PricePoint
from trailing.price_files import Bars, Prices

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_UNTIL_1980 = timedelta(days=3652)


class PriceFile(msgspec.Struct, frozen=True):
    """The price file of one symbol.

    Args:
        tick: the market's; None: it is not known.
    """

    symbol: str
    prices: Prices
    tick: Decimal | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.prices.path

    @property
    def bar_seconds(self) -> float | None:
        """Seconds of a candle; None: the file has trades."""
        return self.prices.seconds if isinstance(self.prices, Bars) else None

    @property
    def market(self) -> Market:
        """The rules of its market, which can trail natively, as the paper exchange can."""
        if self.tick is None:
            return Market(self.symbol, native_callbacks=CALLBACKS)
        return Market(self.symbol, price_tick=self.tick, native_callbacks=CALLBACKS)

    def points(self, source: Source, *, high_first: bool) -> Iterator[PricePoint]:
        """Yield its prices.

        Args:
            high_first: whether the high of a candle is assumed to come before the low.
        """
        if isinstance(self.prices, Bars):
            return self.prices.points(self.symbol, high_first=high_first, source=source)
        return self.prices.points(self.symbol, source=source)


def read_price_files(
    given: Sequence[str], positions: Sequence[Position], ticks: Mapping[str | None, Decimal]
) -> tuple[PriceFile, ...]:
    """Read the price file of each symbol of a wave, in the wave's order.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        ticks: the markets' ticks, as `parse_ticks` returns them.

    Raises:
        UsageError: a symbol has no file or several, or a file can't be right.
    """
    found = read_with_ticks(given, (position.symbol for position in positions), ticks)
    return tuple(PriceFile(symbol, each.prices, each.tick) for symbol, each in found.by_symbol.items())


def entering_times(
    files: Iterable[PriceFile], positions: Sequence[Position], *, wave: Path
) -> dict[tuple[str, str], float]:
    """Return when the first price comes that counts for each position, by symbol and side, in seconds since 1970.

    A candle that began before the position was opened does not count.

    Args:
        wave: the file of the positions, for the error.

    Raises:
        UsageError: a position was opened before its symbol's first price, or after the last price that could count for it.
    """
    found = dict[tuple[str, str], float]()
    for file in files:
        times = times_of(file.prices)
        for position in positions:
            if position.symbol == file.symbol:
                check_opened_within(position, file.prices, source=wave)
                found[position.symbol, position.side] = times[first_index(file.prices, position.opened_at)] / 1000
    return found


def check_opened_within(entry: Position | Signal, prices: Prices, *, source: Path) -> None:
    """Refuse an entry before its symbol's first price, or after the last one that could count for it.

    Args:
        source: the file of the entry, for the error.

    Raises:
        UsageError: naming both files, the position and the times.
    """
    field, at = ("opened_at", entry.opened_at) if isinstance(entry, Position) else ("timestamp_ms", entry.at)
    times = times_of(prices)
    first, last = (_EPOCH + timedelta(milliseconds=each) for each in (times[0], times[-1]))
    if first <= at <= last:
        return
    hint = ". It looks like seconds instead of milliseconds" if at - _EPOCH < _DAYS_UNTIL_1980 else ""
    what = "candles that open" if isinstance(prices, Bars) else "prices"
    raise UsageError(
        f"{source}: {entry.symbol} {entry.side}: {field} is {_write_time(at)}; {prices.path} "
        f"has {what} from {_write_time(first)} to {_write_time(last)}{hint}"
    )


def merged_points(
    files: Iterable[PriceFile], source: Source, starts: Mapping[str, float], *, high_first: bool
) -> Iterator[PricePoint]:
    """Yield the prices of all files by time. At one time the closes of candles come first, then the files' order counts.

    Args:
        starts: when the first price of each symbol counts, in seconds since 1970. A close of that time belongs to a candle that
            began before.
    """

    def when(point: PricePoint) -> tuple[float, bool]:
        return point.tick.at, not point.ends_bar

    def of(file: PriceFile) -> Iterator[PricePoint]:
        start = (starts[file.symbol], True)
        return dropwhile(lambda point: when(point) < start, file.points(source, high_first=high_first))

    return heapq.merge(*map(of, files), key=when)


def longest_bar(files: Iterable[PriceFile]) -> float | None:
    """Return the seconds of the longest candles; None if all files have trades."""
    return max((file.bar_seconds for file in files if file.bar_seconds is not None), default=None)


def _write_time(at: datetime) -> str:
    """Return a time as ``opened_at_ms`` and, in brackets, as ``opened_at``."""
    return f"{(at - _EPOCH) // timedelta(milliseconds=1)} ms ({at.isoformat()})"
