"""Minute candles, built from the ticks of the paper exchange."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trailing.core.model import Candle, Source, Tick

SECONDS = 60
KEPT = 10_000  # closed candles for each symbol and source: almost a week


class _Bar:
    __slots__ = ("close", "high", "low", "minute", "open")

    def __init__(self, minute: int, price: Decimal) -> None:
        self.minute = minute
        self.open = self.high = self.low = self.close = price

    def add(self, price: Decimal) -> None:
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price


class CandleSeries:
    """Builds candles for every symbol and source. A minute without a tick has no candle, as on a real exchange.

    Args:
        utc_start: the UTC time at `started_at`.
        started_at: seconds on the running clock.
    """

    def __init__(self, utc_start: datetime, started_at: float) -> None:
        self._epoch_at_zero = utc_start.timestamp() - started_at
        self._bars: dict[tuple[str, Source], deque[_Bar]] = {}

    def add(self, tick: Tick, now: float) -> None:
        """Add a tick to the candle of `now`, in seconds on the running clock."""
        minute = self._minute(now)
        bars = self._bars.get((tick.symbol, tick.source))
        if bars is None:
            bars = self._bars[tick.symbol, tick.source] = deque(maxlen=KEPT + 1)  # one more for the open candle
        if bars and bars[-1].minute == minute:
            bars[-1].add(tick.price)
        else:
            bars.append(_Bar(minute, tick.price))

    def closed(self, symbol: str, source: Source, since: datetime, now: float) -> Sequence[Candle]:
        """Return the candles that opened at or after `since` (UTC) and are closed at `now`, oldest first."""
        first, current = math.ceil(since.timestamp() / SECONDS), self._minute(now)
        return tuple(
            Candle(
                symbol,
                datetime.fromtimestamp(0, UTC) + timedelta(seconds=bar.minute * SECONDS),
                SECONDS,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                source,
            )
            for bar in self._bars.get((symbol, source), ())
            if first <= bar.minute < current
        )

    def running_clock(self, at: datetime) -> float:
        """Return a UTC time in seconds on the running clock."""
        return at.timestamp() - self._epoch_at_zero

    def utc(self, at: float) -> datetime:
        """Return the time of day of a time on the running clock."""
        return datetime.fromtimestamp(self._epoch_at_zero + at, UTC)

    def _minute(self, now: float) -> int:
        return math.floor((self._epoch_at_zero + now) / SECONDS)
