"""Collects the updates that an exchange pushes during a check, and waits for one of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from trailing.exchanges.port import Update


class UpdateLog:
    """The updates of an account in the order of their arrival.

    Attributes:
        updates: all of them so far.
    """

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._arrival = trio.Event()

    async def collect(self, channel: trio.abc.ReceiveChannel[Update]) -> None:
        """Collect from a channel until it ends."""
        async for update in channel:
            self.updates.append(update)
            self._arrival.set()
            self._arrival = trio.Event()

    async def wait_for(
        self, matches: Callable[[Update], bool], *, since: int = 0, seconds: float = math.inf
    ) -> Update | None:
        """Return the first update that matches; None: none came in time.

        Args:
            matches: decides about one update.
            since: the number of updates that came too early.
            seconds: how long to wait for it, at least 0.
        """
        with trio.move_on_after(seconds):
            position = since
            while True:
                while position < len(self.updates):
                    if matches(self.updates[position]):
                        return self.updates[position]
                    position += 1
                await self._arrival.wait()
        return None
