"""A connection is cancelled at each checkpoint: the next borrower gets a clean connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
from loopback import open_network
from psycopg import pq

from trailing.psycopg_trio import Pool, TrioConnection, open_pool, waiting
from trailing.testing import cancel_everywhere

Connection = TrioConnection[Any]
Act = Callable[[Connection], Awaitable[object]]


async def query(connection: Connection) -> None:
    await connection.execute("INSERT INTO written VALUES (1)")
    await connection.execute("SELECT pg_sleep(0.001)")
    await connection.execute("INSERT INTO written VALUES (2)")
    await connection.commit()


async def transaction(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO written VALUES (1)")
        async with connection.transaction():
            await connection.execute("SELECT pg_sleep(0.001)")
        await connection.execute("INSERT INTO written VALUES (2)")


async def pipeline(connection: Connection) -> None:
    async with connection.pipeline() as pipeline, connection.transaction():
        await connection.execute("INSERT INTO written VALUES (1)")
        await pipeline.sync()
        await connection.execute("SELECT pg_sleep(0.001)")
        await connection.execute("INSERT INTO written VALUES (2)")


async def many(connection: Connection) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany("INSERT INTO written VALUES (%s)", [(1,), (2,)])
    await connection.commit()


async def copy_in(connection: Connection) -> None:
    async with connection.cursor() as cursor, cursor.copy("COPY written FROM STDIN") as copy:
        await copy.write_row((1,))
        await trio.lowlevel.checkpoint()
        await copy.write(b"2\n")
    await connection.commit()


async def copy_out(connection: Connection) -> None:
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY (SELECT repeat('x', 100), generate_series(1, 2000)) TO STDOUT") as copy:
            async for _ in copy:
                pass
        await cursor.executemany("INSERT INTO written VALUES (%s)", [(1,), (2,)])
    await connection.commit()


async def stream(connection: Connection) -> None:
    async with connection.cursor() as cursor:
        stream_of_rows = cast("AsyncGenerator[Any]", cursor.stream("SELECT repeat('x', 100), generate_series(1, 5000)"))
        async with aclosing(stream_of_rows) as rows:
            async for _ in rows:
                pass
        await cursor.executemany("INSERT INTO written VALUES (%s)", [(1,), (2,)])
    await connection.commit()


async def server_cursor(connection: Connection) -> None:
    async with connection.cursor("held", withhold=True) as cursor:
        await cursor.execute("SELECT generate_series(1, 300)")
        async for _ in cursor:
            pass
        await connection.execute("INSERT INTO written VALUES (1), (2)")
        await connection.commit()


async def listening(connection: Connection) -> None:
    await connection.set_autocommit(True)
    try:
        async with connection.listen("written") as notifications:
            await connection.execute("NOTIFY written")
            await anext(notifications)
    finally:
        if not connection.closed:
            await connection.set_autocommit(False)
    async with connection.transaction():
        await connection.execute("INSERT INTO written VALUES (1), (2)")


@pytest.mark.parametrize(
    "act", [query, transaction, pipeline, many, copy_in, copy_out, stream, server_cursor, listening]
)
async def test_after_a_cancellation_at_any_checkpoint_the_next_borrower_gets_a_clean_connection(
    act: Act, dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait is a checkpoint here, also where the socket is ready at once: else how many there are is a matter of timing."""
    if act not in (copy_out, stream):  # whose thousands of rows hardly ever wait
        monkeypatch.setattr(waiting, "BUSY_SECONDS", 0.0)
    async with open_pool(dsn, 1, 1, autocommit=False) as pool:
        async with pool.connection() as connection:
            await connection.execute("DROP TABLE IF EXISTS written")
            await connection.execute("CREATE TABLE written (number int)")

        @asynccontextmanager
        async def world() -> AsyncIterator[Pool]:
            async with pool.connection() as connection:
                await connection.execute("TRUNCATE written")
            yield pool

        async def lend(pool: Pool) -> None:
            async with pool.connection() as connection:
                await act(connection)

        async def check(pool: Pool, cancelled: bool) -> None:
            async with pool.connection() as connection:
                assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
                assert connection.pgconn.pipeline_status == pq.PipelineStatus.OFF
                rows = await (await connection.execute("SELECT number FROM written ORDER BY 1")).fetchall()
                assert rows in ([], [(1,), (2,)])
                assert rows or cancelled
                found = await connection.execute("SELECT (SELECT count(*) FROM pg_cursors), pg_listening_channels()")
                assert await found.fetchall() == []
            assert pool.statistics().size == pool.statistics().idle == 1

        runs = await cancel_everywhere(world, lend, check, seconds=20)
        assert runs >= 2  # how many checkpoints wait depends on how fast the server answers
        assert pool.statistics().discarded == 0
        assert "closing" not in caplog.text
        async with pool.connection() as connection:
            await connection.execute("DROP TABLE written")


async def test_a_cancelled_query_is_cancelled_on_the_server_at_once(dsn: str) -> None:
    async with await Connection.connect(dsn, autocommit=True) as connection:
        started = trio.current_time()
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(5)")
        assert scope.cancelled_caught
        assert trio.current_time() - started < 2
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_cancelled_query_that_has_ended_meanwhile_returns_its_result(dsn: str) -> None:
    async with (
        open_network(dsn) as network,
        await Connection.connect(network.dsn, autocommit=True) as connection,
        trio.open_nursery() as nursery,
    ):
        await connection.execute("SELECT 1")
        network.cut(replies=True)

        @nursery.start_soon
        async def cancel() -> None:
            await trio.sleep(0.1)
            scope.cancel()
            await trio.sleep(0.1)
            network.heal()

        with trio.CancelScope() as scope:
            cursor = await connection.execute("SELECT 2")
            assert scope.cancel_called
            assert await cursor.fetchone() == (2,)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def test_if_the_server_does_not_end_a_cancelled_query_the_connection_is_closed(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_network(dsn) as network:
        connection = await Connection.connect(network.dsn, autocommit=True)
        connection.cleanup_seconds = 0.2
        started = trio.current_time()
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT 1")
            network.cut()
            await connection.execute("SELECT 2")
        assert scope.cancelled_caught
        assert trio.current_time() - started < 2
        assert connection.closed
        assert "the server did not end a cancelled query: closing" in caplog.text
        network.heal()


async def test_a_large_query_on_a_cut_network_can_be_cancelled(dsn: str) -> None:
    # The socket's buffer is full, so that the connection waits until it is readable or writable.
    async with open_network(dsn) as network:
        connection = await Connection.connect(network.dsn, autocommit=True)
        connection.cleanup_seconds = 0.1
        await connection.execute("SELECT 1")
        network.cut()
        with trio.move_on_after(0.2) as scope:
            await connection.execute("SELECT %s::text", ("x" * 30_000_000,))
        assert scope.cancelled_caught
        assert connection.closed


async def test_if_a_rollback_does_not_end_the_connection_is_closed(dsn: str) -> None:
    async with open_network(dsn) as network, open_pool(network.dsn, 1, 1) as pool:
        with trio.move_on_after(0.3) as scope:
            async with pool.connection() as connection:
                connection.cleanup_seconds = 0.2
                await connection.execute("SELECT 1")
                network.cut()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        network.heal()
        assert connection.closed
        async with pool.connection() as another:
            assert await (await another.execute("SELECT 1")).fetchone() == (1,)
        assert pool.statistics().discarded == 1


async def test_cancelling_a_task_that_waits_for_the_connection_changes_nothing(dsn: str) -> None:
    async with await Connection.connect(dsn, autocommit=True) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(connection.execute, "SELECT pg_sleep(0.3)")
        await trio.sleep(0.05)
        with trio.move_on_after(0.05) as scope:
            await connection.execute("SELECT 1")
        assert scope.cancelled_caught


async def test_a_commit_that_is_cancelled_while_waiting_for_the_connection_rolls_back(dsn: str) -> None:
    async with await Connection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE TEMP TABLE numbers (number int)")
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.1) as scope:
                async with connection.transaction():
                    await connection.execute("INSERT INTO numbers VALUES (1)")
                    nursery.start_soon(connection.execute, "SELECT pg_sleep(0.3)")
                    await trio.sleep(0.05)
            assert scope.cancelled_caught
        assert await (await connection.execute("SELECT count(*) FROM numbers")).fetchone() == (0,)
