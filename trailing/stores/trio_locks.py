"""Locks that let no other task run where they are free.

trio's own `acquire` is always a checkpoint: every task that can run goes first. During a wave these are hundreds, which take
tens of milliseconds, and the server has nothing to do meanwhile. What is done under these locks has checkpoints of its own.
"""

from __future__ import annotations

from types import TracebackType

import trio


async def acquire(lock: trio.StrictFIFOLock | trio.Semaphore) -> None:
    """Acquire a lock: at once where it is free, else in the order in which tasks ask.

    Cancellation: before it is acquired, also where it is free.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


class Turn:
    """A lock to be entered, which one task holds at a time."""

    def __init__(self) -> None:
        self._lock = trio.StrictFIFOLock()

    async def __aenter__(self) -> None:
        await acquire(self._lock)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
