"""Migrating a store: under every account's lease, and what a process of another version meets."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from inspection.stores import take_lock
from postgres_server import a_schema, in_schema
from psycopg import sql

from trailing.errors import StoreError
from trailing.stores import open_store, sqlite_file
from trailing.stores.port import AddIntent, AppendEvent, SaveStop
from trailing.stores.postgres import open_postgres
from trailing.testing.store_samples import sample_alarm, sample_intent, sample_record

DATA = Path(__file__).parents[1] / "data" / "stores"
HERE = ("paper", "default")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A SQLite file of version 1."""
    path = tmp_path / "old.db"
    shutil.copy(DATA / "sqlite-1.sqlite", path)
    return path


@pytest.fixture
def old(dsn: str) -> Iterator[str]:
    """The name of a schema of version 2."""
    with a_schema(dsn) as name:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute((DATA / "postgres-2.sql").read_text().replace("old_store", name).encode())
        yield name


def run(dsn: str, schema: str, statement: str, **names: str) -> list[Any]:
    """The rows of a statement with the schema's and other names in it, on another connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        identifiers = {name: sql.Identifier(value) for name, value in (("schema", schema), *names.items())}
        cursor = connection.execute(sql.SQL(statement).format(**identifiers))
        return cursor.fetchall() if cursor.description else []


def version_of(dsn: str, schema: str) -> int:
    ((version,),) = run(dsn, schema, "SELECT version FROM {schema}.schema_version")
    return int(version)


async def open_and_close(url: str) -> None:
    async with open_store(url) as store:
        await store.accounts()


async def test_a_schema_whose_account_is_owned_is_not_migrated_and_the_owner_is_named(dsn: str, old: str) -> None:
    run(dsn, old, "UPDATE {schema}.leases SET expires_at = clock_timestamp() + interval '1 hour'")
    with pytest.raises(
        StoreError,
        match=f"^Postgres .* schema {old}: its schema has version 2, and is migrated to 3 once no account is owned:"
        r" end old-host process 4711, which owns paper default for 3\d\d\d\.\d s unless it renews that$",
    ):
        await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == 2
    assert run(dsn, old, "SELECT fence FROM {schema}.leases") == [(1,)]
    run(dsn, old, "UPDATE {schema}.leases SET expires_at = clock_timestamp()")
    await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == 3


async def test_a_migration_waits_for_a_commit_and_gives_up_where_that_does_not_end(
    dsn: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.stores.postgres_schema.LOCK_SECONDS", 1)
    with psycopg.connect(dsn) as connection:  # in the middle of a transaction that requires its lease
        connection.execute(f"SELECT {old}.require_lease('paper', 'default', 1)".encode())
        with pytest.raises(StoreError, match=r"can't be migrated: a commit has not ended for 1 s$"):
            await open_and_close(in_schema(dsn, old))
        assert version_of(dsn, old) == 2
    await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == 3


async def test_several_that_open_an_old_schema_at_once_migrate_it_once(dsn: str, old: str) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_and_close, in_schema(dsn, old))
    assert version_of(dsn, old) == 3


async def test_an_owner_whose_lease_had_run_out_before_a_migration_writes_nothing_after_it(dsn: str, old: str) -> None:
    await open_and_close(in_schema(dsn, old))
    with pytest.raises(psycopg.Error, match="the lease is lost"):
        run(dsn, old, "SELECT {schema}.require_lease('paper', 'default', 1)")
    renewed = run(dsn, old, "UPDATE {schema}.leases SET expires_at = now() WHERE fence = 1 RETURNING true")
    assert renewed == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT record::text, symbol FROM {schema}.stops WHERE NOT closed",
        "SELECT intent::text, client_order_id FROM {schema}.intents",
        """
        INSERT INTO {schema}.stops (exchange, account, symbol, side, identity, closed, opened_at, record)
        VALUES ('paper', 'default', 'A/B:B', 'long', 'x', false, now(), '{{"plan": {{}}}}')
        ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
        """
        INSERT INTO {schema}.intents (exchange, account, client_order_id, at, intent)
        VALUES ('paper', 'default', 't1', now(), '{{}}') ON CONFLICT (exchange, account, client_order_id) DO NOTHING""",
    ],
)
async def test_what_a_running_process_of_the_old_version_asks_a_migrated_schema_for_fails(
    dsn: str, old: str, statement: str
) -> None:
    run(dsn, old, statement)
    await open_and_close(in_schema(dsn, old))
    with pytest.raises(psycopg.Error):
        run(dsn, old, statement)


async def test_a_role_may_do_after_a_migration_what_it_might_do_before(dsn: str, old: str) -> None:
    bot = f"{old}_bot"
    run(dsn, old, "CREATE ROLE {bot} LOGIN PASSWORD 'hunter2'", bot=bot)
    try:
        run(dsn, old, "GRANT USAGE ON SCHEMA {schema} TO {bot}", bot=bot)
        run(dsn, old, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {bot}", bot=bot)
        run(dsn, old, "REVOKE INSERT, UPDATE, DELETE ON {schema}.schema_version FROM {bot}", bot=bot)
        params = {**psycopg.conninfo.conninfo_to_dict(dsn), "user": bot, "password": "hunter2"}
        as_bot = psycopg.conninfo.make_conninfo("", **params)
        with pytest.raises(StoreError, match=r"its schema has version 2, and can't be migrated: must be owner of"):
            async with open_postgres(as_bot, schema=old):
                raise AssertionError("it was opened")
        await open_and_close(in_schema(dsn, old))
        async with open_postgres(as_bot, schema=old) as store, store.own(*HERE, mark="cafe") as lease:
            await lease.commit([SaveStop(*HERE, sample_record("AAA/USDT:USDT")), AddIntent(sample_intent("t1", *HERE))])
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            assert len((await store.load(*HERE)).stops) == 9
            await store.prune(sample_alarm(9).at)
        assert run(
            as_bot, old, "SELECT symbol FROM {schema}.stops WHERE stop_price IS NULL AND state = 'unresolved'"
        ) == [("UNRESOLVED/USDT:USDT",)]
    finally:
        run(dsn, old, "DROP OWNED BY {bot}", bot=bot)
        run(dsn, old, "DROP ROLE {bot}", bot=bot)


async def test_an_account_is_not_owned_through_a_store_that_a_newer_version_has_migrated_meanwhile(
    dsn: str, old: str, tmp_path: Path
) -> None:
    def newer_postgres() -> None:
        run(dsn, old, "UPDATE {schema}.schema_version SET version = 99")

    def newer_sqlite() -> None:
        edit(tmp_path / "new.db", "PRAGMA user_version = 99")

    for url, migrate in (
        (in_schema(dsn, old), newer_postgres),
        (f"sqlite:///{tmp_path}/new.db", newer_sqlite),
    ):
        async with open_store(url) as store:
            async with store.own(*HERE, mark="cafe"):
                pass
            migrate()
            with pytest.raises(
                StoreError, match=r": its schema has version 99, this trailing knows versions up to \d$"
            ):
                async with store.own(*HERE, mark="beef", standby=True):
                    raise AssertionError("it is owned")


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than a moment for an account that is owned."""
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", 0.1)


@pytest.mark.usefixtures("in_haste")
async def test_a_file_whose_account_is_owned_is_not_migrated_and_the_owner_is_named(database: Path) -> None:
    before = database.read_bytes()
    lock = take_lock(Path(f"{database}-lease-default@paper"), "beef")
    assert not isinstance(lock, str)
    with pytest.raises(
        StoreError,
        match=r"old\.db: its schema is old, and is migrated once no account is owned: .*-lease-default@paper is locked"
        r" by process \d+$",
    ):
        await open_and_close(f"sqlite:///{database}")
    assert database.read_bytes() == before
    lock.close()
    async with open_store(f"sqlite:///{database}") as store, store.own(*HERE, mark="cafe") as lease:
        assert lease.marks == {"beef"}  # a migration leaves what the lock file holds


async def test_a_migration_leaves_no_lock_file(database: Path) -> None:
    await open_and_close(f"sqlite:///{database}")
    assert [path.name for path in database.parent.iterdir()] == ["old.db"]


async def test_several_that_open_an_old_file_at_once_migrate_it_once(database: Path) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_and_close, f"sqlite:///{database}")
    assert [path.name for path in database.parent.iterdir()] == ["old.db"]


@pytest.mark.usefixtures("in_haste")
async def test_an_account_without_a_row_is_owned_too(database: Path) -> None:
    lock = take_lock(Path(f"{database}-lease-second@paper"), "beef")
    assert not isinstance(lock, str)
    with pytest.raises(StoreError, match=r"-lease-second@paper is locked"):
        await open_and_close(f"sqlite:///{database}")
    lock.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT record, symbol, side, identity FROM stops WHERE NOT closed",
        """
        INSERT INTO stops (exchange, account, symbol, side, identity, closed, record)
        VALUES ('paper', 'default', 'A/B:B', 'long', 'x', 0, '{"plan": {}}')
        ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
    ],
)
async def test_what_a_running_process_of_the_old_version_asks_a_migrated_file_for_fails(
    database: Path, statement: str
) -> None:
    edit(database, statement)
    await open_and_close(f"sqlite:///{database}")
    with pytest.raises(sqlite3.Error):
        edit(database, statement)


async def test_a_file_that_a_newer_version_has_migrated_is_not_written_by_one_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_store(f"sqlite:///{path}") as store:
        await store.commit([AddIntent(sample_intent("t1"))])
        edit(path, "PRAGMA user_version = 99")
        with pytest.raises(StoreError, match=r"new\.db: its schema has version 99, this trailing knows versions up to"):
            await store.commit([AddIntent(sample_intent("t2"))])
        edit(path, "PRAGMA user_version = 2")
        assert [intent.client_order_id for intent in (await store.load("testex", "main")).intents] == ["t1"]
