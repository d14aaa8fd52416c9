from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trio
import trio.testing
from inspection.stores import connection_of, is_in_use, keep_in_use

from trailing.errors import StoreError
from trailing.stores import open_store
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Loaded, SaveStop, SettleIntent
from trailing.stores.sqlite_schema import SCHEMA_VERSION
from trailing.testing.store_samples import sample_alarm, sample_intent, sample_record

HERE = ("testex", "main")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trailing.db"


async def fill(path: Path) -> Loaded:
    record, intent = sample_record("AAA/USDT:USDT"), sample_intent("t1")
    async with open_store(f"sqlite:///{path}") as store:
        await store.commit([SaveStop(*HERE, record), AddIntent(intent), AppendEvent(*HERE, sample_alarm(1))])
    return Loaded(stops=(record,), intents=(intent,))


def edit(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


async def test_a_new_file_is_private_and_an_existing_one_keeps_its_mode(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        assert repr(store) == f"<SqliteStore: {path}>"
        await store.commit([AddIntent(sample_intent("t1"))])
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    path.chmod(0o640)
    await fill(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_closing_leaves_only_the_database_file(path: Path) -> None:
    await fill(path)
    assert list(path.parent.iterdir()) == [path]


async def test_the_connection_uses_wal_mode_and_full_synchronisation(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        settings = {
            name: connection_of(store).execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "busy_timeout", "user_version")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 1000, "user_version": SCHEMA_VERSION}


async def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing/trailing.db can't be opened: there is no folder .*missing$"):
        async with open_store(f"sqlite:///{tmp_path}/missing/trailing.db"):
            pass


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_file_that_is_no_database_is_refused_and_not_changed(path: Path, read_only: bool) -> None:
    path.write_bytes(b"callback: 0.5\n" * 500)
    with pytest.raises(StoreError, match=r"trailing\.db: file is not a database"):
        async with open_store(f"sqlite:///{path}", read_only=read_only):
            pass
    assert path.read_bytes() == b"callback: 0.5\n" * 500


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_newer_schema_is_refused_and_not_changed(path: Path, read_only: bool) -> None:
    await fill(path)
    edit(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"trailing\.db: its schema has version 4, this trailing reads versions up to 3"
    ):
        async with open_store(f"sqlite:///{path}", read_only=read_only):
            pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION])
async def test_a_database_of_another_program_is_refused_and_not_changed(path: Path, version: int) -> None:
    edit(path, "CREATE TABLE recipes (name TEXT)")
    edit(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"trailing\.db: the database belongs to another program"):
        async with open_store(f"sqlite:///{path}"):
            pass
    assert path.read_bytes() == before


async def test_opening_a_missing_file_read_only_is_an_error_and_creates_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match=r"trailing\.db: unable to open"):
        async with open_store(f"sqlite:///{path}", read_only=True):
            pass
    assert list(path.parent.iterdir()) == []


async def test_opening_an_empty_file_read_only_is_an_error(path: Path) -> None:
    path.touch()
    with pytest.raises(StoreError, match=r"trailing\.db: it has no tables yet"):
        async with open_store(f"sqlite:///{path}", read_only=True):
            pass
    assert path.read_bytes() == b""


async def test_a_read_only_store_reads_the_file_of_a_running_bot_and_writes_nothing(path: Path) -> None:
    loaded = await fill(path)
    async with (
        open_store(f"sqlite:///{path}") as writer,
        open_store(f"sqlite:///{path}", read_only=True) as reader,
    ):
        assert await reader.load(*HERE) == loaded
        await writer.commit([SettleIntent(*HERE, "t1"), AppendEvent(*HERE, sample_alarm(2))])
        assert (await reader.load(*HERE)).intents == ()
        assert [record.event async for record in reader.events()] == [sample_alarm(1), sample_alarm(2)]
        with pytest.raises(StoreError, match="readonly"):
            await reader.commit([AddIntent(sample_intent("t2"))])


async def test_a_follower_reads_the_events_of_another_connection(path: Path) -> None:
    await fill(path)
    async with (
        open_store(f"sqlite:///{path}") as writer,
        open_store(f"sqlite:///{path}", read_only=True) as reader,
    ):
        seen = []
        with trio.fail_after(10):
            async for record in reader.events(follow=True):
                seen.append(record.event)
                if len(seen) == 3:
                    break
                await writer.commit([AppendEvent(*HERE, sample_alarm(len(seen) + 1))])
    assert seen == [sample_alarm(1), sample_alarm(2), sample_alarm(3)]


async def test_two_connections_write_one_after_the_other(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as first, open_store(f"sqlite:///{path}") as second:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                store = first if number % 2 else second
                nursery.start_soon(store.commit, [AddIntent(sample_intent(f"t{number}"))])
        loaded = await first.load(*HERE)
    assert sorted(intent.client_order_id for intent in loaded.intents) == sorted(f"t{number}" for number in range(20))


async def test_a_commit_waits_for_another_writer_for_a_limited_time(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"trailing\.db: database is locked"):
            await store.commit([AddIntent(sample_intent("t1"))])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, [AddIntent(sample_intent("t2"))])
            await trio.sleep(0.1)
            other.execute("ROLLBACK")
        other.close()
        assert [intent.client_order_id for intent in (await store.load(*HERE)).intents] == ["t2"]


async def test_opening_waits_for_another_process_for_a_limited_time(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"trailing\.db: database is locked"):
        async with open_store(f"sqlite:///{path}"):
            pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill, path)
        await trio.sleep(0.1)
        other.execute("ROLLBACK")
    other.close()


async def test_a_failure_in_the_transaction_rolls_everything_back(path: Path) -> None:
    loaded = await fill(path)
    edit(path, "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match="no room") as e:
            await store.commit(
                [
                    CloseStop(*HERE, loaded.stops[0]),
                    SettleIntent(*HERE, "t1"),
                    AddIntent(sample_intent("t2")),
                    AppendEvent(*HERE, sample_alarm(2)),
                ]
            )
        assert isinstance(e.value.__cause__, sqlite3.Error)
        assert await store.load(*HERE) == loaded
        await store.commit([SettleIntent(*HERE, "t1")])
        assert (await store.load(*HERE)).intents == ()


async def test_text_without_a_utf8_form_is_a_store_error(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        for entry in (
            SettleIntent(*HERE, "\ud800"),
            AddIntent(sample_intent("\ud800")),
        ):
            with pytest.raises(StoreError):
                await store.commit([entry])
        await store.commit([AddIntent(sample_intent("t1"))])


async def test_a_record_without_a_json_form_is_a_store_error(path: Path) -> None:
    record = sample_record("AAA/USDT:USDT")
    record.plan["rules"] = object()
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match="the plan of a StopRecord can't be encoded"):
            await store.commit([SaveStop(*HERE, record)])


@pytest.mark.parametrize(
    ("edited", "complaint"),
    [
        (
            'UPDATE stop_records SET body = replace(body, \'"side":"long"\', \'"side":"both"\')',
            r"stop_records row \(testex, main, AAA/USDT:USDT, long, 2026.*\) can't be read: .*\$\.position\.side",
        ),
        (
            "UPDATE stop_records SET body = json_set(body, '$.position.quantity', '-1')",
            r"stop_records row \(testex, main, AAA/USDT:USDT, long, .*Position\.quantity got .*above 0.*\$\.position",
        ),
        ("UPDATE stop_records SET body = 7.5", r"stop_records row \(testex, .*can't be read"),
        ("UPDATE intents SET body = '{'", r"intents row \(testex, main, t1\) can't be read"),
    ],
)
async def test_a_row_that_can_not_be_decoded_is_an_error_that_names_it(path: Path, edited: str, complaint: str) -> None:
    await fill(path)
    edit(path, edited)
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match=complaint):
            await store.load(*HERE)


async def test_an_event_that_can_not_be_decoded_is_an_error_and_the_next_one_is_read(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        await store.commit([AppendEvent(*HERE, sample_alarm(number)) for number in (1, 2, 3)])
        edit(path, """UPDATE events SET body = '{"type":"Gone"}' WHERE number = 2""")
        events = store.events()
        assert (await anext(events)).number == 1
        with pytest.raises(StoreError, match=r"events row \(2\) can't be read"):
            await anext(events)
        assert (await anext(events)).number == 3
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_closed_store_is_an_error_that_names_it(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        pass
    with pytest.raises(StoreError, match="closed database"):
        await store.load(*HERE)


async def test_every_call_runs_outside_of_trios_thread(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        threads = set()
        connection_of(store).set_trace_callback(lambda _: threads.add(threading.get_ident()))
        await store.commit([AddIntent(sample_intent("t1"))])
        await store.load(*HERE)
        await store.accounts()
        assert [record async for record in store.events()] == []
    assert threads
    assert threading.get_ident() not in threads


async def test_a_commit_that_has_begun_is_finished_although_its_caller_is_cancelled(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        begun = threading.Event()

        def slow_commit(statement: str) -> None:
            if statement == "COMMIT":
                begun.set()
                time.sleep(0.2)

        connection_of(store).set_trace_callback(slow_commit)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, [AddIntent(sample_intent("t1"))])
            await trio.to_thread.run_sync(begun.wait)
            nursery.cancel_scope.cancel()
        assert not is_in_use(store)
        assert len((await store.load(*HERE)).intents) == 1


async def test_closing_works_under_cancellation_and_waits_for_a_running_commit(path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(f"sqlite:///{path}") as store:
            await store.commit([AddIntent(sample_intent("t1"))])
            scope.cancel()
    assert list(path.parent.iterdir()) == [path]


async def test_closing_a_store_that_stays_in_use_is_an_error_after_its_time_limit(
    path: Path, autojump_clock: object
) -> None:
    held = None
    with pytest.raises(
        StoreError, match=r"trailing\.db: not closed, because a read or a commit was still running after 5\.0 s"
    ):
        async with open_store(f"sqlite:///{path}") as store:
            held = connection_of(store)
            keep_in_use(store)
    assert held is not None
    held.close()


WRITER = """
import sys
import trio
from trailing.stores import open_store
from trailing.stores.port import AddIntent, AppendEvent, SaveStop
from trailing.testing.store_samples import sample_alarm, sample_intent, sample_record

async def main():
    async with open_store(sys.argv[1]) as store:
        for commit in range(100_000):
            await store.commit([
                SaveStop("testex", "main", sample_record("AAA/USDT:USDT", identity=f"p{commit}")),
                *(AddIntent(sample_intent(f"t{commit}-{n}")) for n in range(200)),
                *(AppendEvent("testex", "main", sample_alarm(commit)) for n in range(200)),
            ])
            print(commit, flush=True)

trio.run(main)
"""


async def test_a_process_that_is_killed_during_commits_leaves_complete_commits(path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line == "4\n":
                break
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 5 + len(writer.stdout.readlines())
        assert writer.wait() == -signal.SIGKILL
    finally:
        writer.kill()
        writer.communicate()
    async with open_store(f"sqlite:///{path}") as store:
        loaded = await store.load(*HERE)
        events = [record async for record in store.events()]
        commits = len(loaded.stops)
        assert acknowledged <= commits <= acknowledged + 1
        assert [intent.client_order_id for intent in loaded.intents] == [
            f"t{commit}-{number}" for commit in range(commits) for number in range(200)
        ]
        assert [record.event for record in events] == [
            sample_alarm(commit) for commit in range(commits) for _ in range(200)
        ]
        await store.commit([AddIntent(sample_intent("after"))])
