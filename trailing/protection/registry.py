"""The claims of positions, and the queues of positions that wait for a claim.

This module has the only lock of `trailing.protection`. Nothing awaits while the lock is held, so that it is free whenever it is
needed. It is taken without waiting. If an await is ever put inside, the next attempt to take it raises at once.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import trio

from trailing.core.model import Side
from trailing.protection.position_task import PositionTask

Key: TypeAlias = tuple[str, str, str, Side | None]


class _Unwaited:
    """A lock that is taken without waiting, in a plain `with`."""

    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire_nowait()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Registry:
    """Hold one claim for each key: exchange, account, symbol and, if the account is hedged, side.

    If another position holds the key of a position, the position can wait in a queue. The step that frees a key, under the lock,
    also gives it to the first task in the queue.
    """

    def __init__(self, exchange: str, account: str, *, hedged: bool) -> None:
        self._exchange, self._account, self._hedged = exchange, account, hedged
        self._lock = _Unwaited(trio.Lock())
        self._claims: dict[Key, PositionTask] = {}
        self._queues: dict[Key, deque[PositionTask]] = {}
        self._changed: trio.Event | None = None

    def key(self, symbol: str, side: Side) -> Key:
        """Return the key under which a position is claimed."""
        return (self._exchange, self._account, symbol, side if self._hedged else None)

    def _key_of(self, task: PositionTask) -> Key:
        return self.key(task.state.position.symbol, task.state.position.side)

    # Changes, each under the lock.

    def claim(self, new: PositionTask) -> PositionTask:
        """Claim a position's key. Returns `new`, or the task that holds the key already."""
        with self._lock:
            held = self._claims.setdefault(self._key_of(new), new)
            if held is new:
                self._note_change()
            return held

    def wait_for(self, task: PositionTask) -> None:
        """Put a task at the end of the queue for its key. It is listed as unprotected from now on."""
        with self._lock:
            task.is_waiting = True
            self._queues.setdefault(self._key_of(task), deque()).append(task)
            self._note_change()

    def drop(self, task: PositionTask) -> None:
        """Remove a task from the queue for its key."""
        with self._lock:
            key = self._key_of(task)
            queue = self._queues[key]
            queue.remove(task)
            if not queue:
                del self._queues[key]
            task.is_waiting = False
            self._note_change()

    def release(self, task: PositionTask) -> PositionTask | None:
        """End a claim, and give its key to the first task in the queue. To release it again is no error.

        Returns:
            The task that has the key now, or None.
        """
        with self._lock:
            key = self._key_of(task)
            if self._claims.get(key) is not task:
                return None
            del self._claims[key]
            queue, following = self._queues.get(key), None
            if queue is not None:
                following = self._claims[key] = queue.popleft()
                following.is_waiting = False
                if not queue:
                    del self._queues[key]
            self._note_change()
        return following

    # What is claimed.

    def get(self, symbol: str, side: Side) -> PositionTask | None:
        """Return the task that has claimed this symbol and side, or None."""
        held = self._claims.get(self.key(symbol, side))
        return held if held is not None and held.state.position.side == side else None

    def holder(self, symbol: str, side: Side) -> PositionTask | None:
        """Return the task that holds the key of this symbol and side, or None. Its own side may be the other one."""
        return self._claims.get(self.key(symbol, side))

    def of_symbol(self, symbol: str) -> tuple[PositionTask, ...]:
        """Return the tasks with a claim of a symbol, at most two in a hedged account and else one."""
        if not self._hedged:  # the fast way, because every tick takes it
            held = self._claims.get((self._exchange, self._account, symbol, None))
            return () if held is None else (held,)
        both = (self.get(symbol, "long"), self.get(symbol, "short"))
        return tuple(held for held in both if held is not None)

    def all(self) -> tuple[PositionTask, ...]:
        """Return every task with a claim, in the order of the claims."""
        return tuple(self._claims.values())

    def waiting(self) -> tuple[PositionTask, ...]:
        """Return every task that waits for its key."""
        return tuple(task for queue in self._queues.values() for task in queue)

    def symbols(self) -> frozenset[str]:
        """Return the symbols that are claimed."""
        return frozenset(key[2] for key in self._claims)

    async def wait_empty(self) -> None:
        """Wait until nothing is claimed."""
        while self._claims:
            await self.wait_changed()
        await trio.lowlevel.checkpoint()

    async def wait_changed(self) -> None:
        """Wait until something is claimed or released."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
