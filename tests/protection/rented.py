"""A store whose leases end by a script: what they are renewed for, and when they are lost, says the test."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from trailing import LeaseLost
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import Lease, Store, StoreWrite


class RentedLease(LeaseProxy):
    """Held for `seconds` from the start and from each `renew()` on, until `lose()`."""

    lost: str | None = None

    def __init__(self, inner: Lease, seconds: float) -> None:
        super().__init__(inner, self.commit)
        self._seconds, self._changed = seconds, trio.Event()
        self.until = trio.current_time() + seconds

    @property
    def seconds(self) -> float:
        return self._seconds

    @property
    def held_until(self) -> float:
        return self.until

    def renew(self) -> None:
        self._change(trio.current_time() + self._seconds)

    def lose(self) -> None:
        self.lost = "another owner has it now"
        self._change(-math.inf)

    def _change(self, until: float) -> None:
        self.until = until
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        if self.lost is not None:
            raise LeaseLost(self.lost)
        await self._inner.commit(entries)

    async def wait_renewed(self) -> None:
        if self.lost is None:
            await self._changed.wait()
        if self.lost is not None:
            raise LeaseLost(self.lost)


class RentingStore:
    """In front of another store. `lease`: the last one; `seconds`: of each."""

    def __init__(self, inner: Store, seconds: float) -> None:
        self._inner, self.seconds = inner, seconds
        self.lease: RentedLease

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    @asynccontextmanager
    async def acquire_lease(self, *account: str, **options: Any) -> AsyncIterator[RentedLease]:
        async with self._inner.acquire_lease(*account, **options) as lease:
            self.lease = RentedLease(lease, self.seconds)
            yield self.lease
