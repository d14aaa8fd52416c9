"""The price files of a replay: finding them, checking them, and merging their prices into one stream.

A file's name has base and quote, then ``-trades.csv`` for trades or ``-5m.csv`` (any number of ``m``, ``h`` or ``d``) for
candles. For example, ``ada-btc-5m.csv`` has candles of ``ADA/BTC:BTC``.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trailing.core.model import Position, Source
from trailing.errors import UsageError, suggest
from trailing.exchanges.prices import PricePoint, read_candles_csv, read_trades_csv

CandleOrder: TypeAlias = Literal["peak-first", "adverse-first", "high-first", "low-first"]

_KIND = re.compile(r"(?P<stem>.+)-(?:trades|(?P<count>[1-9]\d*)(?P<unit>[mhd]))\.csv", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


class PriceFile(msgspec.Struct, frozen=True):
    """The price file of one symbol.

    Args:
        bar_seconds: seconds of a candle; None: the file has trades.
        high_first: whether the high of a candle is assumed to come before the low.
    """

    symbol: str
    path: Path
    bar_seconds: float | None
    high_first: bool

    def points(self, source: Source) -> Iterator[PricePoint]:
        """Yield its prices, read on demand.

        Raises:
            UsageError: a line can't be right, raised when it is read. The message names file, line, field and value.
        """
        if self.bar_seconds is None:
            return read_trades_csv(self.path, self.symbol, source=source)
        return read_candles_csv(
            self.path, self.symbol, high_first=self.high_first, bar_seconds=self.bar_seconds, source=source
        )


def find_price_files(given: Sequence[str], positions: Sequence[Position], order: CandleOrder) -> tuple[PriceFile, ...]:
    """Return the price file of each symbol of a wave, in the wave's order.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        order: the extreme of a candle that is assumed to come first: with ``"peak-first"`` the high for a long and the
            low for a short, with ``"adverse-first"`` the other one.

    Raises:
        UsageError: a symbol has no file or several, or a file's name has no known ending.
    """
    symbols = tuple(dict.fromkeys(position.symbol for position in positions))
    named, files = _sort_out(given)
    unknown = named.keys() - set(symbols)
    if unknown:
        symbol = min(unknown)
        raise UsageError(f"--prices: {symbol} is not in the wave.{suggest(symbol, symbols)}")
    return tuple(
        _price_file(symbol, named.get(symbol) or _find(symbol, given, files), positions, order) for symbol in symbols
    )


def check_prices(files: Iterable[PriceFile], positions: Sequence[Position], source: Source, *, wave: Path) -> None:
    """Read every file to its end, so that a bad line is found before the replay starts.

    Args:
        wave: the file of the positions, for the error.

    Raises:
        UsageError: a line can't be right, or a position was opened before its symbol's first price or after the last.
    """
    for file in files:
        points = file.points(source)
        begins = ends = next(points).tick.at  # a file without a price is refused
        for point in points:
            ends = point.tick.at
        first, last = datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(ends, UTC)
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


def _sort_out(given: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    named: dict[str, Path] = {}
    files: list[Path] = []
    for word in given:
        symbol, equals, name = word.partition("=")
        path = Path(name if equals and not Path(word).exists() else word)
        if not path.exists():
            raise UsageError(f"--prices: {path} does not exist")
        if path != Path(word):
            if path.is_dir():
                raise UsageError(f"--prices: {path} for {symbol} is a directory; give a file")
            named[symbol] = path
        elif path.is_dir():
            files += sorted(path.iterdir())
        else:
            files.append(path)
    return named, files


def _find(symbol: str, given: Sequence[str], files: Sequence[Path]) -> Path:
    base, quote, settle = re.split(r"[/:]", symbol.lower())
    stems = {f"{base}-{quote}", f"{base}-{quote}-{settle}"}
    found = [path for path in files if (name := _KIND.fullmatch(path.name)) and name["stem"].lower() in stems]
    if not found:
        wants = f"{base}-{quote}-5m.csv or {base}-{quote}-trades.csv"
        raise UsageError(
            f"--prices: {', '.join(given)} has no file for {symbol}; name it {wants}, or give --prices {symbol}=FILE"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"--prices: several files for {symbol}: {names}; choose one with --prices {symbol}=FILE")
    return found[0]


def _price_file(symbol: str, path: Path, positions: Sequence[Position], order: CandleOrder) -> PriceFile:
    name = _KIND.fullmatch(path.name)
    if name is None:
        raise UsageError(
            f"--prices: the name of {path} has to end in -trades.csv, or as in -5m.csv, -1h.csv or -1d.csv"
        )
    if name["count"] is None:
        return PriceFile(symbol, path, None, high_first=False)
    seconds = int(name["count"]) * _UNIT_SECONDS[name["unit"].lower()]
    return PriceFile(symbol, path, seconds, high_first=_is_high_first(symbol, positions, order))


def _is_high_first(symbol: str, positions: Sequence[Position], order: CandleOrder) -> bool:
    if order in ("high-first", "low-first"):
        return order == "high-first"
    sides = {position.side for position in positions if position.symbol == symbol}
    if len(sides) > 1:
        raise UsageError(
            f"--candles: {order} is ambiguous, because {symbol} is long and short in the wave; choose high-first or low-first"
        )
    return (sides == {"long"}) == (order == "peak-first")
