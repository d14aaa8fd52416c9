"""A store over a network for a replay; its waits run on the real clock instead of the replay's."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import trio

from trailing.cli.practice.real_clock import RealClockLoop, open_real_clock_loop
from trailing.errors import StoreError
from trailing.services import open_service_nursery
from trailing.stores import open_store
from trailing.stores.event_reader import PAGE_ROWS
from trailing.stores.leases import ProcessLease
from trailing.stores.port import EventRecord, Lease, Loaded, Store, StoreWrite

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0
"""Seconds on the real clock that a call may take, as one attempt of the Postgres store. A server restart takes less."""


class RemoteStore:
    """A `Store` whose calls run in a loop on the real clock, each for `ANSWER_SECONDS` at most.

    The first call that takes longer cancels the block of `open_remote_store`; every later call fails at once.

    Attributes:
        timed_out: cancelled when a call took too long.
    """

    def __init__(self, store: Store, loop: RealClockLoop) -> None:
        self.timed_out: trio.CancelScope = trio.CancelScope()
        self._store, self._loop = store, loop

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """See `Store.accounts`."""
        return await self._call(self._store.accounts)

    async def load(self, exchange: str, account: str) -> Loaded:
        """See `Store.load`."""
        return await self._call(partial(self._store.load, exchange, account))

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """See `Store.lease_owner`."""
        return await self._call(partial(self._store.lease_owner, exchange, account))

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """See `Store.commit`."""
        await self._call(partial(self._store.commit, entries))

    async def prune(self, before: datetime) -> int:
        """See `Store.prune`."""
        return await self._call(partial(self._store.prune, before))

    @asynccontextmanager
    async def acquire_lease(
        self,
        exchange: str,
        account: str,
        *,
        mark: str,  # noqa: ARG002 - as `Store.acquire_lease`
        standby: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[Lease]:
        """Return a lease that needs no renewal.

        The store's own lease would expire while the replay's clock jumps. No other process uses the account, because each
        run has its own account and only a run with a store in a file is resumed.
        """
        await trio.lowlevel.checkpoint()
        lease = ProcessLease(self.commit, f"{exchange} {account}")
        try:
            yield lease
        finally:
            lease.end()

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """See `Store.events`. `follow` is not supported, because it waits without a deadline and no replay needs it."""
        if follow:
            raise NotImplementedError("a replay does not follow its own events")
        return _Events(self._store.events(since), self._call)

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if self.timed_out.cancel_called:
            raise no_answer()
        try:
            return await self._loop.run(work, seconds=ANSWER_SECONDS)
        except trio.TooSlowError as error:
            self.timed_out.cancel()
            raise no_answer() from error


def no_answer() -> StoreError:
    """Return the error of a call that took too long, of each later call, and of the block around them."""
    return StoreError(
        f"the store did not answer within {ANSWER_SECONDS:g} s; the run was stopped and its last steps are not stored"
    )


class _Events:
    """Iterates over stored events, which the other loop fetches in pages."""

    def __init__(
        self,
        events: AsyncIterator[EventRecord],
        call: Callable[[Callable[[], Awaitable[list[EventRecord]]]], Awaitable[list[EventRecord]]],
    ) -> None:
        self._events, self._call = events, call
        self._page: deque[EventRecord] = deque()

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> EventRecord:
        if not self._page:
            self._page.extend(await self._call(self._read))
        if not self._page:
            raise StopAsyncIteration
        return self._page.popleft()

    async def _read(self) -> list[EventRecord]:
        page: list[EventRecord] = []
        async for record in self._events:
            page.append(record)
            if len(page) == PAGE_ROWS:
                break
        return page


@asynccontextmanager
async def open_remote_store(url: str, *, read_only: bool = False) -> AsyncIterator[RemoteStore]:
    """Open a store in a loop on the real clock. See `trailing.open_store`.

    Raises:
        StoreError: the store can't be opened; or a call took too long, and the block was cancelled.

    Cancellation: while the store is being opened, stops and closes it.
    """
    with open_real_clock_loop() as loop:
        async with open_service_nursery() as services:
            store: RemoteStore = await services.start(partial(_keep_open, loop, url, read_only=read_only))
            with store.timed_out:
                yield store
            if store.timed_out.cancel_called:
                raise no_answer()


async def _keep_open(  # noqa: ASYNC128 - the status is passed on
    loop: RealClockLoop, url: str, *, read_only: bool, task_status: trio.TaskStatus[RemoteStore]
) -> None:
    here = trio.lowlevel.current_trio_token()

    async def keep() -> None:
        async with open_store(url, read_only=read_only) as store:
            here.run_sync_soon(task_status.started, RemoteStore(store, loop))
            await trio.sleep_forever()

    await loop.run(keep)
