"""Delete old events and unused plans from a Postgres schema while bots write to it."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from trailing.psycopg_trio import TrioConnection

PRUNE_ROWS: Final = 10_000
"""Events that one transaction deletes, so that none takes long."""

PRUNE_EVENTS: Final = """
    WITH old AS (SELECT number FROM {schema}.events WHERE at < %s ORDER BY at LIMIT %s)
    DELETE FROM {schema}.events USING old WHERE events.number = old.number RETURNING events.number"""

_UNUSED: Final = """
    SELECT hash FROM {schema}.plans WHERE NOT EXISTS (SELECT FROM {schema}.stop_records WHERE plan = hash)"""

# A commit that uses one of these plans waits until this transaction ends, and inserts the plan again.
_DELETE_UNUSED: Final = (
    """
    SET LOCAL lock_timeout = '500ms';
    SET LOCAL statement_timeout = '2s';
    LOCK TABLE {schema}.plans IN SHARE ROW EXCLUSIVE MODE;
    """,
    """
    DELETE FROM {schema}.plans
    WHERE hash = ANY(%s) AND NOT EXISTS (SELECT FROM {schema}.stop_records WHERE stop_records.plan = hash)""",
)


async def prune_plans(connection: TrioConnection[Any], schema: str) -> None:
    """Delete the plans that no record uses.

    If the lock is not available in time, the plans stay. The next pruning deletes them.
    """
    name = sql.Identifier(schema)
    unused = [
        plan_hash for (plan_hash,) in await (await connection.execute(sql.SQL(_UNUSED).format(schema=name))).fetchall()
    ]
    if not unused:
        return
    lock, delete = (sql.SQL(text).format(schema=name) for text in _DELETE_UNUSED)
    try:
        async with connection.transaction():
            await connection.execute(lock)
            await connection.execute(delete, (unused,))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        return
