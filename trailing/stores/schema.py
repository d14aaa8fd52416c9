"""The tables in a SQLite file, and what may be found in the place of one."""

from __future__ import annotations

import sqlite3

from trailing.errors import StoreError

SCHEMA_VERSION = 1

# `number` keeps the order of first writing. `at` is in microseconds since 1970. A settled intent is deleted; a closed
# stop stays, because that is what keeps a late save from bringing it back.
_TABLES = {
    "stops": """
        CREATE TABLE stops (
            number INTEGER PRIMARY KEY,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            symbol TEXT NOT NULL,
            side TEXT NOT NULL,
            identity TEXT NOT NULL,
            closed INTEGER NOT NULL,
            record TEXT NOT NULL,
            UNIQUE (exchange, account, symbol, side, identity)
        )""",
    "intents": """
        CREATE TABLE intents (
            number INTEGER PRIMARY KEY,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            client_order_id TEXT NOT NULL,
            intent TEXT NOT NULL,
            UNIQUE (exchange, account, client_order_id)
        )""",
    "events": """
        CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            event TEXT NOT NULL
        )""",
}


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether a database holds nothing yet; False: it holds our tables, of the version that we know.

    Only reads.

    Raises:
        StoreError: it holds something else.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreError(f"its schema has version {version}, this trailing knows versions up to {SCHEMA_VERSION}")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 and not names:
        return True
    if version != SCHEMA_VERSION or not names >= _TABLES.keys():
        raise StoreError("it is a database of something else")
    return False


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in one transaction, unless another process has done so meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if is_empty(connection):
            for statement in _TABLES.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
