"""Closed candles out of ticks, for the rules that look at candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trailing.core.model import Candle, Tick

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bar_began(at: datetime, length: timedelta) -> datetime:
    """When the bar began that a time of day lies in: at a multiple of its length since 1970, in UTC."""
    return _EPOCH + (at - _EPOCH) // length * length


class CandleBuilder:
    """Builds the candles of one symbol and source; for where bars begin, see `bar_began`.

    Args:
        seconds: how long a bar lasts, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._length = timedelta(seconds=seconds)
        self._opened_at: datetime | None = None
        self._prices: tuple[Decimal, Decimal, Decimal, Decimal] | None = None

    def take(self, tick: Tick, utc: datetime) -> Candle | None:
        """Take a tick and its time of day. Returns the candle that it closes: the first tick after its end does.

        A bar without ticks makes no candle.
        """
        opened_at = bar_began(utc, self._length)
        closed: Candle | None = None
        if self._prices is not None and self._opened_at is not None and opened_at > self._opened_at:
            first, high, low, last = self._prices
            closed = Candle(
                tick.symbol, self._opened_at, self._length.total_seconds(), first, high, low, last, tick.source
            )
            self._prices = None
        if self._prices is None:
            self._opened_at = opened_at
            self._prices = (tick.price, tick.price, tick.price, tick.price)
        else:
            first, high, low, _ = self._prices
            self._prices = (first, max(high, tick.price), min(low, tick.price), tick.price)
        return closed
