"""LISTEN as an iterator."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio

from trailing.psycopg_trio import TrioConnection

Connection = TrioConnection[Any]


async def test_notifications_of_the_given_channels_come_in_order(dsn: str, autocommit: Connection) -> None:
    async with (
        await Connection.connect(dsn, autocommit=True) as other,
        autocommit.listen("a", 'b "c"') as notifications,
    ):
        for channel, payload in (("a", "1"), ("elsewhere", "2"), ('b "c"', "3"), ("a", "größte")):
            await other.execute("SELECT pg_notify(%s, %s)", (channel, payload))
        with trio.fail_after(5):
            got = [(notify.channel, notify.payload) for notify in [await anext(notifications) for _ in range(3)]]
        assert got == [("a", "1"), ('b "c"', "3"), ("a", "größte")]
    found = await autocommit.execute("SELECT pg_listening_channels()")
    assert await found.fetchall() == []


async def test_notifications_that_arrive_during_another_query_are_kept(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other, autocommit.listen("a") as notifications:
        await other.execute("NOTIFY a, 'early'")
        await autocommit.execute("SELECT pg_sleep(0.05)")
        with trio.fail_after(5):
            assert (await anext(notifications)).payload == "early"


async def test_a_cancelled_wait_loses_no_notification(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other, autocommit.listen("a") as notifications:
        with trio.move_on_after(0.05) as scope:
            await anext(notifications)
        assert scope.cancelled_caught
        await other.execute("NOTIFY a, 'later'")
        with trio.fail_after(5):
            assert (await anext(notifications)).payload == "later"


async def test_a_lost_connection_raises_while_listening(dsn: str, autocommit: Connection) -> None:
    async with await Connection.connect(dsn, autocommit=True) as other:
        with pytest.raises(psycopg.OperationalError), trio.fail_after(5):
            async with autocommit.listen("a") as notifications:
                await other.execute("SELECT pg_terminate_backend(%s)", (autocommit.info.backend_pid,))
                await anext(notifications)


async def test_listening_outside_of_autocommit_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.ProgrammingError, match="autocommit"):
        async with connection.listen("a"):
            pass
