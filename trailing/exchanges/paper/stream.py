"""The stream of the paper exchange: who listens, to which symbols, and whether the line is up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from trailing.core.model import Tick
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StreamState
from trailing.exchanges.updates import UpdateChannel


class Stream:
    """Hands every update to every subscriber, and ticks of watched symbols only."""

    def __init__(self) -> None:
        self.connected: bool = True
        self.watched: frozenset[str] = frozenset()
        self._channels: list[UpdateChannel] = []
        self._lost = ""
        self._watch_sent = self._watch_booked = 0

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[UpdateChannel]:
        """A channel of what is pushed from now on; on a line that is down, the first update says so."""
        channel = UpdateChannel()
        if not self.connected:
            channel.push(StreamState(False, trio.current_time(), self._lost))
        self._channels.append(channel)
        try:
            yield channel
        finally:
            self._channels.remove(channel)
            channel.close()

    def new_watch(self, symbols: frozenset[str]) -> Callable[[float], None]:
        """Return what books a watch of these symbols. The watch that was sent last counts, even if it arrives first."""
        self._watch_sent += 1
        number = self._watch_sent

        def book(_: float) -> None:
            if number > self._watch_booked:
                self._watch_booked, self.watched = number, symbols

        return book

    def publish(self, update: Tick | OrderUpdate | PositionUpdate) -> None:
        """Push to all; what is published while the line is down is lost."""
        if not self.connected or (isinstance(update, Tick) and update.symbol not in self.watched):
            return
        for channel in self._channels:
            channel.push(update)

    def switch(self, detail: str, *, connected: bool) -> None:
        """Let the line go down or come back; saying what is so already does nothing."""
        if connected == self.connected:
            return
        self.connected = connected
        self._lost = "" if connected else detail
        for channel in self._channels:
            channel.push(StreamState(connected, trio.current_time(), detail))

    def end(self) -> None:
        """Let every subscriber reach the end of its channel."""
        for channel in self._channels:
            channel.end()
