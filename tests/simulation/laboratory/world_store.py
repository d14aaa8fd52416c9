"""The store of a world's stops and intents: in memory, or in a Postgres schema of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from trailing.stores.leases import ProcessLease
from trailing.stores.memory import MemoryStore
from trailing.stores.port import AppendEvent, Lease, Store, StoreWrite


class WorldStore(Protocol):
    """The store of a world. It outlives the world's processes.

    Attributes:
        is_remote: whether a server keeps it.
    """

    is_remote: bool

    def open(self) -> AbstractAsyncContextManager[Store]:
        """Open the store. Each process opens it anew."""

    async def end_lease(self, lease: Lease) -> None:
        """End the lease of a dead owner, so that the next process can own the account."""


@asynccontextmanager
async def open_world_store(url: str | None, seed: int) -> AsyncIterator[WorldStore]:
    """Open the store of one world. The records end with the world.

    Args:
        url: the address of a Postgres server, on which a schema is created; None: in memory.
        seed: the seed of the world, for the schema's name.
    """
    if url is None:
        yield _InMemory()
        return
    # psycopg is imported only where it is used
    from simulation.laboratory.postgres_world_store import open_postgres_world_store  # noqa: PLC0415

    async with open_postgres_world_store(url, seed) as world_store:
        yield world_store


class _InMemory:
    is_remote: bool = False

    def __init__(self) -> None:
        self._store = _EventlessStore()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Store]:
        yield self._store

    async def end_lease(self, lease: Lease) -> None:
        assert isinstance(lease, ProcessLease)
        lease.end()


class _EventlessStore(MemoryStore):
    """A store that drops events, because a day has a million of them."""

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await super().commit([entry for entry in entries if not isinstance(entry, AppendEvent)])
