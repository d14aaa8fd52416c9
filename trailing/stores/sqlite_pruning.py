"""Deleting old events from a SQLite file while a bot writes to it."""

from __future__ import annotations

import sqlite3
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
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("DELETE FROM events WHERE number = ?", old)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
    return rows[-1][0] if rows else seen, len(old)
