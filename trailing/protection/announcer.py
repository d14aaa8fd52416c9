"""Tells the log, the store and the subscribers what happened. Never waits, never fails protection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from trailing.events import Event, Level
from trailing.protection.journal import Journal
from trailing.stores.port import AppendEvent

_SILENT_UNCONFIGURED: frozenset[Level] = frozenset({"debug", "info"})
"""What is not logged where nobody has configured structlog, which would write everything to the standard output."""


class EventLog:
    """Writes events to the log."""

    def __init__(self) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing` need not wait for

        # Bound once: the logger that structlog hands out configures itself anew with every use.
        self._log = structlog.get_logger("trailing").bind()
        self._silent = frozenset[Level]() if structlog.is_configured() else _SILENT_UNCONFIGURED

    def write(self, event: Event) -> None:
        """Write one, where its level is wanted."""
        if event.level in self._silent:
            return
        fields = msgspec.structs.asdict(event)
        del fields["at"]
        getattr(self._log, event.level)(type(event).__name__, **fields)


class Announcer:
    """Publishes events.

    Attributes:
        dropped: events that a subscriber's full channel did not take.
    """

    def __init__(self, journal: Journal, log: EventLog, exchange: str, account: str) -> None:
        self._journal, self._log = journal, log
        self._exchange, self._account = exchange, account
        self._subscribers: set[trio.MemorySendChannel[Event]] = set()
        self.dropped: int = 0

    def publish(self, event: Event) -> None:
        """Tell everybody, now."""
        self._journal.post(AppendEvent(self._exchange, self._account, event))
        for subscriber in self._subscribers:
            try:
                subscriber.send_nowait(event)
            except trio.WouldBlock:
                self.dropped += 1
        self._log.write(event)

    @asynccontextmanager
    async def subscribe(self, capacity: int) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Events from now on, through a channel of this capacity; what finds it full is dropped and counted."""
        send, receive = trio.open_memory_channel[Event](capacity)
        self._subscribers.add(send)
        with send, receive:
            try:
                yield receive
            finally:
                self._subscribers.discard(send)
