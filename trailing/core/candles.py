"""Build closed candles from prices, for the rules that use candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trailing.core.model import Candle, Source

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
    """Build the candles of one symbol and source from the prices that count. `bar_began` says when bars start.

    A bar without prices makes no candle.

    Args:
        seconds: the length of a bar, above 0.
    """

    def __init__(self, symbol: str, source: Source, seconds: float) -> None:
        self._symbol, self._source, self._length = symbol, source, timedelta(seconds=seconds)
        self._opened_at = _EPOCH
        self._prices: tuple[Decimal, Decimal, Decimal, Decimal] | None = None

    def advance(self, utc: datetime) -> Candle | None:
        """Take the time of the next price, and return the candle that closes before it; None: none does.

        Args:
            utc: an aware UTC datetime. An earlier time than before changes nothing.
        """
        opened_at = bar_began(utc, self._length)
        if opened_at <= self._opened_at:
            return None
        closed: Candle | None = None
        if self._prices is not None:
            first, high, low, last = self._prices
            seconds = self._length.total_seconds()
            closed = Candle(self._symbol, self._opened_at, seconds, first, high, low, last, self._source)
        self._opened_at, self._prices = opened_at, None
        return closed

    def add(self, price: Decimal) -> None:
        """Add a price to the bar of the last time."""
        if self._prices is None:
            self._prices = (price, price, price, price)
        else:
            first, high, low, _ = self._prices
            self._prices = (first, max(high, price), min(low, price), price)
