"""A world's books in a Postgres schema of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import trio

from trailing.psycopg_trio import TrioConnection
from trailing.stores import open_store
from trailing.stores.port import Lease, Store
from trailing.stores.postgres_lease import PostgresLease
from trailing.stores.urls import split_parameters

_DROP_SECONDS = 10.0

# The server goes by its own clock, on which a world of half an hour takes a second: what would run out there is ended here.
# The fence grows, so that a renewal that is still on its way finds nothing to renew.
_END_LEASES = "UPDATE {schema}.leases SET fence = fence + 1, expires_at = clock_timestamp()"


@asynccontextmanager
async def open_postgres_world_store(url: str, seed: int) -> AsyncIterator[PostgresWorldStore]:
    """Books on a server; their schema is dropped at the end. See `open_books`."""
    schema = f"laboratory_{seed}_{uuid4().hex[:8]}"
    async with await TrioConnection[Any].connect(split_parameters(url)[0], autocommit=True) as connection:
        try:
            yield PostgresWorldStore(connection, f"{url}{'&' if '?' in url else '?'}schema={schema}", schema)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _DROP_SECONDS):
                await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


class PostgresWorldStore:
    """Each process opens the store for itself, over connections of its own.

    Args:
        connection: the laboratory's, which no process of the world knows of.
        url: of the store.
        schema: in which its tables are; its name is written as it is.
    """

    is_remote: bool = True

    def __init__(self, connection: TrioConnection[Any], url: str, schema: str) -> None:
        self._connection, self._url, self._schema = connection, url, schema

    def open(self) -> AbstractAsyncContextManager[Store]:
        """Open the store, as each process does for itself."""
        return open_store(self._url)

    async def end_lease(self, lease: Lease) -> None:
        """The owner of a lease has died: let the next one own the account."""
        assert isinstance(lease, PostgresLease)
        lease.mark_lost("its process died")
        await self._connection.execute(_END_LEASES.format(schema=self._schema).encode())
