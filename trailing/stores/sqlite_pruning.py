"""Deleting old events from a SQLite file while a bot writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

PRUNE_ROWS: Final = 5_000
"""How many events one transaction looks at: a few milliseconds of work, for which a commit waits easily."""


def prune_page(connection: sqlite3.Connection, seen: int, before: int) -> tuple[int, int]:
    """Delete what is old among the next events.

    Args:
        seen: the number of the last event that was looked at.
        before: microseconds since 1970.

    Returns:
        The number of the last event that was looked at now (the same: there is none behind it), and how many went.
    """
    rows = connection.execute(
        "SELECT number, at < ? FROM events WHERE number > ? ORDER BY number LIMIT ?", (before, seen, PRUNE_ROWS)
    ).fetchall()
    old = [(number,) for number, is_old in rows if is_old]
    if old:
        _delete(connection, "DELETE FROM events WHERE number = ?", old)
    return rows[-1][0] if rows else seen, len(old)


def prune_plans(connection: sqlite3.Connection) -> None:
    """Delete the plans that no record has. Commits wait only where there are any."""
    unused = connection.execute("SELECT hash FROM plans WHERE hash NOT IN (SELECT plan FROM stop_records)").fetchall()
    if unused:
        # Asked again, because a record may have come meanwhile that has the plan.
        statement = "DELETE FROM plans WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM stop_records WHERE plan = ?1)"
        _delete(connection, statement, unused)


def _delete(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(statement, rows)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
