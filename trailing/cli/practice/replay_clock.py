"""The clock of a replay, which keeps the data's time, and a store whose calls stop that clock.

trio's mock clock does not wait for threads, so it would jump past a deadline while a thread writes a commit to the disk.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime

import trio
import trio.testing

from trailing.cli.practice.remote_store import open_remote_store
from trailing.cli.stores import open_given_store
from trailing.stores import open_store
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import EventRecord, Lease, Loaded, Store, StoreWrite, Writer
from trailing.stores.urls import is_postgres


class ReplayClock:
    """A trio clock that starts at a time of the data and can be stopped.

    Args:
        start: the data's time at the start, in seconds since 1970.
        speed: seconds of the data per second; None: jump from event to event.

    Attributes:
        clock: the clock for `trio.run`.
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
        """Jump to a time of the data, in seconds since 1970; an earlier time changes nothing."""
        self.clock.jump(max(0.0, at - self.clock.current_time()))

    def hold(self) -> None:
        """Stop the clock until `release` has been called as often as `hold`."""
        self._holds += 1
        self.clock.rate = 0
        self.clock.autojump_threshold = math.inf

    def release(self) -> None:
        """End one `hold`; the clock runs again when all have ended."""
        self._holds -= 1
        if not self._holds:
            self._go()
            self._released.set()
            self._released = trio.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop the clock for a block."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    async def advance_to(self, at: float) -> None:
        """Wait until a time of the data, and until every task waits then.

        If no task has anything to do until then, the clock jumps there at once, because a sleep takes five times as long.

        Args:
            at: in seconds since 1970.
        """
        await self.settle()
        left = at - self.clock.current_time()
        if self._speed is None and 0 < left < trio.lowlevel.current_statistics().seconds_to_next_deadline:
            self.clock.jump(left)
            return
        await trio.sleep_until(at)
        await self.settle()

    async def settle(self) -> None:
        """Wait until every task waits and the clock is not stopped.

        After that, the next step does not depend on the order in which trio ran the tasks.
        """
        await trio.testing.wait_all_tasks_blocked()
        while self._holds:
            await self._released.wait()
            await trio.testing.wait_all_tasks_blocked()


class HoldingStore:
    """A `Store` whose calls stop the clock.

    No deadline on the replay's clock passes during a call, so the store has to limit each call by itself. The memory store
    does not wait, SQLite's threads have timeouts, and `RemoteStore` limits the calls of a Postgres store.
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

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """See `Store.lease_owner`."""
        with self._clock.held():
            return await self._store.lease_owner(exchange, account)

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
        """See `Store.events`. With `follow`, the clock is not stopped, because new events come only while it runs."""
        events = self._store.events(since, follow=follow)
        return events if follow else _HeldEvents(events, self._clock)

    async def prune(self, before: datetime) -> int:
        """See `Store.prune`."""
        with self._clock.held():
            return await self._store.prune(before)


class _HeldEvents:
    """Events; reading each one stops the clock."""

    def __init__(self, events: AsyncIterator[EventRecord], clock: ReplayClock) -> None:
        self._events, self._clock = events, clock

    def __aiter__(self) -> _HeldEvents:
        return self

    async def __anext__(self) -> EventRecord:
        with self._clock.held():
            return await anext(self._events)


@asynccontextmanager
async def open_holding_store(url: str, clock: ReplayClock, *, read_only: bool = False) -> AsyncIterator[HoldingStore]:
    """Open a store whose calls stop a replay's clock; opening and closing stop it too. See `trailing.open_store`.

    Raises:
        UsageError: the address can't be right; the message begins with ``--store``.
        StoreError: the store can't be opened; or Postgres did not answer in time on the real clock, and the block was
            cancelled.
    """
    opening: Callable[..., AbstractAsyncContextManager[Store]] = open_remote_store if is_postgres(url) else open_store
    clock.hold()
    try:
        async with open_given_store(url, opening, read_only=read_only) as store:
            clock.release()
            try:
                yield HoldingStore(store, clock)
            finally:
                clock.hold()
    finally:
        clock.release()
