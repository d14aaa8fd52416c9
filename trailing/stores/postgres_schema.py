"""The tables in a Postgres schema, and what may be found in the place of them."""

from __future__ import annotations

import zlib
from typing import Any

import psycopg
from psycopg import sql

from trailing.errors import StoreError, UsageError
from trailing.stores.trio_psycopg import TrioConnection

OLDEST_SERVER = 14
"""The oldest version of PostgreSQL that its makers still mend."""

# Each is run once, in a transaction with the rise of the version. What has been released here never changes: what is to
# be different gets a migration of its own.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `number` keeps the order of first writing. A settled intent is deleted; a closed stop stays, because that is
        # what keeps a late save from bringing it back. The JSON is the truth, money in it is text, and the generated
        # columns are for people; numeric without a scale keeps every digit.
        """
        CREATE TABLE {schema}.stops (
            number bigint GENERATED ALWAYS AS IDENTITY,
            exchange text NOT NULL,
            account text NOT NULL,
            symbol text NOT NULL,
            side text NOT NULL,
            identity text NOT NULL,
            closed boolean NOT NULL,
            state text GENERATED ALWAYS AS (record ->> 'state') STORED,
            quantity numeric GENERATED ALWAYS AS ((record ->> 'quantity')::numeric) STORED,
            entry_price numeric GENERATED ALWAYS AS ((record -> 'position' ->> 'entry_price')::numeric) STORED,
            stop_price numeric GENERATED ALWAYS AS ((record -> 'orders' -> -1 ->> 'price')::numeric) STORED,
            opened_at timestamptz NOT NULL,
            written_at timestamptz NOT NULL DEFAULT now(),
            record jsonb NOT NULL,
            PRIMARY KEY (exchange, account, symbol, side, identity)
        ) WITH (fillfactor = 60)""",
        "CREATE INDEX stops_open ON {schema}.stops (exchange, account, number) WHERE NOT closed",
        """
        CREATE TABLE {schema}.intents (
            number bigint GENERATED ALWAYS AS IDENTITY,
            exchange text NOT NULL,
            account text NOT NULL,
            client_order_id text NOT NULL,
            symbol text GENERATED ALWAYS AS (intent ->> 'symbol') STORED,
            side text GENERATED ALWAYS AS (intent ->> 'side') STORED,
            purpose text GENERATED ALWAYS AS (intent ->> 'purpose') STORED,
            quantity numeric GENERATED ALWAYS AS ((intent ->> 'quantity')::numeric) STORED,
            price numeric GENERATED ALWAYS AS ((intent ->> 'price')::numeric) STORED,
            at timestamptz NOT NULL,
            intent jsonb NOT NULL,
            PRIMARY KEY (exchange, account, client_order_id)
        )""",
        """
        CREATE TABLE {schema}.events (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at timestamptz NOT NULL,
            exchange text NOT NULL,
            account text NOT NULL,
            type text GENERATED ALWAYS AS (event ->> 'type') STORED,
            event jsonb NOT NULL
        )""",
        "CREATE INDEX events_at ON {schema}.events (at)",
        # Every store that is open counts its commits here: see `postgres_commit`.
        """
        CREATE TABLE {schema}.writers (
            writer uuid PRIMARY KEY,
            commits bigint NOT NULL CONSTRAINT committed_already CHECK (commits > 0),
            at timestamptz NOT NULL DEFAULT now()
        )""",
    ),
    (
        # Who owns which account: see `postgres_lease`. `fence` grows with each owner; `holder` tells owners apart, `owner`
        # is for people; `sessions` is the key of the advisory lock that all its sessions share, null once it has ended.
        """
        CREATE TABLE {schema}.leases (
            exchange text NOT NULL,
            account text NOT NULL,
            fence bigint NOT NULL,
            holder uuid NOT NULL,
            owner text NOT NULL,
            sessions bigint,
            taken_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            marks text[] NOT NULL,
            PRIMARY KEY (exchange, account)
        ) WITH (fillfactor = 50)""",
        # A takeover waits until the transaction that has required a lease is over; a read does not.
        """
        CREATE FUNCTION {schema}.require_lease(wanted_exchange text, wanted_account text, wanted_fence bigint)
        RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM FROM {schema}.leases
            WHERE exchange = wanted_exchange AND account = wanted_account AND fence = wanted_fence FOR SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the lease is lost' USING ERRCODE = 'TR001';
            END IF;
        END $$""",
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)


def check_schema_name(schema: str) -> None:
    """Refuse what can't be the name of a schema of ours. Raises UsageError."""
    if not schema or "\0" in schema or len(schema.encode(errors="replace")) > 63 or schema.startswith("pg_"):
        raise UsageError(
            f"open_store got the schema {schema!r}, wants a name of 1 to 63 bytes, not one of Postgres's own"
        )


async def prepare_schema(connection: TrioConnection[Any], schema: str, *, read_only: bool) -> None:
    """See that the tables are there, in the version that we know; create or migrate them unless `read_only`.

    Several processes may do so at the same time: one of them migrates, the others wait for it.

    Raises:
        StoreError: they are of a newer version, or can't be created; or (with `read_only`) are missing or old.
        psycopg.Error: something else went wrong.
    """
    if connection.info.server_version < OLDEST_SERVER * 10_000:
        raise StoreError(
            f"the server is PostgreSQL {connection.info.server_version // 10_000}, wants {OLDEST_SERVER} up"
        )
    version = await _read_version(connection, schema)
    if version == SCHEMA_VERSION:
        return
    if read_only:
        raise StoreError("it holds nothing yet" if version == 0 else f"its schema has version {version}, which is old")
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock_key(schema, "migrate"))
            for number in range(await _read_version(connection, schema), SCHEMA_VERSION):
                await _migrate(connection, schema, number)
    except (psycopg.errors.DuplicateTable, psycopg.errors.InsufficientPrivilege) as error:
        raise StoreError(f"its tables can't be created: {error.diag.message_primary}") from error


async def _migrate(connection: TrioConnection[Any], schema: str, number: int) -> None:
    name = sql.Identifier(schema)
    if number == 0:
        found = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        await connection.execute(sql.SQL("CREATE TABLE {}.schema_version (version integer NOT NULL)").format(name))
        await connection.execute(sql.SQL("INSERT INTO {}.schema_version VALUES (0)").format(name))
    for statement in MIGRATIONS[number]:
        await connection.execute(sql.SQL(statement).format(schema=name))
    await connection.execute(sql.SQL("UPDATE {}.schema_version SET version = %s").format(name), (number + 1,))


async def _read_version(connection: TrioConnection[Any], schema: str) -> int:
    """0: there are no tables of ours."""
    # Asked of the catalogue's own tables, as of this moment: after waiting for a lock, name lookups may still answer what
    # the session had found before.
    found = await connection.execute(
        "SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = %s AND relname = 'schema_version'",
        (schema,),
    )
    if await found.fetchone() is None:
        return 0
    query = sql.SQL("SELECT version FROM {}.schema_version").format(sql.Identifier(schema))
    row = await (await connection.execute(query)).fetchone()
    version = int(row[0]) if row is not None else 0
    if version > SCHEMA_VERSION:
        raise StoreError(f"its schema has version {version}, this trailing knows versions up to {SCHEMA_VERSION}")
    return version


def lock_key(schema: str, purpose: str) -> tuple[int, int]:
    """The two numbers of an advisory lock: one for what it is for, one for the schema."""
    first, second = (zlib.crc32(text.encode()) - 2**31 for text in (f"trailing {purpose}", schema))
    return first, second
