"""Price gaps: times without ticks, whose peaks are read from candles."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from trailing.core.candles import bar_began

BAR: Final = timedelta(minutes=1)
"""The bars that an exchange's candles are asked for in; the one in which a gap began belongs to it."""

READ_AGAIN: Final = 5.0
"""Seconds until candles are asked for again that could not be read: a busy venue's limits count by the minute."""


class PriceGap(msgspec.Struct, frozen=True):
    """A time in which no price came.

    Args:
        since, until: aware UTC.
        read_at: when to read its candles, in seconds on the running clock.
        is_last_try: the bar in which it ended was still open when the candles were read first.
    """

    since: datetime
    until: datetime
    read_at: float
    is_last_try: bool = False

    def joined(self, earlier: PriceGap | None) -> PriceGap:
        """Return this gap from where an earlier one began that was not read yet."""
        return self if earlier is None else replace(self, since=min(self.since, earlier.since))

    def begins_at(self, opened_at: datetime) -> datetime:
        """Return from when on a whole candle shows the gap and lies in the life of a position opened then."""
        return max(self.since - BAR, opened_at)

    def is_shown_by_candles(self, opened_at: datetime) -> bool:
        """Whether a whole candle may show the gap. Where none opened in it, there is nothing to read, now or later."""
        since = self.begins_at(opened_at)
        bar = bar_began(since, BAR)
        return (bar if bar == since else bar + BAR) < self.until
