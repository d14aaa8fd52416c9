"""The tables in a SQLite file, and what may be found in the place of one."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

from trailing.errors import StoreError

SCHEMA_VERSION = 2

# `number` keeps the order of first writing. A closed stop stays, because that is what keeps a late save from bringing it
# back. A record names its plan by the hash: see `plans`. The view has no column `record`: a process of version 1 that is
# still running fails, and reads no empty plan.
_STOPS = (
    """
        CREATE TABLE plans (
            hash TEXT PRIMARY KEY,
            plan TEXT NOT NULL
        ) WITHOUT ROWID""",
    """
        CREATE TABLE stop_records (
            number INTEGER PRIMARY KEY,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            symbol TEXT NOT NULL,
            side TEXT NOT NULL,
            identity TEXT NOT NULL,
            closed INTEGER NOT NULL,
            plan TEXT NOT NULL,
            record TEXT NOT NULL,
            UNIQUE (exchange, account, symbol, side, identity)
        )""",
    """
        CREATE VIEW stops AS
        SELECT number, exchange, account, symbol, side, identity, closed,
            json_extract(record, '$.state') AS state,
            json_extract(record, '$.quantity') AS quantity,
            json_extract(record, '$.position.entry_price') AS entry_price,
            json_extract(record, '$.orders[#-1].price') AS stop_price,
            json_extract(record, '$.position.opened_at') AS opened_at,
            (SELECT plans.plan FROM plans WHERE plans.hash = stop_records.plan) AS plan
        FROM stop_records""",
)

# `at` is in microseconds since 1970. A settled intent is deleted.
_OTHERS = (
    """
        CREATE TABLE intents (
            number INTEGER PRIMARY KEY,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            client_order_id TEXT NOT NULL,
            intent TEXT NOT NULL,
            UNIQUE (exchange, account, client_order_id)
        )""",
    """
        CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            at INTEGER NOT NULL,
            exchange TEXT NOT NULL,
            account TEXT NOT NULL,
            event TEXT NOT NULL
        )""",
)

# Version 1 kept a record with its plan, in a table that had the name of the view.
_FROM_VERSION_1 = (
    "ALTER TABLE stops RENAME TO old_stops",
    *_STOPS,
    """
        INSERT INTO plans
        SELECT sha256(plan), plan FROM (SELECT DISTINCT json_extract(record, '$.plan') AS plan FROM old_stops)""",
    """
        INSERT INTO stop_records
        SELECT number, exchange, account, symbol, side, identity, closed,
            sha256(json_extract(record, '$.plan')), json_set(record, '$.plan', json('{}'))
        FROM old_stops ORDER BY number""",
    "DROP TABLE old_stops",
)

_TABLES = {1: {"stops", "intents", "events"}, SCHEMA_VERSION: {"plans", "stop_records", "intents", "events"}}


def read_version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables in a database; 0: it holds nothing yet.

    Only reads.

    Raises:
        StoreError: the database holds something else, or tables of a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreError(f"its schema has version {version}, this trailing knows versions up to {SCHEMA_VERSION}")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 and not names:
        return 0
    if version not in _TABLES or not names >= _TABLES[version]:
        raise StoreError("it is a database of something else")
    return int(version)


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in one transaction, unless another process has done so meanwhile."""
    _raise_version(connection, 0, (*_STOPS, *_OTHERS))


def migrate_tables(connection: sqlite3.Connection) -> None:
    """Migrate the tables of version 1 in one transaction, unless another process has done so meanwhile.

    The caller owns every account of the database.
    """
    connection.create_function("sha256", 1, lambda text: hashlib.sha256(text.encode()).hexdigest(), deterministic=True)
    _raise_version(connection, 1, _FROM_VERSION_1)


def _raise_version(connection: sqlite3.Connection, version: int, statements: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if read_version(connection) == version:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
