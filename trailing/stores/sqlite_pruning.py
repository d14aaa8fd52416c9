"""Deleting old events from a SQLite file while a bot writes to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

PRUNE_ROWS: Final = 5_000
"""Events per transaction: a few milliseconds of work, so that commits of a bot wait no longer."""


def prune_page(connection: sqlite3.Connection, last: int, before: int) -> tuple[int, int]:
    """Delete the old ones of the next `PRUNE_ROWS` events.

    Args:
        last: the number of the last event that was examined.
        before: events before this time are old, in microseconds since 1970.

    Returns:
        The number of the last event that was examined (the same number if there is no further event), and the number of
        deleted events.
    """
    rows = connection.execute(
        "SELECT number, at < ? FROM events WHERE number > ? ORDER BY number LIMIT ?", (before, last, PRUNE_ROWS)
    ).fetchall()
    old = [(number,) for number, is_old in rows if is_old]
    if old:
        _delete(connection, "DELETE FROM events WHERE number = ?", old)
    return rows[-1][0] if rows else last, len(old)


def prune_plans(connection: sqlite3.Connection) -> None:
    """Delete the plans that no record uses. Commits wait only if there are such plans."""
    unused = connection.execute("SELECT hash FROM plans WHERE hash NOT IN (SELECT plan FROM stop_records)").fetchall()
    if unused:
        # Checked again, because a record with the plan may have been written meanwhile.
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
