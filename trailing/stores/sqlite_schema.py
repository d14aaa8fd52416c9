"""The tables in a SQLite file: their versions, creating them, and migrating them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from trailing.errors import StoreError

SCHEMA_VERSION = 3

# The statements of released versions never change. A new version gets a migration of its own.

# `number` is the order of the first writes. The row of a closed stop stays, so that a late save does not open it again. `plan`
# is the hash of the record's plan in the table `plans`. The view has no column `record`, so that a running process of version
# 1 fails instead of reading records without plans.
_STOPS_2 = (
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

# `at` is in microseconds since 1970. The row of a settled intent is deleted.
_OTHERS_2 = (
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

# Version 1 has records with their plans, in a table of the name that is the view's in version 2.
_FROM_1_TO_2 = (
    "ALTER TABLE stops RENAME TO old_stops",
    *_STOPS_2,
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

# Version 3 has plainer names in the JSON. In JSON text, a name with a quote before it and `":` behind it is always a key,
# because quotes inside of a text are escaped. So `replace` changes keys only, and every value stays as it was written. The
# columns get another name, so that a running process of version 2 fails instead of reading or writing the old names.
_FROM_2_TO_3 = (
    """
        UPDATE stop_records SET record = json_remove(
            replace(replace(replace(replace(replace(replace(record,
                '"exposure":', '"unprotected_time":'),
                '"heard_until":', '"prices_until":'),
                '"early":', '"unacknowledged_fills":'),
                '"given_up":', '"is_abandoned":'),
                '"since_move":', '"seconds_since_move":'),
                '"first_price":', '"first_stop":'),
            '$.asked', '$.since_crossing', '$.due_in', '$.trailed')""",
    """
        UPDATE events SET event =
            replace(replace(replace(event,
                '"exposure":', '"unprotected_seconds":'),
                '"exposure_by":', '"unprotected_time":'),
                '"stop_stands":', '"stop_is_live":')
        WHERE instr(event, '"exposure":') OR instr(event, '"exposure_by":') OR instr(event, '"stop_stands":')""",
    "ALTER TABLE stop_records RENAME COLUMN record TO body",
    "ALTER TABLE intents RENAME COLUMN intent TO body",
    "ALTER TABLE events RENAME COLUMN event TO body",
)

# By the version of the tables (0: there are none): the next version, and the statements that lead there.
_MIGRATIONS: Final[Mapping[int, tuple[int, Sequence[str]]]] = {
    0: (2, (*_STOPS_2, *_OTHERS_2)),
    1: (2, _FROM_1_TO_2),
    2: (3, _FROM_2_TO_3),
}

_TABLES_2: Final = {"plans", "stop_records", "intents", "events"}
_TABLES: Final[Mapping[int, set[str]]] = {1: {"stops", "intents", "events"}, 2: _TABLES_2, SCHEMA_VERSION: _TABLES_2}


def read_version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables in a database; 0: the database is empty.

    Raises:
        StoreError: the database belongs to another program, or its tables have a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreError(f"its schema has version {version}, this trailing reads versions up to {SCHEMA_VERSION}")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 and not names:
        return 0
    if version not in _TABLES or not names >= _TABLES[version]:
        raise StoreError("the database belongs to another program")
    return int(version)


def migrate_tables(connection: sqlite3.Connection, version: int) -> None:
    """Create or migrate the tables in one transaction, unless another process has changed them meanwhile.

    The caller owns every account of the database if there are tables.

    Args:
        version: of the tables, as `read_version` returned it.
    """
    connection.create_function("sha256", 1, lambda text: hashlib.sha256(text.encode()).hexdigest(), deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if read_version(connection) == version:
            while version < SCHEMA_VERSION:
                version, statements = _MIGRATIONS[version]
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
