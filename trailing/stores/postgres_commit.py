"""The statements of a commit in Postgres: one statement over arrays for each table.

A commit is one transaction that is sent in one round trip. It begins by writing its number, which each open store counts. If
its reply is lost, the commit is sent again with the same number. If the first one was committed, the constraint
`committed_already` refuses the second one. If the first one arrives later, it is refused; if both arrive together, one waits
for the other, because both write the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from trailing.events import Event
from trailing.stores.codec import encode
from trailing.stores.compaction import CompactedBatch
from trailing.stores.plans import split_plans
from trailing.stores.port import CloseStop, Intent
from trailing.stores.postgres_schema import lock_key

CHANNEL = "trailing"
"""The channel on which each commit sends a notification, with the name of its schema."""

Statement: TypeAlias = tuple[bytes, Sequence[object]]

# %b sends arrays in binary format. In text format, every element would be searched for characters to quote.

_WRITE_NUMBER = """
    INSERT INTO {schema}.writers AS known (writer, commits) VALUES (%s, %s)
    ON CONFLICT (writer) DO UPDATE SET at = now(),
    commits = CASE WHEN known.commits < excluded.commits THEN excluded.commits ELSE 0 END"""

_REOPEN = """
    UPDATE {schema}.stop_records AS old SET closed = false
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS wanted (exchange, account, symbol, side, identity)
    WHERE closed AND (old.exchange, old.account, old.symbol, old.side, old.identity)
    = (wanted.exchange, wanted.account, wanted.symbol, wanted.side, wanted.identity)"""

# In the order of the hashes, so that two commits can't deadlock. It locks the table of plans against `prune_plans` until the
# records that use the plans are committed.
_INSERT_PLANS = """
    INSERT INTO {schema}.plans (hash, plan)
    SELECT hash, plan::json FROM unnest(%b::text[], %b::text[]) AS new (hash, plan) ORDER BY hash
    ON CONFLICT (hash) DO NOTHING"""

_UPSERT_STOPS = """
    INSERT INTO {schema}.stop_records AS old
    (exchange, account, symbol, side, identity, closed, opened_at, plan, body)
    SELECT exchange, account, symbol, side, identity, closed, opened_at, plan, body::json
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::timestamptz[], %b::text[],
    %b::text[])
    WITH ORDINALITY AS new (exchange, account, symbol, side, identity, closed, opened_at, plan, body, ordinal)
    ORDER BY ordinal
    ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE
    SET closed = excluded.closed, plan = excluded.plan, body = excluded.body, written_at = now()
    WHERE NOT old.closed"""

_DELETE_INTENTS = """
    DELETE FROM {schema}.intent_records AS old USING unnest(%b::text[], %b::text[], %b::text[])
    AS known (exchange, account, client_order_id)
    WHERE (old.exchange, old.account, old.client_order_id)
    = (known.exchange, known.account, known.client_order_id)"""

_INSERT_INTENTS = """
    INSERT INTO {schema}.intent_records (exchange, account, client_order_id, at, body)
    SELECT exchange, account, client_order_id, at, body::json
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[])
    WITH ORDINALITY AS new (exchange, account, client_order_id, at, body, ordinal)
    ORDER BY ordinal
    ON CONFLICT (exchange, account, client_order_id) DO NOTHING"""

_APPEND_EVENTS = """
    INSERT INTO {schema}.events (at, exchange, account, body)
    SELECT at, exchange, account, body::jsonb
    FROM unnest(%b::timestamptz[], %b::text[], %b::text[], %b::text[])
    WITH ORDINALITY AS new (at, exchange, account, body, ordinal)
    ORDER BY ordinal"""

_STATEMENTS = {
    "write number": _WRITE_NUMBER,
    "reopen stops": _REOPEN,
    "insert plans": _INSERT_PLANS,
    "upsert stops": _UPSERT_STOPS,
    "delete intents": _DELETE_INTENTS,
    "insert intents": _INSERT_INTENTS,
    "append events": _APPEND_EVENTS,
}


class CommitWriter:
    """Builds the statements of commits.

    Args:
        schema: the schema of the tables.
        writer: the unique id of this store.
    """

    def __init__(self, schema: str, writer: UUID) -> None:
        self._schema = schema
        self._writer = writer
        self._texts = {
            name: sql.SQL(text).format(schema=sql.Identifier(schema)).as_bytes(None)
            for name, text in _STATEMENTS.items()
        }

    def statements(self, batch: CompactedBatch, number: int, required: Sequence[Statement] = ()) -> Iterator[Statement]:
        """Yield the statements of one transaction. Each is built while the server executes the one before.

        Args:
            number: the number of this commit, higher than all before.
            required: statements that must succeed before anything is written. They come after the number, because a commit that
                was made already requires nothing.

        Raises:
            StoreError: an entry can't be encoded.
        """
        yield self._statement("write number", self._writer, number)
        yield from required
        if batch.settled:
            yield self._statement("delete intents", *_columns(batch.settled))
        if batch.added:
            intents = batch.added.values()
            times = [intent.at for intent in intents]
            yield self._statement("insert intents", *_columns(batch.added), times, _texts(intents))
        if batch.reopened_first:
            yield self._statement("reopen stops", *_columns(batch.reopened_first))
        if batch.stops:
            closed = [isinstance(entry, CloseStop) for entry in batch.stops.values()]
            records = [entry.record for entry in batch.stops.values()]
            times = [record.position.opened_at for record in records]
            split = split_plans(records)
            yield self._statement("insert plans", list(split.plans), _decoded(split.plans.values()))
            yield self._statement(
                "upsert stops", *_columns(batch.stops), closed, times, split.hashes, _decoded(split.texts)
            )
        if batch.reopened_last:
            yield self._statement("reopen stops", *_columns(batch.reopened_last))
        if batch.events:
            # A follower reads from the last number that it has read, so that numbers must become visible in their order. So a
            # commit with events waits until the one before has ended.
            yield b"SELECT pg_advisory_xact_lock(%s, %s)", lock_key(self._schema, "append")
            times = [entry.event.at for entry in batch.events]
            accounts = _columns((entry.exchange, entry.account) for entry in batch.events)
            yield self._statement("append events", times, *accounts, _texts(entry.event for entry in batch.events))
        yield b"SELECT pg_notify(%s, %s)", (CHANNEL, self._schema)

    def _statement(self, name: str, *params: object) -> Statement:
        return self._texts[name], params


def _columns(rows: Iterable[tuple[str, ...]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _texts(values: Iterable[Intent | Event]) -> list[str]:
    return _decoded(encode(value) for value in values)


def _decoded(texts: Iterable[bytes]) -> list[str]:
    return [text.decode() for text in texts]


def is_committed_already(error: psycopg.Error) -> bool:
    """Return whether an error says that the commit had been made already."""
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name == "committed_already"
