"""Build closed candles from ticks, for the rules that use candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trailing.core.model import Candle, Tick

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bar_began(at: datetime, length: timedelta) -> datetime:
    """Return the start of the bar that contains a time of day.

    Bars start at multiples of their length since 1970-01-01, in UTC.

    Args:
        at: an aware UTC datetime.
        length: of a bar, above 0.
    """
    return _EPOCH + (at - _EPOCH) // length * length


class CandleBuilder:
    """Build the candles of one symbol and source from ticks. `bar_began` says when bars start.

    Args:
        seconds: the length of a bar, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._length = timedelta(seconds=seconds)
        self._opened_at: datetime | None = None
        self._prices: tuple[Decimal, Decimal, Decimal, Decimal] | None = None

    def take(self, tick: Tick, utc: datetime) -> Candle | None:
        """Add a tick, and return the candle that it closes; None: it closes none.

        The first tick after the end of a bar closes its candle. A bar without ticks makes no candle.

        Args:
            tick: of this symbol and source.
            utc: the time of day of the tick, an aware UTC datetime.
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
