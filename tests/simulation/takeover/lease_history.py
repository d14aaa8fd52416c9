"""The owners of the account over time, as recorded by Postgres, and the check of the exchange's writes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec

from simulation.takeover.settings import Write
from trailing.psycopg_trio import TrioConnection

_INSTALL = """
    CREATE TABLE {schema}.owned (at timestamptz, fence bigint, owner text, expires_at timestamptz);
    CREATE FUNCTION {schema}.note_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO {schema}.owned VALUES (clock_timestamp(), NEW.fence, NEW.owner, NEW.expires_at);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_owner AFTER INSERT OR UPDATE ON {schema}.leases FOR EACH ROW
    EXECUTE FUNCTION {schema}.note_owner()"""


_READ = "SELECT at, fence, owner, expires_at FROM {schema}.owned ORDER BY at"


class LeaseState(msgspec.Struct, frozen=True):
    """The state of the lease from `at` on. `process`: the process id of its owner."""

    at: datetime
    fence: int
    process: int
    expires_at: datetime


class LeaseHistory:
    """The history of the lease in a schema with one account. The schema's name is used unescaped."""

    def __init__(self, connection: TrioConnection[Any], schema: str) -> None:
        self._connection, self._schema = connection, schema

    async def install(self) -> None:
        """Let Postgres record every change of a lease from now on."""
        await self._connection.execute(_INSTALL.format(schema=self._schema).encode())

    async def read(self) -> list[LeaseState]:
        """Return all changes so far, in order."""
        statement = _READ.format(schema=self._schema).encode()
        rows = await (await self._connection.execute(statement)).fetchall()
        return [LeaseState(at, fence, int(owner.split()[-1]), expires_at) for at, fence, owner, expires_at in rows]


@asynccontextmanager
async def open_lease_history(conninfo: str, schema: str) -> AsyncIterator[LeaseHistory]:
    """Record the leases of a schema whose tables exist."""
    connection = await TrioConnection[Any].connect(conninfo, autocommit=True)
    async with connection:
        history = LeaseHistory(connection, schema)
        await history.install()
        yield history


def writes_without_a_lease(
    writes: Sequence[Write], owned: Sequence[LeaseState], processes: dict[str, int]
) -> tuple[list[str], float]:
    """Return every write of a client whose lease had ended, or that never had one.

    Args:
        writes: the writes that the exchange recorded.
        owned: all changes of the lease, in order.
        processes: the process id of each client, by its name.

    Returns:
        The violations, and the least seconds between a write and the end of its lease.
    """
    broken: list[str] = []
    closest = math.inf
    moments = [lease.at for lease in owned]
    for write in writes:
        number = bisect_right(moments, write.at)
        lease = owned[number - 1] if number else None
        if lease is None or lease.process != processes[write.by]:
            broken.append(f"{write.by} wrote at {write.at} while {lease} owned the account: {write}")
            continue
        left = (lease.expires_at - write.at).total_seconds()
        closest = min(closest, left)
        if left <= 0:
            broken.append(f"{write.by} wrote {-left:.3f} s after its lease had ended, {lease}: {write}")
    return broken, closest
