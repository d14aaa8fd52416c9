"""Candles like a venue's: recorded ones of any length, or those of minutes that are built from prices.

Of those from prices, the open one is included, and a minute without trades repeats the last price.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from trailing.core.model import Source

MINUTE = 60_000
"""Milliseconds."""

LENGTHS: Mapping[str, int] = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "1h": 60 * MINUTE,
    "1d": 1440 * MINUTE,
}
"""The milliseconds of the lengths that the servers know."""


class Bar(msgspec.Struct, frozen=True):
    """One minute. `opened_at` is in milliseconds."""

    opened_at: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Candles:
    """Builds the candles of every symbol and source by the venue's time."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._bars: dict[tuple[str, Source], dict[int, Bar]] = {}
        self._recorded: dict[tuple[str, Source, int], Sequence[Bar]] = {}

    def record(self, symbol: str, source: Source, bars: Sequence[Bar], length: int = MINUTE) -> None:
        """Set all candles of a length in milliseconds, oldest first. Some may be missing."""
        self._recorded[symbol, source, length] = bars

    def between(self, symbol: str, source: Source, length: int, start: int, end: int) -> Sequence[Bar]:
        """Return the candles that open from `start` to `end`, both included, and not in the future; oldest first."""
        recorded = self._recorded.get((symbol, source, length))
        if recorded is None:
            bars = self.since(symbol, source, start, 10**6) if length == MINUTE else ()
            return [bar for bar in bars if bar.opened_at <= end]
        first = bisect_left(recorded, start, key=_opened_at)
        return recorded[first : bisect_right(recorded, min(end, self._now()), key=_opened_at)]

    def add(self, symbol: str, source: Source, price: Decimal, at: int | None = None) -> None:
        """Add a price to the minute of a time, in milliseconds; None: now."""
        minute = (self._now() if at is None else at) // MINUTE * MINUTE
        bars = self._bars.setdefault((symbol, source), {})
        bar = bars.get(minute, Bar(minute, price, price, price, price))
        bars[minute] = Bar(minute, bar.open, max(bar.high, price), min(bar.low, price), price)

    def since(self, symbol: str, source: Source, start: int | None, limit: int) -> Sequence[Bar]:
        """Return the first candles from a time on, or without a time the last ones; oldest first."""
        known = self._bars.get((symbol, source), {})
        if not known:
            return ()
        bars: list[Bar] = []
        minute = min(known)
        while minute <= self._now():
            last = bars[-1].close if bars else known[minute].open
            bars.append(known.get(minute, Bar(minute, last, last, last, last)))
            minute += MINUTE
        if start is None:
            return bars[-limit:]
        return [bar for bar in bars if bar.opened_at >= start][:limit]


def _opened_at(bar: Bar) -> int:
    return bar.opened_at
