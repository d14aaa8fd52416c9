"""The price files of a replay: which belongs to which symbol, whether they are good, and their points in one stream.

A file's name says what it holds: base and quote in lower case, then ``-trades.csv`` for trades or ``-5m.csv`` (any
number of ``m``, ``h`` or ``d``) for candles: ``ada-btc-5m.csv`` holds ``ADA/BTC:BTC``.
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
from trailing.errors import UsageError
from trailing.exchanges.prices import PricePoint, read_candles_csv, read_trades_csv

CandleOrder: TypeAlias = Literal["peak-first", "adverse-first", "high-first", "low-first"]

_KIND = re.compile(r"(?P<stem>.+)-(?:trades|(?P<count>[1-9]\d*)(?P<unit>[mhd]))\.csv", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


class PriceFile(msgspec.Struct, frozen=True):
    """Where the prices of one symbol are.

    Args:
        bar_seconds: how long a candle lasts; None: it holds trades.
        high_first: the assumed order of a candle's high and low.
    """

    symbol: str
    path: Path
    bar_seconds: float | None
    high_first: bool

    def points(self, source: Source) -> Iterator[PricePoint]:
        """Its points, read as they are taken. Raises UsageError while reading: file, line, field, got, wants."""
        if self.bar_seconds is None:
            return read_trades_csv(self.path, self.symbol, source=source)
        return read_candles_csv(
            self.path, self.symbol, high_first=self.high_first, bar_seconds=self.bar_seconds, source=source
        )


def find_price_files(given: Sequence[str], positions: Sequence[Position], order: CandleOrder) -> tuple[PriceFile, ...]:
    """The file of every symbol of a wave, in the wave's order.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        order: which of a candle's high and low is assumed to have come first: with ``"peak-first"`` the high for a long,
            the low for a short; with ``"adverse-first"`` the other one.

    Raises:
        UsageError: a symbol has no file or several, or a file's name doesn't say what it holds.
    """
    symbols = tuple(dict.fromkeys(position.symbol for position in positions))
    named, files = _sort_out(given)
    unknown = named.keys() - set(symbols)
    if unknown:
        raise UsageError(f"--prices got {min(unknown)}, which is not in the wave")
    return tuple(
        _price_file(symbol, named.get(symbol) or _find(symbol, given, files), positions, order) for symbol in symbols
    )


def check_prices(files: Iterable[PriceFile], positions: Sequence[Position], source: Source, *, wave: Path) -> None:
    """Read all of every file, so that a bad line is known before anything is begun.

    Args:
        wave: the file that the positions come from.

    Raises:
        UsageError: a line can't be right, or a position was opened before its symbol's first price or after the last.
    """
    for file in files:
        points = file.points(source)
        begins = ends = next(points).tick.at  # a file without a line of prices is refused
        for point in points:
            ends = point.tick.at
        first, last = datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(ends, UTC)
        for position in positions:
            if position.symbol == file.symbol and not first <= position.opened_at <= last:
                raise UsageError(
                    f"{wave}: opened_at of {position.symbol} {position.side} got {_write_time(position.opened_at)}, wants "
                    f"a time in {file.path}, from {_write_time(first)} to {_write_time(last)}"
                )


def merged_points(files: Iterable[PriceFile], source: Source, start: float) -> Iterator[PricePoint]:
    """The points of all files from a time on, by time, and those of one time in the files' order."""
    merged = heapq.merge(*(file.points(source) for file in files), key=attrgetter("tick.at"))
    return (point for point in merged if point.tick.at >= start)


def longest_bar(files: Iterable[PriceFile]) -> float | None:
    """How many seconds the longest candles last; None where all files hold trades."""
    return max((file.bar_seconds for file in files if file.bar_seconds is not None), default=None)


def _write_time(at: datetime) -> str:
    """Write a time as both fields of a wave do: ``opened_at_ms``, and in brackets ``opened_at``."""
    return f"{(at - _EPOCH) // timedelta(milliseconds=1)} ms ({at.isoformat()})"


def _sort_out(given: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    named: dict[str, Path] = {}
    files: list[Path] = []
    for word in given:
        symbol, equals, name = word.partition("=")
        path = Path(name if equals and not Path(word).exists() else word)
        if not path.exists():
            raise UsageError(f"--prices got {str(path)!r}, which does not exist")
        if path != Path(word):
            if path.is_dir():
                raise UsageError(f"--prices got the directory {str(path)!r} for {symbol}, wants a file")
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
            f"--prices got {', '.join(given)}: no file for {symbol}, wants {wants}, or --prices {symbol}=FILE"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"--prices got several files for {symbol}: {names}; choose with --prices {symbol}=FILE")
    return found[0]


def _price_file(symbol: str, path: Path, positions: Sequence[Position], order: CandleOrder) -> PriceFile:
    name = _KIND.fullmatch(path.name)
    if name is None:
        raise UsageError(
            f"--prices got {str(path)!r}, wants a name that ends in -trades.csv, -5m.csv, -1h.csv or -1d.csv"
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
            f"--candles got {order}, wants high-first or low-first: {symbol} is long and short in the wave"
        )
    return (sides == {"long"}) == (order == "peak-first")
