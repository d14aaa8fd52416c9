"""Times of day that follow the running clock, and the pauses between tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import trio

from trailing.core.retries import FIRST, MOST


class Clock:
    """A clock whose times of day follow the running clock. So setting the machine's clock changes no interval.

    Args:
        utc_start: the time of day at the present moment, aware UTC; None: the machine's. A replay passes the time of its data.

    Attributes:
        now: returns seconds on the running clock.
    """

    def __init__(self, utc_start: datetime | None = None) -> None:
        self._timestamp = (utc_start if utc_start is not None else datetime.now(UTC)).timestamp()
        # Bound once, because opening one position calls it about ten times.
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._start = self.now()

    def utc(self) -> datetime:
        """Return the time of day, aware UTC."""
        return self.utc_at(self.now())

    def utc_at(self, at: float) -> datetime:
        """Return the time of day, aware UTC, at a time on the running clock, in seconds."""
        # Adding a timedelta takes three times as long, and opening one position calls this about ten times.
        return datetime.fromtimestamp(self._timestamp + (at - self._start), UTC)


def pauses(first: float = FIRST, most: float = MOST) -> Iterator[float]:
    """Yield the seconds to wait before each further try, without end.

    They double from `first` up to `most`, both in seconds. Each is multiplied by a random factor from 0.5 to 1.
    """
    seconds = first
    while True:
        yield seconds * random.uniform(0.5, 1.0)
        seconds = min(most, seconds * 2)
