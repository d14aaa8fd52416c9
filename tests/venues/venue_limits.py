"""Rate limits as venues count them: by windows of the venue's time."""

from __future__ import annotations

from collections.abc import Callable


class Window:
    """A count that restarts with each interval of the venue's clock.

    Args:
        seconds: the length of an interval.
        limit: the most that may be used in an interval.
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
        """The used amount of the present interval."""
        interval = self._now() // (self.seconds * 1000)
        if interval != self._interval:
            self._interval, self._used = interval, 0
        return self._used

    @property
    def left_ms(self) -> int:
        """Return the milliseconds until the next interval."""
        length = self.seconds * 1000
        return length - self._now() % length

    def take(self, weight: int) -> bool:
        """Use an amount, and return whether the limit allows it. A refused amount counts too."""
        self._used = self.used + weight
        return self._used <= self.limit
