"""The stream of the paper exchange: its subscribers, the subscribed symbols, and the state of its connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from trailing.core.model import Tick
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StreamState
from trailing.exchanges.updates import UpdateChannel


class Stream:
    """Pushes updates to all subscribers, and ticks of the subscribed symbols only.

    Attributes:
        connected: whether updates are pushed.
        subscriptions: the symbols whose ticks are pushed.
    """

    def __init__(self) -> None:
        self.connected: bool = True
        self.subscriptions: frozenset[str] = frozenset()
        self._channels: list[UpdateChannel] = []
        self._lost = ""
        self._subscriptions_sent = self._subscriptions_applied = 0

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[UpdateChannel]:
        """Open a channel of all updates from now on. If the stream is down, the first update says so."""
        channel = UpdateChannel()
        if not self.connected:
            channel.push(StreamState(False, trio.current_time(), self._lost))
        self._channels.append(channel)
        try:
            yield channel
        finally:
            self._channels.remove(channel)
            channel.close()

    def new_subscriptions(self, symbols: frozenset[str]) -> Callable[[float], None]:
        """Return a function that applies new subscriptions. Those that were sent last count, even if they arrive first."""
        self._subscriptions_sent += 1
        number = self._subscriptions_sent

        def apply(_: float) -> None:
            if number > self._subscriptions_applied:
                self._subscriptions_applied, self.subscriptions = number, symbols

        return apply

    def publish(self, update: Tick | OrderUpdate | EntryUpdate | PositionUpdate) -> None:
        """Push an update to all subscribers. While the stream is down, the update is lost."""
        if not self.connected or (isinstance(update, Tick) and update.symbol not in self.subscriptions):
            return
        for channel in self._channels:
            channel.push(update)

    def switch(self, detail: str, *, connected: bool) -> None:
        """Take the stream down or up. Nothing happens if it is in that state already."""
        if connected == self.connected:
            return
        self.connected = connected
        self._lost = "" if connected else detail
        for channel in self._channels:
            channel.push(StreamState(connected, trio.current_time(), detail))

    def end(self) -> None:
        """End the channels: each subscriber receives what is queued, then `trio.EndOfChannel`."""
        for channel in self._channels:
            channel.end()
