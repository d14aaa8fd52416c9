"""One timer for all that the paper exchange does later: a task and a scope for each would cost more than what they do."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

import trio


class Timer:
    """Calls back at given times, in their order; those of one time in the order in which they were asked for."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0
        self._sleep = trio.CancelScope()

    def call_at(self, at: float, what: Callable[[], None]) -> None:
        """Let something be called at a time on the running clock, or as soon as `run` runs.

        What it raises ends `run`.
        """
        self._asked += 1
        heappush(self._calls, (at, self._asked, what))
        if self._calls[0][1] == self._asked:
            self._sleep.deadline = at

    async def run(self) -> None:
        """Call back, for ever. Cancellation: what is still to come is not called."""
        while True:
            while self._calls and self._calls[0][0] <= trio.current_time():
                heappop(self._calls)[2]()
            self._sleep = trio.CancelScope(deadline=self._calls[0][0] if self._calls else math.inf)
            with self._sleep:
                await trio.sleep_forever()
