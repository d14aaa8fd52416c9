"""The tables in a Postgres schema: their version, creating them, and migrating them."""

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
"""The oldest major version of PostgreSQL with security updates."""

SCHEMA_VERSION = len(MIGRATIONS)

FIRST_WITH_LEASES: Final = 2
"""The first version of the schema with leases."""

MIGRATION_SECONDS: Final = 900.0
"""Seconds for a migration of tables with rows, because it may write every row again."""

LOCK_SECONDS: Final = 5
"""Seconds that a migration waits for the running commits of other processes."""


class SchemaError(Exception):
    """The tables can't be used by this version of the library. `prepare_schema` raises it as a StoreError that names the store."""


def check_schema_name(schema: str) -> None:
    """Check that a name can be the schema of a store. Raises UsageError."""
    if not schema or "\0" in schema or len(schema.encode(errors="replace")) > 63 or schema.startswith("pg_"):
        raise UsageError(
            f"open_store got the schema {schema!r}, wants a name of 1 to 63 bytes that does not begin with pg_"
        )


async def prepare_schema(server: Server, schema: str, *, read_only: bool) -> None:
    """Create the tables, or migrate them to the present version. With `read_only`, only check their version.

    If several processes call it at the same time, one migrates and the others wait. The migrating process owns every account
    meanwhile, so that no owner of an older version writes during or after the migration.

    Raises:
        StoreError: naming the store. The server is too old or does not answer; the tables have a newer version or can't be
            created; they have an older version, and an account is owned or a commit does not end; or (with `read_only`) they
            are missing or have an older version.
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
            f"the server is PostgreSQL {connection.info.server_version // 10_000}; {OLDEST_SERVER} or newer is required"
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
                await _take_every_lease(connection, schema, version)
            for number in range(version, SCHEMA_VERSION):
                await _migrate_once(connection, schema, number)
    except (psycopg.errors.DuplicateTable, psycopg.errors.InsufficientPrivilege) as error:
        what = f"its schema has version {version} and can't be migrated" if version else "its tables can't be created"
        raise SchemaError(f"{what}: {error.diag.message_primary}") from error


async def _take_every_lease(connection: TrioConnection[Any], schema: str, version: int) -> None:
    """Take the lease of every account, and block all leases until the transaction ends.

    Each lease gets a new fence, so that a running process whose lease has expired writes nothing afterwards.

    Raises:
        SchemaError: an account is owned, or a commit does not end.
    """
    name = sql.Identifier(schema)
    owners = sql.SQL(
        "SELECT exchange, account, owner, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM {}.leases"
        " WHERE expires_at > clock_timestamp() ORDER BY expires_at DESC LIMIT 1"
    ).format(name)

    async def require_none() -> None:
        row = await (await connection.execute(owners)).fetchone()
        if row is not None:
            exchange, account, owner, seconds = row
            raise SchemaError(
                f"its schema has version {version} and can't be migrated to {SCHEMA_VERSION} while {exchange} {account} is"
                f" owned: end {owner}; its lease runs out in {seconds:.1f} s unless it is renewed"
            )

    await require_none()  # before the lock, because the lock would block the owner's renewals
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


async def require_version(server: Server, schema: str, *, retry_forever: bool) -> None:
    """Check that no process of a newer version has migrated the tables.

    Args:
        retry_forever: wait for the server if it can't be reached.

    Raises:
        StoreError: naming the store: the tables have a newer version, or the server does not answer.
    """
    try:
        await server.run(lambda connection: _read_version(connection, schema), retry_forever=retry_forever)
    except SchemaError as error:
        raise StoreError(f"{server.where}: {error}") from None


async def _read_version(connection: TrioConnection[Any], schema: str) -> int:
    """Return the version of the tables; 0: there are none. Raises SchemaError if the version is newer than this library's."""
    # Read from the system catalogue, because after waiting for a lock a name lookup may return the session's cached result.
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
    """Return the key of an advisory lock: a number for its purpose and one for the schema."""
    first, second = (zlib.crc32(text.encode()) - 2**31 for text in (f"trailing {purpose}", schema))
    return first, second
