"""What a commit says to Postgres: the entries that wait, folded into one statement over arrays for each table.

A commit is one transaction, sent as a whole without waiting for anything in between: one round trip. It begins with the
number of the commit, counted by each store that is open: one whose reply was lost is sent again under the same number.
Where it had been committed after all, the database refuses it for that, by name; and should the lost one still be on its
way, it is refused when it arrives, or waits for and is waited for, as both want to write the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias
from uuid import UUID

import psycopg
from psycopg import sql

from trailing.events import Event
from trailing.stores.codec import encode
from trailing.stores.folding import Folded
from trailing.stores.plans import split_plans
from trailing.stores.port import CloseStop, Intent
from trailing.stores.postgres_schema import lock_key

CHANNEL = "trailing"
"""Every commit is told here, with the name of its schema."""

Statement: TypeAlias = tuple[bytes, Sequence[object]]

# %b: arrays go in binary. As text, every element would be searched for what has to be quoted.

_COUNT = """
    INSERT INTO {schema}.writers AS known (writer, commits) VALUES (%s, %s)
    ON CONFLICT (writer) DO UPDATE SET at = now(),
    commits = CASE WHEN known.commits < excluded.commits THEN excluded.commits ELSE 0 END"""

_OPEN_AGAIN = """
    UPDATE {schema}.stop_records AS old SET closed = false
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
    AS wanted (exchange, account, symbol, side, identity)
    WHERE closed AND (old.exchange, old.account, old.symbol, old.side, old.identity)
    = (wanted.exchange, wanted.account, wanted.symbol, wanted.side, wanted.identity)"""

# In the order of the hashes, so that no two commits wait for each other. It locks the table of plans against `prune_plans`
# until the records that name the plans are committed.
_KEEP_PLANS = """
    INSERT INTO {schema}.plans (hash, plan)
    SELECT hash, plan::json FROM unnest(%b::text[], %b::text[]) AS new (hash, plan) ORDER BY hash
    ON CONFLICT (hash) DO NOTHING"""

_KEEP_STOPS = """
    INSERT INTO {schema}.stop_records AS old
    (exchange, account, symbol, side, identity, closed, opened_at, plan, body)
    SELECT exchange, account, symbol, side, identity, closed, opened_at, plan, body::json
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::timestamptz[], %b::text[],
    %b::text[])
    WITH ORDINALITY AS new (exchange, account, symbol, side, identity, closed, opened_at, plan, body, place)
    ORDER BY place
    ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE
    SET closed = excluded.closed, plan = excluded.plan, body = excluded.body, written_at = now()
    WHERE NOT old.closed"""

_SETTLE = """
    DELETE FROM {schema}.intent_records AS old USING unnest(%b::text[], %b::text[], %b::text[])
    AS known (exchange, account, client_order_id)
    WHERE (old.exchange, old.account, old.client_order_id)
    = (known.exchange, known.account, known.client_order_id)"""

_ADD_INTENTS = """
    INSERT INTO {schema}.intent_records (exchange, account, client_order_id, at, body)
    SELECT exchange, account, client_order_id, at, body::json
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[])
    WITH ORDINALITY AS new (exchange, account, client_order_id, at, body, place)
    ORDER BY place
    ON CONFLICT (exchange, account, client_order_id) DO NOTHING"""

_APPEND = """
    INSERT INTO {schema}.events (at, exchange, account, body)
    SELECT at, exchange, account, body::jsonb
    FROM unnest(%b::timestamptz[], %b::text[], %b::text[], %b::text[])
    WITH ORDINALITY AS new (at, exchange, account, body, place)
    ORDER BY place"""

_STATEMENTS = {
    "count": _COUNT,
    "open again": _OPEN_AGAIN,
    "keep plans": _KEEP_PLANS,
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

    def statements(self, folded: Folded, number: int, required: Sequence[Statement] = ()) -> Iterator[Statement]:
        """The statements of one transaction, each made when it is asked for: the server is at work on the one before.

        Args:
            number: of this commit; higher than that of every one before it.
            required: what has to pass before anything is written. Behind the number: a commit that was made already
                needs nothing any more.

        Raises:
            StoreError: an entry can't be encoded.
        """
        yield self._statement("count", self._writer, number)
        yield from required
        if folded.settled:
            yield self._statement("settle", *_columns(folded.settled))
        if folded.added:
            intents = folded.added.values()
            times = [intent.at for intent in intents]
            yield self._statement("add intents", *_columns(folded.added), times, _texts(intents))
        if folded.opened_first:
            yield self._statement("open again", *_columns(folded.opened_first))
        if folded.stops:
            closed = [isinstance(entry, CloseStop) for entry in folded.stops.values()]
            records = [entry.record for entry in folded.stops.values()]
            times = [record.position.opened_at for record in records]
            split = split_plans(records)
            yield self._statement("keep plans", list(split.plans), _decoded(split.plans.values()))
            yield self._statement(
                "keep stops", *_columns(folded.stops), closed, times, split.hashes, _decoded(split.texts)
            )
        if folded.opened_last:
            yield self._statement("open again", *_columns(folded.opened_last))
        if folded.events:
            # A follower reads on behind the last number that it saw, so that numbers have to become visible in their
            # order: whoever appends waits until the one before has committed.
            yield b"SELECT pg_advisory_xact_lock(%s, %s)", lock_key(self._schema, "append")
            times = [entry.event.at for entry in folded.events]
            accounts = _columns((entry.exchange, entry.account) for entry in folded.events)
            yield self._statement("append", times, *accounts, _texts(entry.event for entry in folded.events))
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
    """Whether this is the answer to a commit that is sent again and had been committed the first time."""
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name == "committed_already"
