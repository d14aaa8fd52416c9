"""Migrations: they own every account, and running processes of another version fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from inspection.stores import take_lock
from old_stores import copy_file, copy_schema
from postgres_server import in_schema
from psycopg import sql

from trailing.errors import StoreError
from trailing.stores import open_store, sqlite_file
from trailing.stores.port import AddIntent, AppendEvent, SaveStop
from trailing.stores.postgres import open_postgres
from trailing.stores.postgres_schema import SCHEMA_VERSION
from trailing.stores.sqlite_schema import SCHEMA_VERSION as FILE_VERSION
from trailing.testing.store_samples import sample_alarm, sample_intent, sample_record

HERE = ("paper", "default")


@pytest.fixture(params=[1, 2])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A SQLite file of an older version."""
    return copy_file(request.param, tmp_path)


@pytest.fixture(params=[2, 3])
def old(request: pytest.FixtureRequest, dsn: str) -> Iterator[str]:
    """The name of a Postgres schema of an older version."""
    with copy_schema(request.param, dsn) as name:
        yield name


def run(dsn: str, schema: str, statement: str, **names: str) -> list[Any]:
    """Execute a statement on a new connection, with the names of the schema and others in it. Return its rows."""
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


async def test_a_schema_with_an_owned_account_is_not_migrated_and_the_error_names_the_owner(dsn: str, old: str) -> None:
    version = version_of(dsn, old)
    run(dsn, old, "UPDATE {schema}.leases SET expires_at = clock_timestamp() + interval '1 hour'")
    with pytest.raises(
        StoreError,
        match=f"^Postgres .* schema {old}: its schema has version {version} and can't be migrated to {SCHEMA_VERSION} while"
        r" paper default is owned: end old-host process 4711; its lease runs out in 3\d\d\d\.\d s unless it is renewed$",
    ):
        await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == version
    assert run(dsn, old, "SELECT fence FROM {schema}.leases") == [(1,)]
    run(dsn, old, "UPDATE {schema}.leases SET expires_at = clock_timestamp()")
    await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == SCHEMA_VERSION


async def test_a_migration_waits_for_a_commit_and_fails_if_that_does_not_end(
    dsn: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(dsn, old)
    monkeypatch.setattr("trailing.stores.postgres_schema.LOCK_SECONDS", 1)
    with psycopg.connect(dsn) as connection:  # in the middle of a transaction that requires its lease
        connection.execute(f"SELECT {old}.require_lease('paper', 'default', 1)".encode())
        with pytest.raises(StoreError, match=r"can't be migrated: a commit has been running for 1 s$"):
            await open_and_close(in_schema(dsn, old))
        assert version_of(dsn, old) == version
    await open_and_close(in_schema(dsn, old))
    assert version_of(dsn, old) == SCHEMA_VERSION


async def test_tasks_that_open_an_old_schema_at_the_same_time_migrate_it_once(dsn: str, old: str) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_and_close, in_schema(dsn, old))
    assert version_of(dsn, old) == SCHEMA_VERSION


async def test_an_owner_whose_lease_ran_out_before_a_migration_writes_nothing_after_it(dsn: str, old: str) -> None:
    await open_and_close(in_schema(dsn, old))
    with pytest.raises(psycopg.Error, match="the lease is lost"):
        run(dsn, old, "SELECT {schema}.require_lease('paper', 'default', 1)")
    renewed = run(dsn, old, "UPDATE {schema}.leases SET expires_at = now() WHERE fence = 1 RETURNING true")
    assert renewed == []


@pytest.mark.parametrize(
    ("version", "statement"),
    [
        (2, "SELECT record::text, symbol FROM {schema}.stops WHERE NOT closed"),
        (2, "SELECT intent::text, client_order_id FROM {schema}.intents"),
        (2, "SELECT number, exchange, account, event::text FROM {schema}.events"),
        (
            2,
            """
            INSERT INTO {schema}.stops (exchange, account, symbol, side, identity, closed, opened_at, record)
            VALUES ('paper', 'default', 'A/B:B', 'long', 'x', false, now(), '{{"plan": {{}}}}')
            ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
        ),
        (
            2,
            """
            INSERT INTO {schema}.intents (exchange, account, client_order_id, at, intent)
            VALUES ('paper', 'default', 't1', now(), '{{}}')
            ON CONFLICT (exchange, account, client_order_id) DO NOTHING""",
        ),
        (3, "SELECT record::text, plan FROM {schema}.stop_records WHERE NOT closed"),
        (3, "SELECT intent::text, client_order_id FROM {schema}.intent_records"),
        (3, "SELECT number, exchange, account, event::text FROM {schema}.events"),
        (
            3,
            """
            INSERT INTO {schema}.stop_records (exchange, account, symbol, side, identity, closed, opened_at, plan, record)
            VALUES ('paper', 'default', 'A/B:B', 'long', 'x', false, now(), 'x', '{{"plan": {{}}}}')
            ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
        ),
        (
            3,
            """
            INSERT INTO {schema}.intent_records (exchange, account, client_order_id, at, intent)
            VALUES ('paper', 'default', 't1', now(), '{{}}')
            ON CONFLICT (exchange, account, client_order_id) DO NOTHING""",
        ),
        (
            3,
            """
            INSERT INTO {schema}.events (at, exchange, account, event)
            VALUES (now(), 'paper', 'default', '{{"type": "StopMoved", "exposure": 1.5}}')""",
        ),
    ],
)
async def test_a_running_process_of_an_old_version_reads_and_writes_nothing_in_a_migrated_schema(
    dsn: str, version: int, statement: str
) -> None:
    with copy_schema(version, dsn) as schema:
        run(dsn, schema, statement)
        await open_and_close(in_schema(dsn, schema))
        with pytest.raises(psycopg.errors.UndefinedColumn):
            run(dsn, schema, statement)


async def test_a_migration_keeps_the_rights_of_roles(dsn: str, old: str) -> None:
    bot = f"{old}_bot"
    run(dsn, old, "CREATE ROLE {bot} LOGIN PASSWORD 'hunter2'", bot=bot)
    try:
        run(dsn, old, "GRANT USAGE ON SCHEMA {schema} TO {bot}", bot=bot)
        run(dsn, old, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {bot}", bot=bot)
        run(dsn, old, "REVOKE INSERT, UPDATE, DELETE ON {schema}.schema_version FROM {bot}", bot=bot)
        params = {**psycopg.conninfo.conninfo_to_dict(dsn), "user": bot, "password": "hunter2"}
        as_bot = psycopg.conninfo.make_conninfo("", **params)
        with pytest.raises(StoreError, match=r"its schema has version \d and can't be migrated: must be owner of"):
            async with open_postgres(as_bot, schema=old):
                raise AssertionError("it was opened")
        await open_and_close(in_schema(dsn, old))
        async with open_postgres(as_bot, schema=old) as store, store.acquire_lease(*HERE, mark="cafe") as lease:
            await lease.commit([SaveStop(*HERE, sample_record("AAA/USDT:USDT")), AddIntent(sample_intent("t1", *HERE))])
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            assert len((await store.load(*HERE)).stops) == 9
            await store.prune(sample_alarm(9).at)
        unresolved = "SELECT stop_price FROM {schema}.stops WHERE symbol = 'UNRESOLVED/USDT:USDT'"
        assert run(as_bot, old, unresolved) == [(None,)]
    finally:
        run(dsn, old, "DROP OWNED BY {bot}", bot=bot)
        run(dsn, old, "DROP ROLE {bot}", bot=bot)


async def test_a_store_that_a_newer_version_has_migrated_meanwhile_gives_no_lease(
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
            async with store.acquire_lease(*HERE, mark="cafe"):
                pass
            migrate()
            with pytest.raises(
                StoreError, match=r": its schema has version 99, this trailing reads versions up to \d$"
            ):
                async with store.acquire_lease(*HERE, mark="beef", standby=True):
                    raise AssertionError("it is owned")


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only a moment for an account that is owned."""
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", 0.1)


@pytest.mark.usefixtures("in_haste")
async def test_a_file_with_an_owned_account_is_not_migrated_and_the_error_names_the_owner(database: Path) -> None:
    before = database.read_bytes()
    lock = take_lock(Path(f"{database}-lease-default@paper"), "beef")
    assert not isinstance(lock, str)
    with pytest.raises(
        StoreError,
        match=r"old\.db: its schema is old and can't be migrated while an account is owned: end process \d+, which has locked"
        r" .*-lease-default@paper$",
    ):
        await open_and_close(f"sqlite:///{database}")
    assert database.read_bytes() == before
    lock.close()
    async with open_store(f"sqlite:///{database}") as store, store.acquire_lease(*HERE, mark="cafe") as lease:
        assert lease.marks == {"beef"}  # a migration keeps the content of the lock file


async def test_a_migration_leaves_no_lock_file(database: Path) -> None:
    await open_and_close(f"sqlite:///{database}")
    assert [path.name for path in database.parent.iterdir()] == ["old.db"]


async def test_tasks_that_open_an_old_file_at_the_same_time_migrate_it_once(database: Path) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_and_close, f"sqlite:///{database}")
    assert [path.name for path in database.parent.iterdir()] == ["old.db"]


@pytest.mark.usefixtures("in_haste")
async def test_a_migration_also_owns_an_account_without_rows(database: Path) -> None:
    lock = take_lock(Path(f"{database}-lease-second@paper"), "beef")
    assert not isinstance(lock, str)
    with pytest.raises(StoreError, match=r"which has locked .*-lease-second@paper"):
        await open_and_close(f"sqlite:///{database}")
    lock.close()


@pytest.mark.parametrize(
    ("version", "statement"),
    [
        (1, "SELECT record, symbol, side, identity FROM stops WHERE NOT closed"),
        (1, "SELECT intent, client_order_id FROM intents"),
        (1, "SELECT number, at, exchange, account, event FROM events"),
        (
            1,
            """
            INSERT INTO stops (exchange, account, symbol, side, identity, closed, record)
            VALUES ('paper', 'default', 'A/B:B', 'long', 'x', 0, '{"plan": {}}')
            ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
        ),
        (2, "SELECT record, plan, symbol, side, identity FROM stop_records WHERE NOT closed"),
        (2, "SELECT intent, client_order_id FROM intents"),
        (2, "SELECT number, at, exchange, account, event FROM events"),
        (
            2,
            """
            INSERT INTO stop_records (exchange, account, symbol, side, identity, closed, plan, record)
            VALUES ('paper', 'default', 'A/B:B', 'long', 'x', 0, 'x', '{"plan": {}}')
            ON CONFLICT (exchange, account, symbol, side, identity) DO UPDATE SET record = excluded.record""",
        ),
        (2, "INSERT INTO intents (exchange, account, client_order_id, intent) VALUES ('paper', 'default', 't1', '{}')"),
        (2, "INSERT INTO events (at, exchange, account, event) VALUES (0, 'paper', 'default', '{\"exposure\":1.5}')"),
    ],
)
async def test_a_running_process_of_an_old_version_reads_and_writes_nothing_in_a_migrated_file(
    tmp_path: Path, version: int, statement: str
) -> None:
    database = copy_file(version, tmp_path)
    edit(database, statement)
    await open_and_close(f"sqlite:///{database}")
    with pytest.raises(
        sqlite3.OperationalError, match=r"no (such column|column named)|has no column named|cannot modify"
    ):
        edit(database, statement)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_migration_of_a_file_that_fails_leaves_it_as_it_was(tmp_path: Path, version: int) -> None:
    database = copy_file(version, tmp_path)
    table = "stops" if version == 1 else "stop_records"
    edit(database, f"UPDATE {table} SET record = 'no JSON' WHERE number = 3")  # noqa: S608
    before = dump(database)
    with pytest.raises(StoreError, match=r"old\.db: malformed JSON$"):
        await open_and_close(f"sqlite:///{database}")
    assert dump(database) == before


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump(), *map(str, connection.execute("PRAGMA user_version"))]


async def test_a_file_that_a_newer_version_has_migrated_is_not_written_by_one_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with open_store(f"sqlite:///{path}") as store:
        await store.commit([AddIntent(sample_intent("t1"))])
        edit(path, "PRAGMA user_version = 99")
        with pytest.raises(StoreError, match=r"new\.db: its schema has version 99, this trailing reads versions up to"):
            await store.commit([AddIntent(sample_intent("t2"))])
        edit(path, f"PRAGMA user_version = {FILE_VERSION}")
        assert [intent.client_order_id for intent in (await store.load("testex", "main")).intents] == ["t1"]
