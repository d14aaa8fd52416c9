"""Leases for stores that know when an owner has ended, and for stores that stand in front of another one."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from trailing.errors import LeaseLost
from trailing.stores.port import Lease, StoreWrite

Commit: TypeAlias = Callable[[Sequence[StoreWrite]], Awaitable[None]]
"""Writes entries, as `Writer.commit` does."""


class StandingLease:
    """A `Lease` that nothing but its owner's end takes.

    Args:
        commit: the store's.
        owns: what is owned, in words.

    Attributes:
        ended: set once it is owned no more.
    """

    seconds: float = math.inf
    held_until: float = math.inf

    def __init__(self, commit: Commit, owns: str, marks: frozenset[str] = frozenset()) -> None:
        self._commit, self._owns = commit, owns
        self.marks: frozenset[str] = marks
        self.busy_until: float = -math.inf
        self.lost: str | None = None
        self.ended: trio.Event = trio.Event()

    def __repr__(self) -> str:
        return f"<StandingLease of {self._owns}{', ended' if self.ended.is_set() else ''}>"

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write, as the store does. Raises LeaseLost where it has ended."""
        if self.ended.is_set():
            raise LeaseLost(f"{self._owns}: its owner has ended")
        await self._commit(entries)

    async def wait_renewed(self) -> None:
        """Wait for its end, as it needs no renewal. Raises LeaseLost then."""
        await self.ended.wait()
        raise LeaseLost(f"{self._owns}: its owner has ended")

    def end(self) -> None:
        """Let the next one own the account."""
        self.lost = "its owner has ended"
        self.ended.set()


class LeaseInFront:
    """A `Lease` whose commits go another way, and which is another one in everything else."""

    def __init__(self, inner: Lease, commit: Commit) -> None:
        self._inner, self._commit = inner, commit

    @property
    def seconds(self) -> float:
        return self._inner.seconds

    @property
    def held_until(self) -> float:
        return self._inner.held_until

    @property
    def lost(self) -> str | None:
        return self._inner.lost

    @property
    def marks(self) -> frozenset[str]:
        return self._inner.marks

    @property
    def busy_until(self) -> float:
        return self._inner.busy_until

    @busy_until.setter
    def busy_until(self, at: float) -> None:
        self._inner.busy_until = at

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await self._commit(entries)

    async def wait_renewed(self) -> None:
        await self._inner.wait_renewed()
