"""Price gaps: times without ticks. Their peaks are read from candles."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from trailing.core.candles import bar_began

BAR: Final = timedelta(minutes=1)
"""The length of the candles that are requested for a gap. The candle in which a gap began belongs to it."""

READ_AGAIN: Final = 5.0
"""Seconds until a failed read of candles is tried again. The limits of a busy venue count by the minute."""


class PriceGap(msgspec.Struct, frozen=True):
    """A time in which no price came.

    Args:
        since, until: aware UTC.
        read_at: when to read its candles, in seconds on the running clock.
        is_last_try: whether the next read is the last one. The first read did not reach the end of the gap, because the
            bar in which it ended was still open.
    """

    since: datetime
    until: datetime
    read_at: float
    is_last_try: bool = False

    def joined(self, earlier: PriceGap | None) -> PriceGap:
        """Return this gap, extended to the start of an earlier one.

        Args:
            earlier: a gap that was not read yet; None: there is none.
        """
        return self if earlier is None else replace(self, since=min(self.since, earlier.since))

    def begins_at(self, opened_at: datetime) -> datetime:
        """Return the time from which candles are requested for the gap.

        It is one bar before the gap, but not before the position was opened.

        Args:
            opened_at: when the position was opened, aware UTC.
        """
        return max(self.since - BAR, opened_at)

    def is_shown_by_candles(self, opened_at: datetime) -> bool:
        """Return whether a whole candle may show the gap.

        It may if a bar opens at `begins_at` or later, and before the gap ends. Otherwise there is nothing to read, now
        or later.

        Args:
            opened_at: when the position was opened, aware UTC.
        """
        since = self.begins_at(opened_at)
        bar = bar_began(since, BAR)
        return (bar if bar == since else bar + BAR) < self.until
