"""The store of a world in a Postgres schema of its own."""

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

# The server uses its own clock, on which a world of half an hour takes a second. So the world ends leases itself.
# The fence grows, so that a renewal in flight finds no lease to renew.
_END_LEASES = "UPDATE {schema}.leases SET fence = fence + 1, expires_at = clock_timestamp()"


@asynccontextmanager
async def open_postgres_world_store(url: str, seed: int) -> AsyncIterator[PostgresWorldStore]:
    """Create a schema for one world's store, and drop it at the end. See `open_world_store`."""
    schema = f"laboratory_{seed}_{uuid4().hex[:8]}"
    async with await TrioConnection[Any].connect(split_parameters(url)[0], autocommit=True) as connection:
        try:
            yield PostgresWorldStore(connection, f"{url}{'&' if '?' in url else '?'}schema={schema}", schema)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _DROP_SECONDS):
                await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


class PostgresWorldStore:
    """A store on a Postgres server. Each process opens it anew, over connections of its own.

    Args:
        connection: the laboratory's own connection, which no process of the world uses.
        url: the address of the store.
        schema: the schema of its tables. Its name is used unescaped.
    """

    is_remote: bool = True

    def __init__(self, connection: TrioConnection[Any], url: str, schema: str) -> None:
        self._connection, self._url, self._schema = connection, url, schema

    def open(self) -> AbstractAsyncContextManager[Store]:
        """Open the store. Each process opens it anew."""
        return open_store(self._url)

    async def end_lease(self, lease: Lease) -> None:
        """End the lease of a dead owner, so that the next process can own the account."""
        assert isinstance(lease, PostgresLease)
        lease.mark_lost("its process died")
        await self._connection.execute(_END_LEASES.format(schema=self._schema).encode())
