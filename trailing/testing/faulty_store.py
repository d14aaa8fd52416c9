"""A store that fails on purpose at chosen calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from trailing.stores.leases import LeaseProxy
from trailing.stores.port import EventRecord, Lease, Loaded, Store, StoreWrite, Writer
from trailing.testing.faults import Call, Faults, Script


class FaultyStore:
    """A store that passes every call to another one, until a fault strikes.

    The useful faults are `Fails`, `Hangs` and `Slow`. ::

        FaultyStore(store, {At("commit", call=3): Fails(StoreError("disk full"))})

    Args:
        inner: the store that executes the calls.
        faults: which fault strikes which call.

    Attributes:
        inner: as given.
        calls: every call so far, except those of `events`.
    """

    def __init__(self, inner: Store, faults: Faults) -> None:
        self.inner = inner
        self._script = Script(faults)
        self.calls: Sequence[Call] = self._script.calls

    def __repr__(self) -> str:
        return f"<FaultyStore: {len(self.calls)} calls, in front of {self.inner!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    async def accounts(self) -> Sequence[tuple[str, str]]:
        return await self._script.play("accounts", None, self.inner.accounts)

    async def load(self, exchange: str, account: str) -> Loaded:
        return await self._script.play("load", None, lambda: self.inner.load(exchange, account))

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[Lease]:
        async with AsyncExitStack() as stack:
            owning = self.inner.acquire_lease(exchange, account, mark=mark, standby=standby)
            lease = await self._script.play("acquire_lease", None, lambda: stack.enter_async_context(owning))
            yield LeaseProxy(lease, lambda entries: self._commit(lease, entries))

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        return await self.inner.lease_owner(exchange, account)

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await self._commit(self.inner, entries)

    async def _commit(self, writer: Writer, entries: Sequence[StoreWrite]) -> None:
        await self._script.play("commit", None, lambda: writer.commit(entries))

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        return self.inner.events(since, follow=follow)

    async def prune(self, before: datetime) -> int:
        return await self.inner.prune(before)
