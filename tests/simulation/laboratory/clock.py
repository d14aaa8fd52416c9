"""A virtual clock for worlds that use a real server."""

from __future__ import annotations

import math
from typing import Any

import trio

_TRIO_ITSELF = 1
"""trio always waits for one socket, through which threads and signals wake it."""


class IOAwareClock(trio.abc.Clock):
    """A virtual clock that stops while a task waits for a socket or a thread, and jumps when all tasks only sleep.

    So a server's replies take no virtual time, and no deadline expires meanwhile, also not that of a lease's renewal in
    the background. trio's own mock clock jumps as soon as no task can run.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_clock(self) -> None:
        """Do nothing: the clock starts at 0."""

    def current_time(self) -> float:
        """Return the seconds since the start."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return the real seconds until a deadline. trio asks when no task can run."""
        if deadline > self._now:
            if deadline == math.inf or _waits_for_io():
                return math.inf
            self._now = deadline
        return 0.0


def _waits_for_io() -> bool:
    if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        return True
    sockets: Any = trio.lowlevel.current_statistics().io_statistics  # the type depends on the system
    if sockets.backend == "kqueue":
        waiting: int = sockets.tasks_waiting
    else:
        waiting = sockets.tasks_waiting_read + sockets.tasks_waiting_write
    return waiting > _TRIO_ITSELF
