"""The tables in a Postgres schema, and what may be found in the place of them."""

from __future__ import annotations

import zlib
from typing import Any, Final

import psycopg
from psycopg import sql

from trailing.errors import StoreError, UsageError
from trailing.psycopg_trio import TrioConnection
from trailing.stores.postgres_migrations import MIGRATIONS
from trailing.stores.postgres_server import Server

OLDEST_SERVER = 14
"""The oldest version of PostgreSQL that its makers still mend."""

SCHEMA_VERSION = len(MIGRATIONS)

FIRST_WITH_LEASES: Final = 2
"""The first version of the schema whose accounts are owned."""

MIGRATION_SECONDS: Final = 900.0
"""How long a migration of tables that hold something may take, because it may write every record again."""

LOCK_SECONDS: Final = 5
"""How long a migration waits for the commits of other processes to end."""


class SchemaError(Exception):
    """The tables are not as this version of the library wants them, in words; `StoreError` names the store besides."""


def check_schema_name(schema: str) -> None:
    """Refuse what can't be the name of a schema of ours. Raises UsageError."""
    if not schema or "\0" in schema or len(schema.encode(errors="replace")) > 63 or schema.startswith("pg_"):
        raise UsageError(
            f"open_store got the schema {schema!r}, wants a name of 1 to 63 bytes, not one of Postgres's own"
        )


async def prepare_schema(server: Server, schema: str, *, read_only: bool) -> None:
    """Check that the tables are there, in the version that we know; create or migrate them unless `read_only`.

    Several processes may do so at the same time: one of them migrates, the others wait for it. The one that migrates owns
    every account meanwhile, so that no owner of an older version writes before, during or after the migration.

    Raises:
        StoreError: naming the store. The server is too old or does not answer; the tables are of a newer version, or can't be
            created; they are old, and an account is owned or a commit does not end; or (with `read_only`) they are missing
            or old.
    """
    try:
        version = await server.run(lambda connection: _find_version(connection, schema, read_only=read_only))
        if version < SCHEMA_VERSION:
            seconds = MIGRATION_SECONDS if version else None
            await server.run(lambda connection: _migrate(connection, schema), seconds=seconds)
    except SchemaError as error:
        raise StoreError(f"{server.where}: {error}") from error.__cause__


async def _find_version(connection: TrioConnection[Any], schema: str, *, read_only: bool) -> int:
    if connection.info.server_version < OLDEST_SERVER * 10_000:
        raise SchemaError(
            f"the server is PostgreSQL {connection.info.server_version // 10_000}, wants {OLDEST_SERVER} up"
        )
    version = await _read_version(connection, schema)
    if read_only and version == 0:
        raise SchemaError("it has no tables yet")
    if read_only and version < SCHEMA_VERSION:
        raise SchemaError(f"its schema has the old version {version}; open it with a bot of this version to migrate it")
    return version


async def _migrate(connection: TrioConnection[Any], schema: str) -> None:
    version = 0
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock_key(schema, "migrate"))
            version = await _read_version(connection, schema)
            if FIRST_WITH_LEASES <= version < SCHEMA_VERSION:
                await _own_every_account(connection, schema, version)
            for number in range(version, SCHEMA_VERSION):
                await _migrate_once(connection, schema, number)
    except (psycopg.errors.DuplicateTable, psycopg.errors.InsufficientPrivilege) as error:
        what = f"its schema has version {version} and can't be migrated" if version else "its tables can't be created"
        raise SchemaError(f"{what}: {error.diag.message_primary}") from error


async def _own_every_account(connection: TrioConnection[Any], schema: str, version: int) -> None:
    """Take the lease of every account, and let no lease be taken or renewed until the transaction ends.

    Each lease gets a new fence, so that an owner whose lease had run out, and which is alive, writes nothing afterwards.

    Raises:
        SchemaError: an account is owned, or a commit does not end.
    """
    name = sql.Identifier(schema)
    held = sql.SQL(
        "SELECT exchange, account, owner, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM {}.leases"
        " WHERE expires_at > clock_timestamp() ORDER BY expires_at DESC LIMIT 1"
    ).format(name)

    async def require_none() -> None:
        row = await (await connection.execute(held)).fetchone()
        if row is not None:
            exchange, account, owner, seconds = row
            raise SchemaError(
                f"its schema has version {version} and can't be migrated to {SCHEMA_VERSION} while {exchange} {account} is"
                f" owned: end {owner}; its lease runs out in {seconds:.1f} s unless it is renewed"
            )

    await require_none()  # before the lock, which would keep that owner from renewing its lease
    await connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_SECONDS}s"))
    try:
        await connection.execute(sql.SQL("LOCK TABLE {}.leases IN ACCESS EXCLUSIVE MODE").format(name))
    except psycopg.errors.LockNotAvailable as error:
        raise SchemaError(
            f"its schema has version {version} and can't be migrated: a commit has been running for {LOCK_SECONDS} s"
        ) from error
    await require_none()
    await connection.execute(
        sql.SQL(
            "UPDATE {}.leases SET fence = fence + 1, holder = gen_random_uuid(), owner = {}, sessions = NULL"
        ).format(name, f"the migration to version {SCHEMA_VERSION}")
    )


async def _migrate_once(connection: TrioConnection[Any], schema: str, number: int) -> None:
    name = sql.Identifier(schema)
    if number == 0:
        found = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        await connection.execute(sql.SQL("CREATE TABLE {}.schema_version (version integer NOT NULL)").format(name))
        await connection.execute(sql.SQL("INSERT INTO {}.schema_version VALUES (0)").format(name))
    for statement in MIGRATIONS[number]:
        await connection.execute(sql.SQL(statement).format(schema=name, schema_text=schema))
    await connection.execute(sql.SQL("UPDATE {}.schema_version SET version = %s").format(name), (number + 1,))


async def require_version(server: Server, schema: str, *, patient: bool) -> None:
    """Check that no process of a newer version has migrated the tables since they were prepared.

    Args:
        patient: wait for a server that can't be reached.

    Raises:
        StoreError: naming the store: the tables are of a newer version, or the server does not answer.
    """
    try:
        await server.run(lambda connection: _read_version(connection, schema), patient=patient)
    except SchemaError as error:
        raise StoreError(f"{server.where}: {error}") from None


async def _read_version(connection: TrioConnection[Any], schema: str) -> int:
    """Return the version of the tables; 0: there are none of ours. Raises SchemaError where it is newer than we know."""
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
        raise SchemaError(f"its schema has version {version}, this trailing reads versions up to {SCHEMA_VERSION}")
    return version


def lock_key(schema: str, purpose: str) -> tuple[int, int]:
    """The two numbers of an advisory lock: one for what it is for, one for the schema."""
    first, second = (zlib.crc32(text.encode()) - 2**31 for text in (f"trailing {purpose}", schema))
    return first, second
