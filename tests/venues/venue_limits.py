"""Rate limits as venues count them: so much in each window of the venue's own time."""

from __future__ import annotations

from collections.abc import Callable


class Window:
    """A count that starts again with each interval of the venue's clock.

    Args:
        seconds: the interval.
        limit: what may be used in each.
        now: the venue's time, in milliseconds.
    """

    def __init__(self, seconds: int, limit: int, now: Callable[[], int]) -> None:
        self.seconds: int = seconds
        self.limit: int = limit
        self._now = now
        self._interval = 0
        self._used = 0

    @property
    def used(self) -> int:
        """What was used of the present interval."""
        interval = self._now() // (self.seconds * 1000)
        if interval != self._interval:
            self._interval, self._used = interval, 0
        return self._used

    @property
    def left_ms(self) -> int:
        """Milliseconds until the next interval."""
        length = self.seconds * 1000
        return length - self._now() % length

    def take(self, weight: int) -> bool:
        """Use so much; whether the limit allowed it. What it didn't allow counts too."""
        self._used = self.used + weight
        return self._used <= self.limit
