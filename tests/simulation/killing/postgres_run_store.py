"""The store of a run in a schema of a Postgres server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import trio

from trailing.psycopg_trio import TrioConnection
from trailing.stores import open_store
from trailing.stores.port import Loaded, Store
from trailing.stores.urls import split_parameters

_DROP_SECONDS = 10.0

# Rows whose key columns differ from their record, and records whose plan is missing.
_WRONG_ROWS: Final = """
    SELECT format('the stop of the %s %s is in the row of another one', body #>> '{{position,side}}', body #>> '{{position,symbol}}')
    FROM {schema}.stop_records
    WHERE (symbol, side) IS DISTINCT FROM (body #>> '{{position,symbol}}', body #>> '{{position,side}}')
    UNION ALL
    SELECT format('the plan of the %s %s is missing', side, symbol)
    FROM {schema}.stop_records WHERE NOT EXISTS (SELECT FROM {schema}.plans WHERE hash = stop_records.plan)
    UNION ALL
    SELECT format('the intent %s is in the row of another one', body ->> 'client_order_id')
    FROM {schema}.intent_records
    WHERE (exchange, account, client_order_id)
    IS DISTINCT FROM (body ->> 'exchange', body ->> 'account', body ->> 'client_order_id')"""

# The server ends the transactions of lost connections, once it has noticed the loss.
_LEFT_OPEN: Final = """
    SELECT format('process %s of the server has kept a transaction open since %s', pid, xact_start)
    FROM pg_stat_activity WHERE application_name = 'trailing' AND pid <> pg_backend_pid()
    AND pid IN (SELECT pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation
        WHERE relnamespace = '{schema}'::regnamespace)
    AND xact_start < clock_timestamp() - interval '5 s'"""

_OWNERS: Final = "SELECT coalesce(sum(fence), 0)::bigint FROM {schema}.leases"

LEASE_SECONDS, RENEW_SECONDS = 2.0, 0.3
"""Seconds after the last renewal for which a dead bot owns the account, and seconds between two renewals."""


@asynccontextmanager
async def open_postgres_run_store(url: str) -> AsyncIterator[PostgresRunStore]:
    """Create a schema for the store of a run, and drop it at the end. See `open_run_store`."""
    schema = f"killing_{uuid4().hex[:12]}"
    ours = f"schema={schema}&lease_seconds={LEASE_SECONDS}&renew_seconds={RENEW_SECONDS}"
    url = f"{url}{'&' if '?' in url else '?'}{ours}"
    async with (
        await TrioConnection[Any].connect(split_parameters(url)[0], autocommit=True) as connection,
        open_store(url) as store,
    ):
        try:
            yield PostgresRunStore(url, schema, store, connection)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _DROP_SECONDS):
                await connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


class PostgresRunStore:
    """A schema that is read through connections of its own.

    Args:
        url: the address of the store, for the bots.
        schema: the schema. Its name is used unescaped.
        store: the open store at `url`.
        connection: a connection to the server.
    """

    lease_seconds: float = LEASE_SECONDS

    def __init__(self, url: str, schema: str, store: Store, connection: TrioConnection[Any]) -> None:
        self.url: str = url
        self._store, self._connection = store, connection
        self._checks = [text.format(schema=schema).encode() for text in (_WRONG_ROWS, _LEFT_OPEN)]
        self._count = _OWNERS.format(schema=schema).encode()

    async def load(self, exchange: str, account: str) -> Loaded:
        """See `Books.load`."""
        return await self._store.load(exchange, account)

    async def damage(self) -> list[str]:
        """Return rows with wrong keys, and transactions that dead bots have left open."""
        found: list[str] = []
        for check in self._checks:
            rows = await (await self._connection.execute(check)).fetchall()
            found += [f"the store's tables are damaged: {row[0]}" for row in rows]
        return found

    async def owners(self) -> int:
        """Return the number of owners so far. The fence grows with each owner."""
        row = await (await self._connection.execute(self._count)).fetchone()
        assert row is not None
        return int(row[0])
