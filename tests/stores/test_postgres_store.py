"""The store in Postgres: its tables, its addresses, outages, and commits whose reply is lost."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import trio
import trio.lowlevel
from inspection.stores import query, shown_of_server, statements_of
from loopback import Network, open_network
from postgres_server import OwnServer, a_schema, in_schema
from psycopg import sql

from trailing.errors import StoreError, UsageError
from trailing.events import Alarm
from trailing.psycopg_trio import TrioConnection
from trailing.stores import open_store, postgres_schema
from trailing.stores.port import AddIntent, AppendEvent, Loaded, SaveStop, SettleIntent, StoreWrite
from trailing.stores.postgres import PostgresStore, open_postgres
from trailing.stores.postgres_migrations import MIGRATIONS
from trailing.stores.postgres_server import ServerTiming
from trailing.testing import cancel_everywhere
from trailing.testing.store_samples import HUGE, MOMENT, TINY, sample_alarm, sample_intent, sample_record

HERE = ("testex", "main")
SHORT = ServerTiming(reply=2.0, cleanup=0.2, poll=0.5, longest_pause=0.1)


@pytest.fixture
def schema(dsn: str) -> Any:
    with a_schema(dsn) as name:
        yield name


def ask(dsn: str, query: str, *, schema: str) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql.SQL(query).format(schema=sql.Identifier(schema)))
        return cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def open_far(dsn: str, schema: str) -> AsyncIterator[tuple[Network, PostgresStore]]:
    """Open a store through a network that can be cut."""
    async with (
        open_network(dsn) as network,
        open_postgres(network.dsn, schema=schema, timing=SHORT) as store,
    ):
        yield network, store
        network.heal()


async def numbers(store: PostgresStore) -> list[str]:
    return [record.event.detail async for record in store.events() if isinstance(record.event, Alarm)]


async def test_money_keeps_every_digit_and_can_be_queried(dsn: str, schema: str) -> None:
    record, intent = sample_record("AAA/USDT:USDT"), sample_intent("t1")
    async with open_store(in_schema(dsn, schema)) as store:
        await store.commit([SaveStop(*HERE, record), AddIntent(intent), AppendEvent(*HERE, sample_alarm(0))])
        assert await store.load(*HERE) == Loaded(stops=(record,), intents=(intent,))
    ((quantity, entry, stop, state, opened),) = ask(
        dsn, "SELECT quantity, entry_price, stop_price, state, opened_at FROM {schema}.stops", schema=schema
    )
    assert (quantity, entry, stop, state) == (HUGE, TINY, HUGE, "trailing")
    assert str(entry) == str(Decimal("0.000000123456789012").normalize()) or entry == TINY
    assert opened == MOMENT
    assert ask(dsn, "SELECT symbol, quantity, price, at FROM {schema}.intents", schema=schema) == [
        ("AAA/USDT:USDT", HUGE, TINY, MOMENT)
    ]
    assert ask(dsn, "SELECT type, at FROM {schema}.events", schema=schema) == [("Alarm", MOMENT)]


async def test_a_commit_of_a_thousand_entries_is_one_transaction_of_few_statements(dsn: str, schema: str) -> None:
    async with open_postgres(dsn, schema=schema) as store:
        entries: list[StoreWrite] = []
        for number in range(1000):
            symbol = f"COIN{number}/USDT:USDT"
            entries += [SaveStop(*HERE, sample_record(symbol)), AddIntent(sample_intent(f"t{number}"))]
            entries += [AppendEvent(*HERE, sample_alarm(number))]
        assert statements_of(store, entries) <= 8
        await store.commit(entries)
        assert store.commits == 1
        loaded = await store.load(*HERE)
        assert len(loaded.stops) == len(loaded.intents) == 1000
    assert ask(dsn, "SELECT count(DISTINCT xmin::text) FROM {schema}.events", schema=schema) == [(1,)]


@pytest.mark.parametrize("name", ["bots", 'odd "name" with größe', "x" * 63])
async def test_the_address_names_the_schema(dsn: str, name: str) -> None:
    try:
        async with open_store(in_schema(dsn, name.replace(" ", "%20"))) as store:
            await store.commit([AddIntent(sample_intent("t1"))])
        assert ask(dsn, "SELECT count(*) FROM {schema}.intents", schema=name) == [(1,)]
    finally:
        ask(dsn, "DROP SCHEMA {schema} CASCADE", schema=name)


@pytest.mark.parametrize("name", ["", "x" * 64, "pg_mine", "nul%00"])
async def test_an_invalid_name_of_a_schema_is_refused(dsn: str, name: str) -> None:
    with pytest.raises(UsageError, match="wants a name of 1 to 63 bytes"):
        async with open_store(in_schema(dsn, name)):
            pass


async def test_two_schemas_of_one_database_are_two_stores(dsn: str) -> None:
    with a_schema(dsn) as first, a_schema(dsn) as second:
        async with open_store(in_schema(dsn, first)) as one, open_store(in_schema(dsn, second)) as other:
            await one.commit([AddIntent(sample_intent("t1")), AppendEvent(*HERE, sample_alarm(0))])
            assert await other.accounts() == []
            assert [record async for record in other.events()] == []


async def test_migrations_run_once_if_many_processes_open_the_schema_at_the_same_time(dsn: str, schema: str) -> None:
    code = (
        "import sys, trio, trailing\n"
        "async def main():\n"
        "    async with trailing.open_store(sys.argv[1]) as store:\n"
        "        await store.accounts()\n"
        "trio.run(main)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, in_schema(dsn, schema)], stderr=subprocess.PIPE) for _ in range(4)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors == [b""] * 4
    assert ask(dsn, "SELECT version FROM {schema}.schema_version", schema=schema) == [(postgres_schema.SCHEMA_VERSION,)]


async def test_an_old_schema_is_migrated_and_keeps_its_rows(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = in_schema(dsn, schema)
    async with open_store(url) as store:
        await store.commit([AddIntent(sample_intent("t1"))])
    newer = (*MIGRATIONS, ("ALTER TABLE {schema}.intent_records ADD COLUMN later integer",))
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", newer)
    monkeypatch.setattr(postgres_schema, "SCHEMA_VERSION", len(newer))
    with pytest.raises(StoreError, match="its schema has the old version 4; open it with a bot"):
        async with open_store(url, read_only=True):
            pass
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(open_and_close, url)
    assert ask(dsn, "SELECT client_order_id, later FROM {schema}.intent_records", schema=schema) == [("t1", None)]


async def open_and_close(url: str) -> None:
    async with open_store(url) as store:
        await store.accounts()


async def test_a_migration_that_fails_changes_nothing(dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (("CREATE TABLE {schema}.stops ()", "SELECT 1 / 0"),)
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", broken)
    monkeypatch.setattr(postgres_schema, "SCHEMA_VERSION", 1)
    with pytest.raises(StoreError, match="division by zero"):
        async with open_store(in_schema(dsn, schema)):
            pass
    monkeypatch.undo()
    await open_and_close(in_schema(dsn, schema))


async def test_a_newer_schema_is_refused_and_not_changed(dsn: str, schema: str) -> None:
    await open_and_close(in_schema(dsn, schema))
    ask(dsn, "UPDATE {schema}.schema_version SET version = 99", schema=schema)
    with pytest.raises(StoreError, match="its schema has version 99, this trailing reads versions up to"):
        async with open_store(in_schema(dsn, schema)):
            pass


async def test_tables_of_another_program_are_not_changed(dsn: str, schema: str) -> None:
    ask(dsn, "CREATE SCHEMA {schema}", schema=schema)
    ask(dsn, "CREATE TABLE {schema}.events (title text)", schema=schema)
    with pytest.raises(StoreError, match='can\'t be created: relation "events" already exists'):
        async with open_store(in_schema(dsn, schema)):
            pass
    assert ask(dsn, "SELECT to_regclass('{schema}.stops')::text", schema=schema) == [(None,)]


async def test_opening_read_only_creates_and_changes_nothing(dsn: str, schema: str) -> None:
    url = in_schema(dsn, schema)
    with pytest.raises(StoreError, match="it has no tables yet"):
        async with open_store(url, read_only=True):
            pass
    async with open_store(url) as store:
        await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        async with open_store(url, read_only=True) as looking:
            assert len([record async for record in looking.events()]) == 1
            with pytest.raises(StoreError), trio.fail_after(5):
                await looking.prune(MOMENT + timedelta(days=1))
            assert len([record async for record in store.events()]) == 1


async def test_a_role_with_the_documented_rights_is_enough_for_a_bot(dsn: str, schema: str) -> None:
    await open_and_close(in_schema(dsn, schema))
    bot = f"{schema}_bot"
    try:
        for statement in (
            f"CREATE ROLE {bot} LOGIN PASSWORD 'hunter2'",
            f"GRANT USAGE ON SCHEMA {{schema}} TO {bot}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {{schema}} TO {bot}",
            f"REVOKE INSERT, UPDATE, DELETE ON {{schema}}.schema_version FROM {bot}",
        ):
            ask(dsn, statement, schema=schema)
        params = {**psycopg.conninfo.conninfo_to_dict(dsn), "user": bot, "password": "hunter2"}
        async with open_postgres(psycopg.conninfo.make_conninfo("", **params), schema=schema) as store:
            await store.commit(
                [
                    SaveStop(*HERE, sample_record("AAA/USDT:USDT")),
                    AddIntent(sample_intent("t1")),
                    SettleIntent(*HERE, "t1"),
                ]
            )
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            assert await store.prune(MOMENT + timedelta(days=1)) == 1
        with pytest.raises(StoreError, match="can't be created: permission denied"):
            async with open_postgres(psycopg.conninfo.make_conninfo("", **params), schema=f"{schema}_other"):
                pass
    finally:
        ask(dsn, f"DROP OWNED BY {bot}", schema=schema)
        ask(dsn, f"DROP ROLE {bot}", schema=schema)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bot:hunter2@127.0.0.1:1/db",
        "postgres://bot:hunter2@127.0.0.1:1/db?schema=mine",
        "postgresql://bot:hunter2@127.0.0.1:1/db?schema=",
        "postgresql://bot:hun/hunter2@127.0.0.1/db",
        "postgresql://bot:hun%hunter2@127.0.0.1/db",
        "postgresql://bot:hunter2@127.0.0.1:1/db?no_such_option=1",
        "postgresql://127.0.0.1:1/db?user=bot&password=hunter2",
    ],
)
async def test_a_password_is_in_no_error_log_or_repr(
    url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises((StoreError, UsageError)) as e:
        async with open_store_with_short_limits(url):
            pass
    assert "\n" not in str(e.value)
    shown = "".join(traceback.format_exception(e.value)).replace(url, "")
    assert "hunter2" not in shown + repr(e.value) + caplog.text + "".join(capsys.readouterr())


@asynccontextmanager
async def open_store_with_short_limits(url: str) -> AsyncIterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trailing.stores.postgres.ServerTiming", lambda: SHORT)
        async with open_store(url):
            yield


async def test_the_repr_of_a_store_has_its_address_without_the_password(dsn: str, schema: str) -> None:
    params = {**psycopg.conninfo.conninfo_to_dict(dsn)}
    params.setdefault("password", "hunter2")
    async with open_postgres(psycopg.conninfo.make_conninfo("", **params), schema=schema) as store:
        assert f"schema {schema}" in repr(store)
        assert str(params["password"]) not in repr(store) + shown_of_server(store)


async def test_a_commit_with_an_entry_that_postgres_refuses_writes_nothing(dsn: str, schema: str) -> None:
    bad = "nul \0 in it"
    async with open_postgres(dsn, schema=schema) as store:
        batches: tuple[list[StoreWrite], ...] = (
            [SaveStop(*HERE, sample_record("AAA/USDT:USDT")), AddIntent(sample_intent(bad))],
            [AppendEvent(*HERE, sample_alarm(0)), SaveStop(*HERE, sample_record("AAA/USDT:USDT", identity=bad))],
            [AddIntent(sample_intent("t1")), SettleIntent(*HERE, bad)],
            [AddIntent(sample_intent("t1")), AppendEvent("testex", bad, sample_alarm(0))],
        )
        for entries in batches:
            with pytest.raises(StoreError), trio.fail_after(5):
                await store.commit(entries)
            assert await store.load(*HERE) == Loaded(stops=(), intents=())
            assert await numbers(store) == []
        await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        assert await numbers(store) == ["0"]


async def test_a_row_that_can_not_be_decoded_is_an_error_that_names_it(dsn: str, schema: str) -> None:
    async with open_postgres(dsn, schema=schema) as store:
        await store.commit([SaveStop(*HERE, sample_record("AAA/USDT:USDT")), AppendEvent(*HERE, sample_alarm(0))])
        ask(dsn, "UPDATE {schema}.stop_records SET body = (body::jsonb - 'best')::json", schema=schema)
        with pytest.raises(StoreError, match=r"stop_records row \(testex, main, AAA/USDT:USDT, long, .*best"):
            await store.load(*HERE)
        ask(dsn, "UPDATE {schema}.events SET body = '{{}}'", schema=schema)
        with pytest.raises(StoreError, match=r"events row \(1\)"):
            await numbers(store)


async def test_sessions_commit_synchronously_although_the_database_turns_that_off(dsn: str, schema: str) -> None:
    params = {**psycopg.conninfo.conninfo_to_dict(dsn), "options": "-c synchronous_commit=off"}
    async with open_postgres(psycopg.conninfo.make_conninfo("", **params), schema=schema) as store:
        rows = await query(store, "SHOW synchronous_commit")
    assert rows == [("on",)]


async def test_a_commit_whose_reply_was_lost_is_made_once(dsn: str, schema: str) -> None:
    async with open_far(dsn, schema) as (network, store):
        await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        network.cut(replies=True)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def heal() -> None:
                await trio.sleep(SHORT.reply + 2 * SHORT.cleanup + 0.3)
                assert ask(dsn, "SELECT count(*) FROM {schema}.events", schema=schema) == [(2,)]
                network.heal()

            with trio.fail_after(20):
                await store.commit([AppendEvent(*HERE, sample_alarm(1)), AddIntent(sample_intent("t1"))])
        await store.commit([AppendEvent(*HERE, sample_alarm(2))])
        assert await numbers(store) == ["0", "1", "2"]
        assert ask(dsn, "SELECT commits FROM {schema}.writers", schema=schema) == [(3,)]


async def test_a_commit_takes_one_round_trip(dsn: str, schema: str) -> None:
    entries: list[StoreWrite] = [SettleIntent(*HERE, "t0")]
    for number in range(300):
        record = sample_record(f"COIN{number}/USDT:USDT")
        entries += [AddIntent(sample_intent(f"t{number}")), SaveStop(*HERE, record)]
        entries.append(AppendEvent(*HERE, sample_alarm(number)))
    async with open_far(dsn, schema) as (network, store), store.acquire_lease(*HERE, mark="one") as lease:
        network.cut(replies=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.commit, entries)
            with trio.fail_after(SHORT.reply):  # then it is sent again, on another connection
                while ask(dsn, "SELECT count(*) FROM {schema}.events", schema=schema) != [(300,)]:
                    await trio.sleep(0.02)
            network.heal()


async def test_a_commit_that_arrives_late_after_a_network_cut_is_made_once(dsn: str, schema: str) -> None:
    # The first commit reaches the server late, together with the second one, and one of them is refused.
    async with open_far(dsn, schema) as (network, store):
        for number in range(3):
            network.cut()
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def heal() -> None:
                    await trio.sleep(SHORT.reply + SHORT.cleanup + 0.3)
                    network.heal()

                with trio.fail_after(20):
                    await store.commit([AppendEvent(*HERE, sample_alarm(number))])
        await trio.sleep(0.3)
        assert await numbers(store) == ["0", "1", "2"]


async def test_each_try_gives_a_slow_server_more_time(dsn: str, schema: str) -> None:
    async with open_postgres(
        dsn, schema=schema, timing=ServerTiming(reply=0.5, cleanup=0.5, longest_pause=0.1)
    ) as store:
        for statement in (
            "CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.2); RETURN NEW; END'",
            "CREATE TRIGGER slow BEFORE INSERT ON {schema}.events FOR EACH ROW EXECUTE FUNCTION {schema}.slow()",
        ):
            ask(dsn, statement, schema=schema)
        with trio.fail_after(20):
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        assert await numbers(store) == ["0"]


async def test_commits_wait_for_the_server_and_keep_their_order(own_server: OwnServer) -> None:
    with a_schema(own_server.dsn) as schema:
        async with open_postgres(own_server.dsn, schema=schema, timing=SHORT) as store:
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            own_server.kill()
            async with trio.open_nursery() as nursery:
                for number in range(1, 20):
                    nursery.start_soon(store.commit, [AppendEvent(*HERE, sample_alarm(number))])
                    await trio.lowlevel.checkpoint()
                await trio.sleep(0.5)
                with pytest.raises(StoreError), trio.fail_after(5):
                    await store.load(*HERE)
                own_server.start()
            assert sorted(map(int, await numbers(store))) == list(range(20))
            assert await numbers(store) == [str(number) for number in range(20)]


async def test_a_commit_that_waits_for_the_server_can_be_cancelled_at_once(own_server: OwnServer) -> None:
    with a_schema(own_server.dsn) as schema:
        async with open_postgres(own_server.dsn, schema=schema, timing=SHORT) as store:
            own_server.kill()
            with trio.move_on_after(0.5) as scope:
                await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            assert scope.cancelled_caught
            own_server.start()
            with trio.fail_after(10):
                await store.commit([AppendEvent(*HERE, sample_alarm(1))])
            assert await numbers(store) == ["1"]


async def test_a_commit_that_is_cancelled_at_any_checkpoint_writes_all_or_nothing(dsn: str, schema: str) -> None:
    async with open_postgres(dsn, schema=schema, timing=SHORT) as store:
        number = 0

        @asynccontextmanager
        async def world() -> AsyncIterator[int]:
            nonlocal number
            number += 1
            yield number

        async def act(mine: int) -> None:
            await store.commit([AddIntent(sample_intent(f"a{mine}")), AppendEvent(*HERE, sample_alarm(mine))])

        async def check(mine: int, cancelled: bool) -> None:
            intents = {intent.client_order_id for intent in (await store.load(*HERE)).intents}
            written = await numbers(store)
            assert (f"a{mine}" in intents) == (str(mine) in written)
            assert cancelled or str(mine) in written
            assert len(written) == len(set(written))

        assert await cancel_everywhere(world, act, check, seconds=20) >= 1  # before it begins


async def test_a_session_that_the_server_ends_is_replaced(dsn: str, schema: str) -> None:
    async with open_postgres(dsn, schema=schema) as store:
        for number in range(3):
            await store.commit([AppendEvent(*HERE, sample_alarm(number))])
            rows = await query(store, "SELECT pg_backend_pid()")
            async with await TrioConnection[Any].connect(dsn, autocommit=True) as other:
                await other.execute("SELECT pg_terminate_backend(%s, 5000)", rows[0])
        assert await numbers(store) == ["0", "1", "2"]


async def test_a_session_that_the_server_has_ended_because_it_was_idle_costs_no_read(dsn: str, schema: str) -> None:
    url = f"{in_schema(dsn, schema)}&options=-c%20idle_session_timeout%3D300"
    async with open_store(url) as store:
        assert await store.accounts() == []
        await trio.sleep(0.8)
        assert await store.accounts() == []


async def test_a_follower_reads_the_events_of_other_processes_at_once(dsn: str, schema: str) -> None:
    async with (
        open_postgres(dsn, schema=schema) as store,
        open_postgres(dsn, schema=schema, read_only=True) as looking,
    ):
        following = looking.events(follow=True)
        await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        with trio.fail_after(5):
            await anext(following)
        await trio.sleep(0.2)
        for number in range(1, 4):
            await store.commit([AppendEvent(*HERE, sample_alarm(number))])
            with trio.fail_after(1):  # polling would take 5 s
                assert (await anext(following)).event == sample_alarm(number)


async def test_a_follower_misses_no_event_after_an_outage(own_server: OwnServer) -> None:
    with a_schema(own_server.dsn) as schema:
        async with open_postgres(own_server.dsn, schema=schema, timing=SHORT) as store:
            following = store.events(follow=True)
            await store.commit([AppendEvent(*HERE, sample_alarm(0))])
            assert (await anext(following)).event == sample_alarm(0)
            own_server.kill()
            own_server.start()
            with trio.fail_after(10):
                await store.commit([AppendEvent(*HERE, sample_alarm(1))])
                assert (await anext(following)).event == sample_alarm(1)


async def test_a_follower_misses_no_event_of_many_simultaneous_writers(dsn: str, schema: str) -> None:
    seen: list[int] = []
    async with open_postgres(dsn, schema=schema) as looking, trio.open_nursery() as nursery:

        async def write(writer: int) -> None:
            async with open_postgres(dsn, schema=schema) as store:
                for commit in range(20):
                    await store.commit([AppendEvent(*HERE, sample_alarm(writer * 100 + commit))])

        for writer in range(4):
            nursery.start_soon(write, writer)
        with trio.fail_after(20):
            async for record in looking.events(follow=True):
                assert isinstance(record.event, Alarm)
                seen.append(int(record.event.detail))
                if len(seen) == 80:
                    break
    assert sorted(seen) == [writer * 100 + commit for writer in range(4) for commit in range(20)]
