"""Pass frames on to every open page. A page that reads too slowly is disconnected, and connects again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import trio

MOST_PAGES: Final = 32
"""The most pages that are connected at once. Each further one is told to try again."""

QUEUE: Final = 16
"""Frames that may wait for one page, which are a few seconds."""

MOST_EVENTS: Final = 200
"""Recent events that a new page gets."""


class Full(Exception):
    """As many pages are connected as may be."""


class Hub:
    """The connected pages.

    Attributes:
        events: the recent events that were sent, as a page shows them. A new page gets those that wait with the next frame.
    """

    def __init__(self) -> None:
        self._pages: set[trio.MemorySendChannel[bytes]] = set()
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)

    @property
    def is_watched(self) -> bool:
        """Return whether any page is connected."""
        return bool(self._pages)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        """Open a channel of all frames from now on. It is closed if its page reads too slowly.

        Raises:
            Full: too many pages are connected.
        """
        if len(self._pages) >= MOST_PAGES:
            raise Full
        send, receive = trio.open_memory_channel[bytes](QUEUE)
        self._pages.add(send)
        with send, receive:
            try:
                yield receive
            finally:
                self._pages.discard(send)

    def send(self, name: str, value: Any) -> None:
        """Send a frame to every page, without waiting."""
        if not self._pages:
            return
        frame = encode_frame(name, value)
        for page in tuple(self._pages):
            try:
                page.send_nowait(frame)
            except trio.WouldBlock:
                self._pages.discard(page)
                page.close()


def encode_frame(name: str, value: Any) -> bytes:
    """Return a server-sent event. JSON has no line breaks, so that the data is one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))
