"""Time: the one place where the running clock and the time of day meet, and the pauses between tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import trio

from trailing.core.retries import FIRST, MOST


class Clock:
    """Times of day as they follow from the monotonic clock, so that setting the machine's clock moves no interval.

    Args:
        utc_start: the time of day that the present moment stands for, aware UTC; None: now. A replay passes its data's.

    Attributes:
        now: called, gives seconds on the running clock.
    """

    def __init__(self, utc_start: datetime | None = None) -> None:
        self._utc_start = utc_start if utc_start is not None else datetime.now(UTC)
        # Bound once: asked for some ten times on a position's way to its stop.
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._start = self.now()

    def utc(self) -> datetime:
        """The time of day."""
        return self.utc_at(self.now())

    def utc_at(self, at: float) -> datetime:
        """The time of day of a reading of the running clock."""
        return self._utc_start + timedelta(seconds=at - self._start)


def pauses(first: float = FIRST, most: float = MOST) -> Iterator[float]:
    """Yield the seconds to wait before each further try: doubling, with jitter between half and all of it."""
    seconds = first
    while True:
        yield seconds * random.uniform(0.5, 1.0)
        seconds = min(most, seconds * 2)
