"""Locks that let no other task run when they are free.

trio's own `acquire` is always a checkpoint, so that every runnable task goes first. With hundreds of tasks that takes tens of
milliseconds, during which the server has nothing to do. The code under these locks has checkpoints of its own.
"""

from __future__ import annotations

from types import TracebackType

import trio


async def acquire(lock: trio.StrictFIFOLock | trio.Semaphore) -> None:
    """Acquire a lock at once if it is free, else in the order of the calls.

    Cancellation: raises before the lock is acquired, also if it is free.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


class FifoLock:
    """A lock for `async with` that makes no checkpoint if it is free.

    Waiting tasks get it in the order of their calls.

    Cancellation: a task that is cancelled does not enter, also if the lock is free.
    """

    def __init__(self) -> None:
        self._lock = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        statistics = self._lock.statistics()
        owner = "free" if statistics.owner is None else f"held by {statistics.owner.name}"
        return f"<FifoLock: {owner}, {statistics.tasks_waiting} tasks waiting>"

    async def __aenter__(self) -> None:
        await acquire(self._lock)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
