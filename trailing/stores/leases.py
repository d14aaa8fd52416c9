"""Leases that last as long as their process, and a proxy for leases."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from trailing.errors import LeaseLost
from trailing.stores.port import Lease, StoreWrite

Commit: TypeAlias = Callable[[Sequence[StoreWrite]], Awaitable[None]]
"""A function that writes entries, as `Writer.commit` does."""


class ProcessLease:
    """A `Lease` that lasts until its owner ends it. No other process can take it, and it needs no renewal.

    Args:
        commit: the commit function of the store.
        owns: the exchange and the account, for messages.
        marks: see `Lease.marks`.

    Attributes:
        ended: set when the lease ends.
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
        return f"<ProcessLease of {self._owns}: {'ended' if self.ended.is_set() else 'held'}>"

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write entries, as the store does. Raises LeaseLost if the lease has ended."""
        if self.ended.is_set():
            raise LeaseLost(f"{self._owns}: the lease has ended")
        await self._commit(entries)

    async def wait_renewed(self) -> None:
        """Wait for the end of the lease, because it needs no renewal. Raises LeaseLost then."""
        await self.ended.wait()
        raise LeaseLost(f"{self._owns}: the lease has ended")

    def end(self) -> None:
        """End the lease, so that the account is free."""
        self.lost = "the lease has ended"
        self.ended.set()


class LeaseProxy:
    """A `Lease` with another commit function; everything else is the inner lease's."""

    def __init__(self, inner: Lease, commit: Commit) -> None:
        self._inner, self._commit = inner, commit

    def __repr__(self) -> str:
        return f"<LeaseProxy of {self._inner!r}>"

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
