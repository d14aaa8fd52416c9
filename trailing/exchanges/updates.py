"""A channel of updates whose sender never waits. Ticks that pile up are thinned out; all other updates are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from trailing.core.model import Tick, refuse
from trailing.exchanges.port import Update


class UpdateChannel(trio.abc.ReceiveChannel[Update]):
    """The updates for one subscriber, in order.

    Updates of orders, positions and the stream are never dropped. When more than `tick_bound` ticks wait, they are thinned
    out: for each symbol and source the first, the lowest, the highest and the last tick stay, in order, so that no peak is
    lost. If more than `tick_bound` ticks stay, they are thinned out again when twice as many wait.

    Args:
        tick_bound: the most ticks that may wait, at least 1.

    Attributes:
        dropped: how many ticks were dropped so far.

    Raises:
        UsageError: the bound is no whole number of at least 1.
    """

    def __init__(self, tick_bound: int = 10_000) -> None:
        if type(tick_bound) is not int or tick_bound < 1:
            raise refuse("tick_bound", tick_bound, "a whole number of at least 1")
        self.dropped: int = 0
        self._tick_bound = tick_bound
        self._thin_above = tick_bound
        self._ticks = 0
        self._queue: deque[Update] = deque()
        self._arrival = trio.Event()
        self._receiving = False
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<UpdateChannel: {len(self._queue)} waiting, {self.dropped} ticks dropped>"

    def push(self, update: Update) -> None:
        """Queue an update for the subscriber. A closed channel ignores it."""
        if self._closed:
            return
        self._queue.append(update)
        if isinstance(update, Tick):
            self._ticks += 1
            if self._ticks > self._thin_above:
                self._thin_out()
        self._arrival.set()

    def end(self) -> None:
        """End the channel: after the queued updates, the receiver gets `trio.EndOfChannel`."""
        self._ended = True
        self._arrival.set()

    def receive_nowait(self) -> Update:
        """Return the next update. Raises trio.WouldBlock if none is queued; otherwise as `receive`."""
        if self._closed:
            raise trio.ClosedResourceError("this channel was closed")
        if self._queue:
            update = self._queue.popleft()
            if isinstance(update, Tick):
                self._ticks -= 1
            return update
        if self._ended:
            raise trio.EndOfChannel
        raise trio.WouldBlock

    def receive_waiting(self, most: int) -> list[Update]:
        """Return up to `most` queued updates; none if the channel has ended or was closed."""
        found: list[Update] = []
        while self._queue and len(found) < most:
            found.append(self.receive_nowait())
        return found

    async def receive(self) -> Update:
        """Wait for the next update and return it.

        Cancellation: nothing is lost; the update stays queued.

        Raises:
            trio.BusyResourceError: another task is receiving. Each task must subscribe by itself.
            trio.ClosedResourceError: the channel was closed.
            trio.EndOfChannel: the exchange was closed, and all updates before that were received.
        """
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this channel")
        self._receiving = True
        try:
            if self._queue or self._ended or self._closed:  # otherwise the wait below is a checkpoint
                await trio.lowlevel.checkpoint()
            while True:
                try:
                    return self.receive_nowait()
                except trio.WouldBlock:
                    self._arrival = trio.Event()
                    await self._arrival.wait()
        finally:
            self._receiving = False

    def close(self) -> None:
        """Drop the queued updates. A waiting receiver gets `trio.ClosedResourceError`."""
        self._closed = True
        self._queue.clear()
        self._arrival.set()

    async def aclose(self) -> None:
        """Close the channel, then pass a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _thin_out(self) -> None:
        updates = list(self._queue)
        kept: dict[tuple[str, str], list[int]] = {}
        for index, update in enumerate(updates):
            if not isinstance(update, Tick):
                continue
            marks = kept.setdefault((update.symbol, update.source), [index] * 4)  # first, lowest, highest, last
            for mark, is_new in (
                (1, update.price < updates[marks[1]].price),  # type: ignore[union-attr]  # marks point at ticks
                (2, update.price > updates[marks[2]].price),  # type: ignore[union-attr]
                (3, True),
            ):
                if is_new:
                    marks[mark] = index
        staying = {index for marks in kept.values() for index in marks}
        self.dropped += self._ticks - len(staying)
        self._ticks = len(staying)
        self._thin_above = max(self._tick_bound, 2 * self._ticks)
        self._queue = deque(
            update for index, update in enumerate(updates) if not isinstance(update, Tick) or index in staying
        )


def waiting(updates: trio.abc.ReceiveChannel[Update], most: int) -> Sequence[Update]:
    """Return up to `most` updates that are queued already.

    A checkpoint for each update would cost as much time as its handling.
    """
    receive_waiting: Callable[[int], Sequence[Update]] | None = getattr(updates, "receive_waiting", None)
    return () if receive_waiting is None else receive_waiting(most)
