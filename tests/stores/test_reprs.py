"""The reprs of stores, leases, pools and connections show their state and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio
from postgres_server import a_schema

from trailing.psycopg_trio import TrioConnection, open_pool
from trailing.stores import open_store
from trailing.stores.leases import LeaseProxy
from trailing.stores.postgres import open_postgres

HERE = ("testex", "main")
SECRET = "hunter2"


def with_password(dsn: str) -> str:
    return psycopg.conninfo.make_conninfo("", **{**psycopg.conninfo.conninfo_to_dict(dsn), "password": SECRET})


async def test_a_sqlite_store_and_its_lease_show_the_file_and_whether_the_account_is_held(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bot.db"
    async with open_store(url) as store:
        assert repr(store) == f"<SqliteStore: {tmp_path}/bot.db>"
        async with store.acquire_lease(*HERE, mark="cafe") as lease:
            assert repr(lease) == "<ProcessLease of testex main: held>"
            assert repr(LeaseProxy(lease, lease.commit)) == "<LeaseProxy of <ProcessLease of testex main: held>>"
        assert repr(lease) == "<ProcessLease of testex main: ended>"
    async with open_store(url, read_only=True) as store:
        assert repr(store) == f"<SqliteStore: {tmp_path}/bot.db, read only>"


@pytest.fixture
def schema(dsn: str) -> Iterator[str]:
    with a_schema(dsn) as name:
        yield name


async def test_a_postgres_store_and_its_lease_show_the_address_and_the_state(dsn: str, schema: str) -> None:
    async with open_postgres(with_password(dsn), schema=schema) as store:
        assert re.fullmatch(rf"<PostgresStore: Postgres .*/postgres schema {schema}, 0 commits>", repr(store))
        async with store.acquire_lease(*HERE, mark="cafe") as lease:
            assert re.fullmatch(r"<PostgresLease of testex main: fence 1, held for [56]\d\.\d s more>", repr(lease))
            outside = await trio.to_thread.run_sync(repr, lease)  # no clock there, as in a debugger
            assert outside == "<PostgresLease of testex main: fence 1, held>"
        assert repr(lease) == "<PostgresLease of testex main: fence 1, lost (the lease has ended)>"
    async with open_postgres(with_password(dsn), schema=schema, read_only=True) as store:
        assert f"schema {schema}, read only, 0 commits>" in repr(store)
    assert SECRET not in repr(store)


async def test_a_pool_and_its_connection_show_the_server_and_the_state(dsn: str) -> None:
    async with open_pool(with_password(dsn), 1, 2, autocommit=True) as pool:
        assert re.fullmatch(r"<Pool of .*/postgres: 1 of 2 connections open, 1 idle, 0 tasks waiting>", repr(pool))
        async with pool.connection() as connection:
            assert re.fullmatch(
                r"<trailing\.psycopg_trio\.\w+\.TrioConnection \[IDLE\] \(.*\) at 0x\w+>", repr(connection)
            )
            assert repr(connection.lock) == "<FifoLock: free, 0 tasks waiting>"
        assert SECRET not in repr(pool) + repr(connection)
    assert "closed, 0 of 2 connections open" in repr(pool)
    assert isinstance(connection, TrioConnection)
