"""A clock without the time in which other processes had the processor, for figures of a second or less.

It counts the processor time of this process, and the time in which it had nothing to do. So a server in the same process, its
client and their sleeps are measured together, however busy the machine is.
"""

from __future__ import annotations

import time

import trio


class OwnTime(trio.abc.Clock, trio.abc.Instrument):
    """The clock of a trio run. The run needs it as its clock and as an instrument."""

    def __init__(self) -> None:
        self._idle = 0.0
        self._began = (0.0, 0.0)

    def start_clock(self) -> None:
        """Begin nothing, because the clock has begun with the process."""

    def current_time(self) -> float:
        """Return the seconds so far."""
        return time.process_time() + self._idle

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return the seconds until a deadline."""
        return deadline - self.current_time()

    def before_io_wait(self, timeout: float) -> None:
        """Note when an idle time begins. `timeout` is its length at most, in seconds."""
        self._began = time.perf_counter(), time.process_time()

    def after_io_wait(self, timeout: float) -> None:
        """Count the idle time, and not what the machine needed beyond it to wake this process."""
        at, used = self._began
        waited = min(timeout, time.perf_counter() - at)
        self._idle += max(0.0, waited - (time.process_time() - used))
