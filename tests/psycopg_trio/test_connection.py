"""The documented behaviour of psycopg's async connection, on trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
import trio
from postgres_server import OwnServer
from psycopg import IsolationLevel, pq, sql
from psycopg.adapt import AdaptersMap
from psycopg.rows import dict_row, scalar_row
from psycopg.types.numeric import FloatLoader

from trailing.psycopg_trio import TrioConnection

Connection = TrioConnection[Any]


async def fetch(connection: Connection, query: Any, params: Any = None) -> list[Any]:
    cursor = await connection.execute(query, params)
    return await cursor.fetchall()


async def test_the_rows_of_a_query_are_fetched_in_every_way(connection: Connection) -> None:
    cursor = await connection.execute("SELECT * FROM generate_series(1, %s)", (9,))
    assert cursor.rowcount == 9
    assert await cursor.fetchone() == (1,)
    assert await cursor.fetchmany(2) == [(2,), (3,)]
    await cursor.scroll(1)
    assert [row async for row in cursor] == [(5,), (6,), (7,), (8,), (9,)]
    await cursor.scroll(0, mode="absolute")
    assert len(await cursor.fetchall()) == 9
    assert await cursor.fetchone() is None


async def test_values_are_read_as_they_were_sent(connection: Connection) -> None:
    values = [Decimal("987654321098765432109876.543210987654321098"), None, "größte 停", b"\0\xff", True, ["a", None]]
    query = "SELECT %s::numeric, %s::int, %s::text, %b::bytea, %s::bool, %s::text[]"
    assert await fetch(connection, query, values) == [tuple(values)]
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query, values)
        assert await cursor.fetchone() == tuple(values)


async def test_the_row_factory_of_the_connection_or_of_the_cursor_makes_the_rows(dsn: str) -> None:
    async with await TrioConnection[Any].connect(dsn, row_factory=dict_row) as connection:
        assert await fetch(connection, "SELECT 1 AS one") == [{"one": 1}]
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute("SELECT 2")
            assert await cursor.fetchone() == 2


async def test_a_server_error_is_raised_as_psycopgs_and_the_connection_can_be_used_again(
    connection: Connection,
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.execute("SELECT 1 / 0")
    assert connection.info.transaction_status == pq.TransactionStatus.INERROR
    await connection.rollback()
    assert await fetch(connection, "SELECT 1") == [(1,)]


async def test_many_rows_are_sent_at_once_and_return_their_results(connection: Connection) -> None:
    await connection.execute("CREATE TEMP TABLE many (number int, word text)")
    async with connection.cursor() as cursor:
        query = "INSERT INTO many VALUES (%s, %s) RETURNING number"
        await cursor.executemany(query, [(number, "w" * 100) for number in range(5_000)], returning=True)
        numbers = [await each.fetchone() async for each in cursor.results()]
        assert numbers == [(number,) for number in range(5_000)]
        await cursor.executemany("UPDATE many SET word = %s WHERE number = %s", [("x", 1), ("y", 2)])
    assert await fetch(connection, "SELECT word FROM many WHERE number IN (1, 2) ORDER BY 1") == [("x",), ("y",)]


async def test_several_queries_in_one_have_several_results(connection: Connection) -> None:
    cursor = await connection.execute("SELECT 1; SELECT 2; SELECT 3")
    assert await cursor.fetchall() == [(1,)]
    assert cursor.nextset() is True
    assert await cursor.fetchall() == [(2,)]
    await cursor.set_result(-1)
    assert await cursor.fetchall() == [(3,)]


@pytest.mark.parametrize("size", [1, 100])
async def test_rows_are_streamed(connection: Connection, size: int) -> None:
    if size > 1 and not psycopg.capabilities.has_stream_chunked():
        pytest.skip("libpq is older than 17")
    async with connection.cursor() as cursor:
        rows = [row async for row in cursor.stream("SELECT * FROM generate_series(1, 1000)", size=size)]
        assert rows == [(number,) for number in range(1, 1001)]
        stream_of_rows = cast(
            "AsyncGenerator[Any]", cursor.stream("SELECT * FROM generate_series(1, 1000000)", size=size)
        )
        async with aclosing(stream_of_rows) as stream:
            async for row in stream:
                if row == (500,):
                    break
    await connection.rollback()
    assert await fetch(connection, "SELECT 1") == [(1,)]


async def test_client_side_and_raw_cursors_work(dsn: str) -> None:
    async with await TrioConnection[Any].connect(dsn, cursor_factory=psycopg.AsyncClientCursor) as connection:
        assert await fetch(connection, "SELECT %s, %s", ("it's", 2)) == [("it's", 2)]
    async with await TrioConnection[Any].connect(dsn) as connection, psycopg.AsyncRawCursor(connection) as cursor:
        await cursor.execute("SELECT $1::int + $1", [21])
        assert await cursor.fetchone() == (42,)


async def test_a_server_side_cursor_fetches_in_pages_and_scrolls(connection: Connection) -> None:
    async with connection.cursor("pages", scrollable=True) as cursor:
        cursor.itersize = 10
        await cursor.execute("SELECT * FROM generate_series(1, 25)")
        assert await cursor.fetchone() == (1,)
        assert await cursor.fetchmany(2) == [(2,), (3,)]
        assert [row async for row in cursor] == [(number,) for number in range(4, 26)]
        await cursor.scroll(-2)
        assert await cursor.fetchall() == [(25,)]
    assert await fetch(connection, "SELECT name FROM pg_cursors WHERE name = 'pages'") == []


async def test_a_server_side_cursor_may_outlive_its_transaction(connection: Connection) -> None:
    async with connection.cursor("held", withhold=True) as cursor:
        await cursor.execute("SELECT * FROM generate_series(1, 3)")
        await connection.commit()
        assert await cursor.fetchall() == [(1,), (2,), (3,)]
    assert await fetch(connection, "SELECT name FROM pg_cursors WHERE name = 'held'") == []


async def test_a_transaction_is_committed_or_rolled_back_and_so_is_one_inside(autocommit: Connection) -> None:
    await autocommit.execute("CREATE TEMP TABLE words (word text)")
    async with autocommit.transaction():
        await autocommit.execute("INSERT INTO words VALUES ('kept')")
        with pytest.raises(KeyError):
            async with autocommit.transaction("inner"):
                await autocommit.execute("INSERT INTO words VALUES ('lost')")
                raise KeyError
        async with autocommit.transaction():
            await autocommit.execute("INSERT INTO words VALUES ('kept too')")
        async with autocommit.transaction() as inner:
            await autocommit.execute("INSERT INTO words VALUES ('lost')")
            raise psycopg.Rollback(inner)
        async with autocommit.transaction(force_rollback=True):
            await autocommit.execute("INSERT INTO words VALUES ('lost')")
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with autocommit.transaction():
            await autocommit.execute("INSERT INTO words VALUES ('lost')")
            await autocommit.execute("SELECT 1 / 0")
    assert await fetch(autocommit, "SELECT * FROM words") == [("kept",), ("kept too",)]


async def test_the_block_of_a_connection_commits_at_its_end_and_rolls_back_if_it_raises(dsn: str) -> None:
    async with await TrioConnection[Any].connect(dsn) as first:
        await first.execute("DROP TABLE IF EXISTS left_by_blocks")
        await first.execute("CREATE TABLE left_by_blocks (word text)")
    assert first.closed
    assert not first.broken
    with pytest.raises(KeyError):
        async with await TrioConnection[Any].connect(dsn) as second:
            await second.execute("INSERT INTO left_by_blocks VALUES ('lost')")
            raise KeyError
    assert second.closed
    async with await TrioConnection[Any].connect(dsn) as third:
        assert await fetch(third, "SELECT * FROM left_by_blocks") == []
        await third.execute("DROP TABLE left_by_blocks")


async def test_a_block_whose_commit_fails_closes_its_connection(dsn: str) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with await TrioConnection[Any].connect(dsn) as connection:
            await connection.execute("CREATE TEMP TABLE a (n int PRIMARY KEY)")
            await connection.execute(
                "CREATE TEMP TABLE b (n int REFERENCES a DEFERRABLE INITIALLY DEFERRED, CHECK (n > 0))"
            )
            await connection.execute("INSERT INTO b VALUES (1)")
    assert connection.closed


async def test_the_characteristics_of_transactions_can_be_set(connection: Connection) -> None:
    await connection.set_isolation_level(IsolationLevel.SERIALIZABLE)
    await connection.set_read_only(True)
    await connection.set_deferrable(True)
    assert await fetch(connection, "SHOW transaction_isolation") == [("serializable",)]
    assert await fetch(connection, "SHOW transaction_read_only") == [("on",)]
    assert await fetch(connection, "SHOW transaction_deferrable") == [("on",)]
    with pytest.raises(psycopg.ProgrammingError, match="can't change 'autocommit' now"):
        await connection.set_autocommit(True)
    await connection.rollback()
    await connection.set_autocommit(True)
    assert connection.autocommit


async def test_a_pipeline_sends_without_waiting_and_returns_every_result(autocommit: Connection) -> None:
    async with autocommit.pipeline() as pipeline:
        cursors = [await autocommit.execute("SELECT %s::int", (number,)) for number in range(300)]
        await pipeline.sync()
        assert [await cursor.fetchone() for cursor in cursors] == [(number,) for number in range(300)]
        async with autocommit.pipeline():
            last = await autocommit.execute("SELECT 'inside'")
    assert await last.fetchone() == ("inside",)
    assert autocommit.pgconn.pipeline_status == pq.PipelineStatus.OFF


async def test_a_transaction_in_a_pipeline_is_committed_or_rolled_back_as_a_whole(autocommit: Connection) -> None:
    await autocommit.execute("CREATE TEMP TABLE words (word text)")
    async with autocommit.pipeline(), autocommit.transaction():
        await autocommit.execute("INSERT INTO words VALUES ('kept')")
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with autocommit.pipeline(), autocommit.transaction():
            await autocommit.execute("INSERT INTO words VALUES ('lost')")
            await autocommit.execute("SELECT 1 / 0")
    assert await fetch(autocommit, "SELECT * FROM words") == [("kept",)]


async def test_an_error_in_a_pipeline_ends_it_and_the_connection_can_be_used_again(autocommit: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with autocommit.pipeline():
            await autocommit.execute("SELECT 1 / 0")
    assert await fetch(autocommit, "SELECT 1") == [(1,)]


async def test_a_pipeline_reads_and_writes_more_than_the_socket_buffers_hold(autocommit: Connection) -> None:
    # Neither side can send everything before the other one reads, so that the client must wait for reading and writing.
    big = "x" * 1_000_000
    async with autocommit.pipeline():
        cursors = [await autocommit.execute("SELECT %s::text", (big,)) for _ in range(20)]
    for cursor in cursors:
        assert await cursor.fetchone() == (big,)


async def test_rows_are_copied_in_and_out(connection: Connection) -> None:
    await connection.execute("CREATE TEMP TABLE copied (number int, word text)")
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(20_000):
                await copy.write_row((number, "word"))
        assert cursor.rowcount == 20_000
        async with cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            await copy.write_row((-1, None))
        async with cursor.copy("COPY (SELECT * FROM copied ORDER BY 1 LIMIT 2) TO STDOUT") as copy:
            copy.set_types(["int4", "text"])
            assert [row async for row in copy.rows()] == [(-1, None), (0, "word")]
        async with cursor.copy("COPY copied TO STDOUT") as copy:
            blocks = [bytes(block) async for block in copy]
        assert b"".join(blocks).count(b"\n") == 20_001


async def test_a_copy_whose_block_raises_copies_nothing(connection: Connection) -> None:
    await connection.execute("CREATE TEMP TABLE copied (number int)")
    await connection.commit()
    async with connection.cursor() as cursor:
        with pytest.raises(KeyError):
            async with cursor.copy("COPY copied FROM STDIN") as copy:
                await copy.write("1\n")
                raise KeyError
        await connection.rollback()
        with pytest.raises(KeyError):
            async with cursor.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
                await copy.read()
                raise KeyError
    await connection.rollback()
    assert await fetch(connection, "SELECT count(*) FROM copied") == [(0,)]


async def test_copying_in_lets_other_tasks_run(autocommit: Connection) -> None:
    await autocommit.execute("CREATE TEMP TABLE copied (number int)")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery, autocommit.cursor() as cursor:
        nursery.start_soon(count)
        async with cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(200_000):
                await copy.write_row((number,))
        nursery.cancel_scope.cancel()
    assert turns > 5


async def test_psycopgs_notifies_yields_notifications(autocommit: Connection) -> None:
    await autocommit.execute("LISTEN here")
    await autocommit.execute("NOTIFY here, 'one'")
    await autocommit.execute("NOTIFY here, 'two'")
    async with aclosing(autocommit.notifies(stop_after=2)) as notifies:
        assert [notify.payload async for notify in notifies] == ["one", "two"]
    async with aclosing(autocommit.notifies(timeout=0)) as notifies:
        assert [notify async for notify in notifies] == []
    async with aclosing(autocommit.notifies(timeout=0.05)) as notifies:
        assert [notify async for notify in notifies] == []


async def test_handlers_get_notifications_and_notices(autocommit: Connection) -> None:
    notifications: list[psycopg.Notify] = []
    notices: list[str | None] = []
    autocommit.add_notify_handler(notifications.append)
    autocommit.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
    await autocommit.execute("LISTEN here")
    await autocommit.execute("NOTIFY here, 'one'")
    await autocommit.execute("DO $$ BEGIN RAISE NOTICE 'mind the gap'; END $$")
    assert [notification.payload for notification in notifications] == ["one"]
    assert notices == ["mind the gap"]


async def test_statements_are_prepared_when_asked_for_or_used_often(autocommit: Connection) -> None:
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s"
    await autocommit.execute("SELECT 'at once', %s::int", (1,), prepare=True)
    assert await fetch(autocommit, prepared, ("SELECT 'at once'%",)) == [(1,)]
    autocommit.prepare_threshold = 2
    for expected in (0, 0, 1):
        await autocommit.execute("SELECT 'in time', %s::int", (1,))
        assert await fetch(autocommit, prepared, ("SELECT 'in time'%",)) == [(expected,)]
    autocommit.prepared_max = 1
    await autocommit.execute("SELECT 'another', %s::int", (1,), prepare=True)
    assert await fetch(autocommit, prepared, ("SELECT 'at once'%",)) == [(0,)]


async def test_another_task_cancels_a_query(autocommit: Connection) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cancel() -> None:
            await trio.sleep(0.1)
            await autocommit.cancel_safe(timeout=5)

        with pytest.raises(psycopg.errors.QueryCanceled), trio.fail_after(3):
            await autocommit.execute("SELECT pg_sleep(5)")
    await autocommit.cancel_safe()
    assert await fetch(autocommit, "SELECT 1") == [(1,)]


async def test_with_an_old_libpq_a_query_is_cancelled_through_another_connection(
    autocommit: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(psycopg.capabilities), "has_cancel_safe", lambda self: False)
    with trio.move_on_after(0.1) as scope:
        await autocommit.execute("SELECT pg_sleep(5)")
    assert scope.cancelled_caught
    assert await fetch(autocommit, "SELECT 1") == [(1,)]


async def test_two_phase_commits_work_where_the_server_allows_them(own_server: OwnServer) -> None:
    async with await TrioConnection[Any].connect(own_server.dsn, autocommit=True) as connection:
        await connection.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
    own_server.kill()
    own_server.start()
    for end in ("tpc_commit", "tpc_rollback"):
        async with await TrioConnection[Any].connect(own_server.dsn) as connection:
            xid = connection.xid(1, "transaction", "branch")
            await connection.tpc_begin(xid)
            await connection.execute("CREATE TABLE IF NOT EXISTS prepared ()")
            await connection.tpc_prepare()
            await connection.close()
        async with await TrioConnection[Any].connect(own_server.dsn) as connection:
            (found,) = await connection.tpc_recover()
            assert found.gtrid == "transaction"
            await getattr(connection, end)(found)
            assert await connection.tpc_recover() == []


async def test_a_connection_has_its_own_adapters_and_quoting(dsn: str) -> None:
    context = AdaptersMap(psycopg.adapters)
    context.register_loader("numeric", FloatLoader)
    async with await TrioConnection[Any].connect(dsn, context=type("Context", (), {"adapters": context})()) as ours:
        assert await fetch(ours, "SELECT 1.5") == [(1.5,)]
        assert isinstance((await fetch(ours, "SELECT 1.5"))[0][0], float)
        assert sql.Identifier('a "b"').as_string(ours) == '"a ""b"""'
        assert ours.info.parameter_status("server_encoding") == "UTF8"
        assert ours.fileno() == ours.pgconn.socket


async def test_tasks_that_share_a_connection_run_their_queries_one_after_the_other(autocommit: Connection) -> None:
    found: list[int] = []

    async def ask(number: int) -> None:
        found.extend(row[0] for row in await fetch(autocommit, "SELECT %s::int", (number,)))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert sorted(found) == list(range(50))


async def test_closing_a_connection_wakes_a_task_that_waits_for_it(dsn: str) -> None:
    connection = await TrioConnection[Any].connect(dsn, autocommit=True)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close() -> None:
            await trio.sleep(0.05)
            await connection.close()

        with pytest.raises(psycopg.OperationalError), trio.fail_after(3):
            await connection.execute("SELECT pg_sleep(5)")
    await connection.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        await connection.execute("SELECT 1")


async def test_a_session_that_the_server_ends_raises_operational_error(dsn: str, autocommit: Connection) -> None:
    async with await TrioConnection[Any].connect(dsn, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", (autocommit.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        await autocommit.execute("SELECT 1")
    assert autocommit.closed
    assert autocommit.broken
