"""A virtual clock for worlds that talk to a server, which knows nothing of it."""

from __future__ import annotations

import math
from typing import Any

import trio

_TRIO_ITSELF = 1
"""trio always waits for one socket: that through which threads and signals wake it."""


class IOAwareClock(trio.abc.Clock):
    """A virtual clock that stands still while a task waits for a socket or a thread, and jumps where all only sleep.

    Whatever a server takes for its answers so takes no time here, and no deadline strikes meanwhile, whoever asked: also a
    lease that is renewed in the background. trio's own mock clock jumps as soon as no task can run.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_clock(self) -> None:
        """It has begun."""

    def current_time(self) -> float:
        """Seconds since it began."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """What trio asks when no task can run: how many real seconds from now the deadline is."""
        if deadline > self._now:
            if deadline == math.inf or _waits_for_io():
                return math.inf
            self._now = deadline
        return 0.0


def _waits_for_io() -> bool:
    if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        return True
    sockets: Any = trio.lowlevel.current_statistics().io_statistics  # another type on each system
    if sockets.backend == "kqueue":
        waiting: int = sockets.tasks_waiting
    else:
        waiting = sockets.tasks_waiting_read + sockets.tasks_waiting_write
    return waiting > _TRIO_ITSELF
