"""The public conformance check passes for each store, and detects broken stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
from postgres_server import a_schema, in_schema

from trailing.errors import StoreError
from trailing.stores import MemoryStore, open_store
from trailing.stores.leases import LeaseProxy, ProcessLease
from trailing.stores.port import (
    AddIntent,
    AppendEvent,
    CloseStop,
    EventRecord,
    SaveStop,
    SettleIntent,
    Store,
    StoreWrite,
)
from trailing.testing.check_store import check_store


async def test_the_memory_store_conforms(autojump_clock: object) -> None:
    await check_store(lambda: open_store("memory:"))


async def test_the_sqlite_store_conforms(tmp_path: Path) -> None:
    made = 0

    def reopen() -> AbstractAsyncContextManager[Store]:
        return open_store(f"sqlite:///{tmp_path}/{made}.db")

    def make() -> AbstractAsyncContextManager[Store]:
        nonlocal made
        made += 1
        return reopen()

    await check_store(make, reopen=reopen)


async def test_the_postgres_store_conforms(dsn: str) -> None:
    with ExitStack() as schemas:
        made = schemas.enter_context(a_schema(dsn))

        def reopen() -> AbstractAsyncContextManager[Store]:
            return open_store(in_schema(dsn, made))

        def make() -> AbstractAsyncContextManager[Store]:
            nonlocal made
            made = schemas.enter_context(a_schema(dsn))
            return reopen()

        await check_store(make, reopen=reopen)


class _ReopensClosedStops(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        for account in self._accounts.values():
            account.closed.clear()
        await super().commit(entries)


class _WritesHalf(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        try:
            await super().commit(entries)
        except StoreError:
            await super().commit(entries[:1])
            raise


class _MixesAccounts(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        for entry in entries:
            if isinstance(entry, SettleIntent):
                for account in self._accounts.values():
                    account.intents.pop(entry.client_order_id, None)
        await super().commit(entries)


class _ReplacesIntents(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        for entry in entries:
            if isinstance(entry, AddIntent):
                intents = self._accounts[entry.intent.exchange, entry.intent.account].intents
                if entry.intent.client_order_id in intents:
                    intents[entry.intent.client_order_id] = entry.intent
        await super().commit(entries)


class _ClosesOnlyKnownStops(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        known = [record for account in self._accounts.values() for record in account.stops.values()]
        known += [entry.record for entry in entries if isinstance(entry, SaveStop)]
        positions = [record.position for record in known]
        await super().commit(
            [entry for entry in entries if not isinstance(entry, CloseStop) or entry.record.position in positions]
        )


class _DeletesClosedStops(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        for entry in entries:
            await super().commit([entry])
            for account in self._accounts.values():
                for key in account.closed:
                    account.stops.pop(key, None)


class _ClosesAtTheEnd(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await super().commit(sorted(entries, key=lambda entry: isinstance(entry, CloseStop)))


class _IgnoresSince(MemoryStore):
    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        return super().events(None, follow=follow)


class _NeverFollows(MemoryStore):
    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        return super().events(since)


class _LosesEvents(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        events = [entry for entry in entries if isinstance(entry, AppendEvent)]
        await super().commit([entry for entry in entries if entry not in events[500:]])


class _ForgetsStops(MemoryStore):
    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await super().commit([entry for entry in entries if not isinstance(entry, SaveStop)])


class _HasManyOwners(MemoryStore):
    @asynccontextmanager
    async def acquire_lease(self, *account: str, mark: str, standby: bool = False) -> AsyncIterator[ProcessLease]:
        yield ProcessLease(self.commit, "it")


class _NamesNoOwner(MemoryStore):
    async def lease_owner(self, exchange: str, account: str) -> str | None:
        return None


class _LetsFormerOwnersWrite(MemoryStore):
    @asynccontextmanager
    async def acquire_lease(self, *account: str, mark: str, standby: bool = False) -> AsyncIterator[LeaseProxy]:  # type: ignore[override]
        async with super().acquire_lease(*account, mark=mark, standby=standby) as lease:
            yield LeaseProxy(lease, self.commit)


class _KeepsALease(MemoryStore):
    @asynccontextmanager
    async def acquire_lease(self, *account: str, mark: str, standby: bool = False) -> AsyncIterator[ProcessLease]:
        async with super().acquire_lease(*account, mark=mark, standby=standby) as lease:
            yield lease
        if mark == "0005":
            self._owners["testex", "main"] = ProcessLease(self.commit, "it")


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (_ReopensClosedStops, "no save brings a closed record back"),
        (_WritesHalf, "a commit that fails changes nothing"),
        (_MixesAccounts, "does not touch another"),
        (_ReplacesIntents, "adding an intent again is no error and replaces nothing"),
        (_ClosesOnlyKnownStops, "a record whose first entry closes it stays closed"),
        (_DeletesClosedStops, "opened again without a save: as written last, in its old place"),
        (_ClosesAtTheEnd, "closed and opened again in one commit"),
        (_IgnoresSince, "since: the events at that time or later"),
        (_NeverFollows, "a follower sees what is there, and what comes"),
        (_LosesEvents, "events come back exactly"),
        (_ForgetsStops, "records come back exactly"),
        (_HasManyOwners, "a second owner of an account gets LeaseLost"),
        (_NamesNoOwner, "lease_owner says who owns an account, and None if it is free: got None"),
        (_LetsFormerOwnersWrite, "a former owner's AddIntent is LeaseLost"),
        (_KeepsALease, "a standby owns the account 10.0 s after its owner has ended"),
    ],
)
async def test_the_check_detects_each_broken_store(
    broken: Callable[[], MemoryStore], complaint: str, autojump_clock: object
) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        yield broken()

    with pytest.raises(AssertionError, match=complaint):
        await check_store(make)


async def test_the_check_detects_a_store_that_loses_its_content_when_it_is_closed() -> None:
    def make() -> AbstractAsyncContextManager[Store]:
        return open_store("memory:")

    with pytest.raises(AssertionError, match="outlive the closing"):
        await check_store(make, reopen=make)
