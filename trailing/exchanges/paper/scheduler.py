"""Runs callbacks at given times. A task and a cancel scope for each one would cost more than the callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

import trio


class Scheduler:
    """Calls functions at given times, in order of time; those of the same time in order of scheduling."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._sleep = trio.CancelScope()

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        """Schedule a call at a time on the running clock. A time in the past is called at once.

        An error of the call ends `run`.
        """
        self._scheduled += 1
        heappush(self._calls, (at, self._scheduled, call))
        if self._calls[0][1] == self._scheduled:
            self._sleep.deadline = at

    async def run(self) -> None:
        """Run scheduled calls, for ever. Cancellation: the remaining calls are dropped."""
        while True:
            while self._calls and self._calls[0][0] <= trio.current_time():
                heappop(self._calls)[2]()
            self._sleep = trio.CancelScope(deadline=self._calls[0][0] if self._calls else math.inf)
            with self._sleep:
                await trio.sleep_forever()
