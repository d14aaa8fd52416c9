"""LISTEN as an iterator."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio

from trailing.stores.trio_psycopg import TrioConnection

Connection = TrioConnection[Any]


async def test_notifications_of_others_come_in_order_and_only_from_the_channels_asked_for(
    dsn: str, autocommit: Connection
) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other, autocommit.listen("a", 'b "c"') as heard:
        for channel, payload in (("a", "1"), ("elsewhere", "2"), ('b "c"', "3"), ("a", "größte")):
            await other.execute("SELECT pg_notify(%s, %s)", (channel, payload))
        with trio.fail_after(5):
            got = [(notify.channel, notify.payload) for notify in [await anext(heard) for _ in range(3)]]
        assert got == [("a", "1"), ('b "c"', "3"), ("a", "größte")]
    found = await autocommit.execute("SELECT pg_listening_channels()")
    assert await found.fetchall() == []


async def test_what_comes_while_the_connection_does_something_else_is_kept(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other, autocommit.listen("a") as heard:
        await other.execute("NOTIFY a, 'early'")
        await autocommit.execute("SELECT pg_sleep(0.05)")
        with trio.fail_after(5):
            assert (await anext(heard)).payload == "early"


async def test_waiting_for_one_can_be_cancelled_and_loses_none(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other, autocommit.listen("a") as heard:
        with trio.move_on_after(0.05) as scope:
            await anext(heard)
        assert scope.cancelled_caught
        await other.execute("NOTIFY a, 'later'")
        with trio.fail_after(5):
            assert (await anext(heard)).payload == "later"


async def test_a_connection_that_is_lost_is_an_error_and_no_silence(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other:
        with pytest.raises(psycopg.OperationalError), trio.fail_after(5):
            async with autocommit.listen("a") as heard:
                await other.execute("SELECT pg_terminate_backend(%s)", (autocommit.info.backend_pid,))
                await anext(heard)


async def test_outside_of_autocommit_nothing_would_be_heard_so_it_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.ProgrammingError, match="autocommit"):
        async with connection.listen("a"):
            pass
