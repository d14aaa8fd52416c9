"""Where a world's stops and intents are kept: in memory, or in a Postgres schema of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from trailing.stores.leases import ProcessLease
from trailing.stores.memory import MemoryStore
from trailing.stores.port import AppendEvent, Lease, Store, StoreWrite


class WorldStore(Protocol):
    """What outlives the processes of a world.

    Attributes:
        is_far: they are kept by a server.
    """

    is_remote: bool

    def open(self) -> AbstractAsyncContextManager[Store]:
        """Open the store, as each process does for itself."""

    async def end_lease(self, lease: Lease) -> None:
        """The owner of a lease has died: let the next one own the account."""


@asynccontextmanager
async def open_world_store(url: str | None, seed: int) -> AsyncIterator[WorldStore]:
    """The books of one world; they end with it.

    Args:
        url: the address of a store in Postgres, in which a schema is made; None: in memory.
        seed: the world's, for the name of that schema.
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
    """Events are told, and not kept: a day has a million."""

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await super().commit([entry for entry in entries if not isinstance(entry, AppendEvent)])
