"""The pool: which task gets which connection, in which state."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from loopback import open_network
from psycopg import pq

from trailing.psycopg_trio import Pool, PoolStatistics, PoolTimeout, TrioConnection, open_pool

Connection = TrioConnection[Any]


async def backend(connection: Connection) -> int:
    row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def end_session(dsn: str, pid: int) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


async def test_connections_are_lent_again_and_no_more_are_opened_than_allowed(dsn: str) -> None:
    async with open_pool(dsn, 1, 2) as pool:
        assert pool.statistics() == PoolStatistics(
            size=1, idle=1, waiting=0, lent=0, opened=1, checked=0, discarded=0, timeouts=0
        )
        seen = set[int]()
        most = 0
        both_lent = trio.Event()

        async def borrow() -> None:
            nonlocal most
            async with pool.connection() as connection:
                seen.add(await backend(connection))
                most = max(most, pool.statistics().size - pool.statistics().idle)
                if most == 2:
                    both_lent.set()
                await both_lent.wait()  # opening one connection takes longer than lending the other one twenty times

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(borrow)
        statistics = pool.statistics()
        assert most == len(seen) == statistics.size == statistics.idle == statistics.opened == 2
        assert statistics.lent == 20
        assert "2 of 2 connections open, 2 idle, 0 tasks waiting" in repr(pool)
    assert pool.statistics().size == 0
    with pytest.raises(RuntimeError, match="closed"):
        async with pool.connection():
            pass


async def test_a_block_is_committed_or_rolled_back(dsn: str) -> None:
    async with open_pool(dsn, 1, 1) as pool:
        async with pool.connection() as connection:
            await connection.execute("CREATE TEMP TABLE words (word text)")
        with pytest.raises(KeyError):
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO words VALUES ('lost')")
                raise KeyError
        async with pool.connection() as connection:
            assert await (await connection.execute("SELECT count(*) FROM words")).fetchone() == (0,)
        assert pool.statistics().checked == 1
        assert pool.statistics().discarded == 0


async def test_borrowers_wait_in_order_and_for_a_limited_time(dsn: str) -> None:
    async with open_pool(dsn, 1, 1, seconds=0.2) as pool, pool.connection():
        started = trio.current_time()
        with pytest.raises(PoolTimeout, match=r"no connection within 0\.2 s"):
            async with pool.connection():
                pass
        assert 0.2 <= trio.current_time() - started < 2
        assert pool.statistics().timeouts == 1
    order: list[int] = []

    async def borrow(number: int) -> None:
        async with pool.connection():
            order.append(number)

    async with open_pool(dsn, 1, 1) as pool, trio.open_nursery() as nursery, pool.connection():
        for number in range(5):
            nursery.start_soon(borrow, number)
            await trio.testing.wait_all_tasks_blocked()
        assert pool.statistics().waiting == 5
    assert order == [0, 1, 2, 3, 4]


async def test_a_connection_that_broke_while_it_was_lent_is_replaced(dsn: str) -> None:
    async with open_pool(dsn, 1, 1, autocommit=True) as pool:
        with pytest.raises(psycopg.OperationalError):
            async with pool.connection() as connection:
                pid = await backend(connection)
                await end_session(dsn, pid)
                await connection.execute("SELECT 1")
        async with pool.connection() as connection:
            assert await backend(connection) != pid
        statistics = pool.statistics()
        assert (statistics.size, statistics.opened, statistics.discarded) == (1, 2, 1)


async def test_a_connection_whose_borrower_failed_is_checked_before_it_is_lent_again(dsn: str) -> None:
    async with open_pool(dsn, 1, 1, autocommit=True) as pool:
        with pytest.raises(KeyError):
            async with pool.connection() as connection:
                pid = await backend(connection)
                raise KeyError
        await end_session(dsn, pid)
        async with pool.connection() as connection:
            assert await backend(connection) != pid
        assert pool.statistics().checked == 1
        assert pool.statistics().discarded == 1


async def test_a_connection_that_does_not_answer_the_check_is_replaced(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.psycopg_trio.pool.CHECK_SECONDS", 0.1)
    async with open_network(dsn) as network, open_pool(network.dsn, 1, 1) as pool:
        with pytest.raises(KeyError):
            async with pool.connection() as connection:
                connection.cleanup_seconds = 0.1
                raise KeyError
        network.cut()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def heal() -> None:
                await trio.sleep(0.5)
                network.heal()

            async with pool.connection() as another:
                assert another is not connection
        assert connection.closed
        assert pool.statistics().size == 1


async def test_a_connection_that_is_returned_inside_a_pipeline_is_closed(dsn: str) -> None:
    async with open_pool(dsn, 1, 1, autocommit=True) as pool:
        async with pool.connection() as connection:
            connection.pgconn.enter_pipeline_mode()
        assert connection.closed
        async with pool.connection() as another:
            assert another.pgconn.pipeline_status == pq.PipelineStatus.OFF


async def test_every_new_connection_is_configured_and_is_closed_if_that_fails(dsn: str) -> None:
    made: list[Connection] = []

    async def configure(connection: Connection) -> None:
        made.append(connection)
        await connection.execute("SELECT 1 / 0" if len(made) == 2 else "SET application_name = 'configured'")

    async with open_pool(dsn, 0, 2, configure=configure, autocommit=True) as pool:
        assert pool.statistics().size == 0
        async with pool.connection() as connection:
            assert await (await connection.execute("SHOW application_name")).fetchone() == ("configured",)
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with pool.connection():
                    pass
        assert made[1].closed
        assert pool.statistics().size == 1
        async with trio.open_nursery() as nursery:  # both can still be opened
            for _ in range(2):
                nursery.start_soon(borrow_once, pool)


async def borrow_once(pool: Pool) -> None:
    async with pool.connection():
        await trio.lowlevel.checkpoint()


async def test_a_connection_that_is_lent_when_the_pool_closes_is_closed_when_it_is_returned(dsn: str) -> None:
    async with open_pool(dsn, 1, 1) as pool:
        lending = pool.connection()
        connection = await lending.__aenter__()
    assert not connection.closed
    await lending.__aexit__(None, None, None)
    assert connection.closed


@pytest.mark.parametrize("sizes", [(-1, 1), (2, 1), (0, 0)])
async def test_sizes_out_of_range_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="wants 0 <= minimum <= maximum, maximum >= 1"):
        async with open_pool("", *sizes):
            pass


async def test_an_unreachable_server_is_an_error_at_once() -> None:
    with pytest.raises(psycopg.OperationalError):
        async with open_pool("host=127.0.0.1 port=1"):
            pass
