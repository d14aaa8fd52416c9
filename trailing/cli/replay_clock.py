"""The clock of a replay, which keeps the data's time, and a store on which it stands still.

trio's mock clock knows nothing of threads: it would jump over a deadline while a commit is being written to the disk.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime

import trio
import trio.testing

from trailing.cli.distant_store import open_distant_store
from trailing.stores import open_store
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import EventRecord, Lease, Loaded, Store, StoreWrite, Writer
from trailing.stores.urls import is_postgres


class ReplayClock:
    """A trio clock that begins at a time of the data and can be held.

    Args:
        start: the data's time that it begins with, in seconds since 1970.
        speed: seconds of the data for one second; None: from event to event, as fast as the machine allows.

    Attributes:
        clock: for `trio.run`.
    """

    def __init__(self, start: float, speed: float | None) -> None:
        self._speed = speed
        self._holds = 0
        self._released = trio.Event()
        self.clock: trio.testing.MockClock = trio.testing.MockClock()
        self.clock.jump(start)
        self._go()

    def _go(self) -> None:
        if self._speed is None:
            self.clock.autojump_threshold = 0
        else:
            self.clock.rate = self._speed

    def jump_to(self, at: float) -> None:
        """Go on from a later time of the data, in seconds since 1970; an earlier one is no error."""
        self.clock.jump(max(0.0, at - self.clock.current_time()))

    def hold(self) -> None:
        """Stand still until as many `release` have come."""
        self._holds += 1
        self.clock.rate = 0
        self.clock.autojump_threshold = math.inf

    def release(self) -> None:
        """Go on, unless somebody else still holds it."""
        self._holds -= 1
        if not self._holds:
            self._go()
            self._released.set()
            self._released = trio.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still for a block."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    async def settle(self) -> None:
        """Wait until nobody has anything left to do at this moment: every task waits, and nobody holds the clock.

        After it, what happens next does not depend on the order in which trio ran the tasks.
        """
        await trio.testing.wait_all_tasks_blocked()
        while self._holds:
            await self._released.wait()
            await trio.testing.wait_all_tasks_blocked()


class HoldingStore:
    """A `Store` whose calls hold the clock.

    No deadline of the replay's clock passes during a call, so that the store has to end each of its calls by itself:
    memory does not wait, SQLite's threads have timeouts, and for Postgres there is `DistantStore`.
    """

    def __init__(self, store: Store, clock: ReplayClock) -> None:
        self._store, self._clock = store, clock

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """See `Store.accounts`."""
        with self._clock.held():
            return await self._store.accounts()

    async def load(self, exchange: str, account: str) -> Loaded:
        """See `Store.load`."""
        with self._clock.held():
            return await self._store.load(exchange, account)

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[Lease]:
        """See `Store.acquire_lease`."""
        async with AsyncExitStack() as stack:
            with self._clock.held():
                owning = self._store.acquire_lease(exchange, account, mark=mark, standby=standby)
                lease = await stack.enter_async_context(owning)
            yield LeaseProxy(lease, lambda entries: self._commit(lease, entries))

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """See `Store.commit`."""
        await self._commit(self._store, entries)

    async def _commit(self, writer: Writer, entries: Sequence[StoreWrite]) -> None:
        with self._clock.held():
            await writer.commit(entries)

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """See `Store.events`. A follower waits for what only comes when the clock goes on, and does not hold it."""
        events = self._store.events(since, follow=follow)
        return events if follow else _HeldEvents(events, self._clock)

    async def prune(self, before: datetime) -> int:
        """See `Store.prune`."""
        with self._clock.held():
            return await self._store.prune(before)


class _HeldEvents:
    """Events, each of which holds the clock while it is read."""

    def __init__(self, events: AsyncIterator[EventRecord], clock: ReplayClock) -> None:
        self._events, self._clock = events, clock

    def __aiter__(self) -> _HeldEvents:
        return self

    async def __anext__(self) -> EventRecord:
        with self._clock.held():
            return await anext(self._events)


@asynccontextmanager
async def open_holding_store(url: str, clock: ReplayClock, *, read_only: bool = False) -> AsyncIterator[HoldingStore]:
    """Open a store on a replay's clock. Opening and closing hold it too. See `trailing.open_store`.

    Raises:
        StoreError: also where a store in Postgres did not answer, on the real clock; the block was cancelled for it.
    """
    opening = open_distant_store if is_postgres(url) else open_store
    clock.hold()
    try:
        async with opening(url, read_only=read_only) as store:
            clock.release()
            try:
                yield HoldingStore(store, clock)
            finally:
                clock.hold()
    finally:
        clock.release()
