"""Minute candles like a venue's: the open one is included, and a minute without trades repeats the last price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from trailing.core.model import Source

MINUTE = 60_000
"""Milliseconds."""


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
