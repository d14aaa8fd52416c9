"""What a commit says to Postgres: the entries that wait, folded into one statement over arrays for each table.

A commit is one transaction, sent as a whole without waiting for anything in between. It begins with the number of the
commit, counted by each store that is open: one whose reply was lost is sent again under the same number. Where it had
been committed after all, the database refuses it for that, by name; and should the lost one still be on its way, it is
refused when it arrives, or waits for and is waited for, as both want to write the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from trailing.core.model import Position
from trailing.stores.codec import check_entry, encode
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Entry, SaveStop, SettleIntent
from trailing.stores.postgres_schema import lock_key

CHANNEL = "trailing"
"""Every commit is told here, with the name of its schema."""

_Key: TypeAlias = tuple[str, ...]
Statement: TypeAlias = tuple[bytes, Sequence[object]]

# %b: arrays go in binary. As text, every element would be searched for what has to be quoted.

_COUNT = """
    INSERT INTO {schema}.writers AS known (writer, commits) VALUES (%s, %s)
    ON CONFLICT (writer) DO UPDATE SET at = now(),
    commits = CASE WHEN known.commits < excluded.commits THEN excluded.commits ELSE 0 END"""

_OPEN_AGAIN = """
    UPDATE {schema}.stops SET closed = false
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS wanted (exchange, account, symbol, side, identity)
    WHERE closed AND (stops.exchange, stops.account, stops.symbol, stops.side, stops.identity)
    = (wanted.exchange, wanted.account, wanted.symbol, wanted.side, wanted.identity)"""

_KEEP_STOPS = """
    INSERT INTO {schema}.stops AS old (exchange, account, symbol, side, identity, closed, opened_at, record)
    SELECT exchange, account, symbol, side, identity, closed, opened_at, record::jsonb
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::timestamptz[],
        string_to_array(%s, E'\\n'))
    WITH ORDINALITY AS new (exchange, account, symbol, side, identity, closed, opened_at, record, place)
    ORDER BY place
    ON CONFLICT (exchange, account, symbol, side, identity)
    DO UPDATE SET closed = excluded.closed, record = excluded.record, written_at = now() WHERE NOT old.closed"""

_SETTLE = """
    DELETE FROM {schema}.intents USING unnest(%b::text[], %b::text[], %b::text[])
    AS known (exchange, account, client_order_id)
    WHERE (intents.exchange, intents.account, intents.client_order_id)
    = (known.exchange, known.account, known.client_order_id)"""

_ADD_INTENTS = """
    INSERT INTO {schema}.intents (exchange, account, client_order_id, at, intent)
    SELECT exchange, account, client_order_id, at, intent::jsonb
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], string_to_array(%s, E'\\n'))
    WITH ORDINALITY AS new (exchange, account, client_order_id, at, intent, place)
    ORDER BY place
    ON CONFLICT (exchange, account, client_order_id) DO NOTHING"""

_APPEND = """
    INSERT INTO {schema}.events (at, exchange, account, event)
    SELECT at, exchange, account, event::jsonb
    FROM unnest(%b::timestamptz[], %b::text[], %b::text[], string_to_array(%s, E'\\n'))
    WITH ORDINALITY AS new (at, exchange, account, event, place)
    ORDER BY place"""

# Whose last column is JSON. It goes as one text of many lines, as no line of JSON breaks: quoting each would cost more
# than all the rest.
_WITH_JSON = {"keep stops", "add intents", "append"}

_STATEMENTS = {
    "count": _COUNT,
    "open again": _OPEN_AGAIN,
    "keep stops": _KEEP_STOPS,
    "settle": _SETTLE,
    "add intents": _ADD_INTENTS,
    "append": _APPEND,
}


class CommitWriter:
    """Makes the statements of commits.

    Args:
        schema: where the tables are.
        writer: tells this store from all others that are, or were, open.
    """

    def __init__(self, schema: str, writer: UUID) -> None:
        self._schema = schema
        self._writer = writer
        self._texts = {
            name: sql.SQL(text).format(schema=sql.Identifier(schema)).as_bytes(None)
            for name, text in _STATEMENTS.items()
        }

    def statements(self, entries: Iterable[Entry], number: int, required: Sequence[Statement] = ()) -> list[Statement]:
        """The statements of one transaction, for all of these entries in their order.

        Args:
            number: of this commit; higher than that of every one before it.
            required: what has to pass before anything is written. Behind the number: a commit that was made already
                needs nothing any more.

        Raises:
            StoreError: an entry can't be right.
        """
        folded = _Folded()
        for entry in entries:
            check_entry(entry)
            folded.add(entry)
        statements = [self._statement("count", (self._writer, number)), *required]
        for name, rows in folded.rows():
            if rows and name == "append":
                # A follower reads on behind the last number that it saw, so that numbers have to become visible in their
                # order: whoever appends waits until the one before has committed.
                statements.append((b"SELECT pg_advisory_xact_lock(%s, %s)", lock_key(self._schema, "append")))
            if rows:
                columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
                if name in _WITH_JSON:
                    columns[-1] = "\n".join(columns[-1])
                statements.append(self._statement(name, columns))
        statements.append((b"SELECT pg_notify(%s, %s)", (CHANNEL, self._schema)))
        return statements

    def _statement(self, name: str, params: Sequence[object]) -> Statement:
        return self._texts[name], params


def is_committed_already(error: psycopg.Error) -> bool:
    """Whether this is the answer to a commit that is sent again and had been committed the first time."""
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name == "committed_already"


class _Folded:
    """What a sequence of entries amounts to, table by table.

    Of the writes of one stop between two openings, the last before its closing counts, and of these spells the last in
    which it was written. What was written before any opening counts only where the stop is open in the table.
    """

    def __init__(self) -> None:
        self._opened_first: dict[_Key, None] = {}
        self._written: dict[_Key, tuple[bool, datetime, str]] = {}
        self._opened_last: dict[_Key, None] = {}
        self._settled: dict[_Key, None] = {}
        self._added: dict[_Key, tuple[datetime, str]] = {}
        self._events: list[tuple[datetime, str, str, str]] = []

    def add(self, entry: Entry) -> None:
        match entry:
            case SaveStop(exchange, account, record) | CloseStop(exchange, account, record):
                key = _place(exchange, account, record.position)
                text = encode(record).decode()
                if key in self._opened_last:
                    del self._opened_last[key]
                    self._opened_first[key] = None
                elif key in self._written and self._written[key][0]:
                    return
                self._written[key] = (isinstance(entry, CloseStop), record.position.opened_at, text)
            case AddIntent(intent):
                if intent.purpose == "stop":
                    place = (intent.exchange, intent.account, intent.symbol, intent.side, intent.identity)
                    self._opened_last[place] = None
                key = (intent.exchange, intent.account, intent.client_order_id)
                self._added.setdefault(key, (intent.at, encode(intent).decode()))
            case SettleIntent(exchange, account, client_order_id):
                key = (exchange, account, client_order_id)
                self._settled[key] = None
                self._added.pop(key, None)
            case AppendEvent(exchange, account, event):
                self._events.append((event.at, exchange, account, encode(event).decode()))

    def rows(self) -> list[tuple[str, list[tuple[Any, ...]]]]:
        """The rows for each statement, in the order in which these are to run."""
        return [
            ("open again", list(self._opened_first)),
            ("keep stops", [(*key, *row) for key, row in self._written.items()]),
            ("open again", list(self._opened_last)),
            ("settle", list(self._settled)),
            ("add intents", [(*key, *row) for key, row in self._added.items()]),
            ("append", list(self._events)),
        ]


def _place(exchange: str, account: str, position: Position) -> _Key:
    return exchange, account, position.symbol, position.side, position.identity
