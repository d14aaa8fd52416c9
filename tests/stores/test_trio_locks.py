"""Locks of the Postgres connections: free ones let no other task run, others are had in the order of asking."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trailing.stores.trio_locks import Turn, acquire
from trailing.stores.trio_psycopg import open_pool

ROUNDS = 20
"""trio runs the tasks that can run in an order that it shuffles: so many times in a row, none is first by chance."""


async def test_a_free_lock_is_entered_before_any_other_task_runs() -> None:
    turn = Turn()
    for _ in range(ROUNDS):
        ran = list[str]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, ran)
            async with turn:
                ran.append("entered")
            assert ran == ["entered"]


async def note(ran: list[str]) -> None:
    ran.append("other")


async def test_those_that_wait_for_a_lock_get_it_in_their_order() -> None:
    turn, order = Turn(), list[int]()

    async def take(number: int) -> None:
        async with turn:
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery, turn:
        for number in range(5):
            nursery.start_soon(take, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(5))


async def test_one_that_is_cancelled_while_it_waits_holds_nothing() -> None:
    lock = trio.Semaphore(1)
    await acquire(lock)
    with trio.move_on_after(0.01) as scope:
        await acquire(lock)
    assert scope.cancelled_caught
    lock.release()
    with trio.fail_after(1):
        await acquire(lock)


async def test_one_that_is_cancelled_before_it_asks_does_not_get_a_free_lock() -> None:
    turn = Turn()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with turn:
            raise AssertionError("it was entered")
    assert scope.cancelled_caught


async def test_a_lock_is_free_again_after_an_error() -> None:
    turn = Turn()
    with pytest.raises(ValueError, match="on purpose"):
        async with turn:
            raise ValueError("on purpose")
    with trio.fail_after(1):
        async with turn:
            pass


async def test_an_idle_connection_is_borrowed_before_any_other_task_runs(dsn: str) -> None:
    async with open_pool(dsn, 1, 1, autocommit=True) as pool:
        for _ in range(ROUNDS):
            ran = list[str]()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(note, ran)
                async with pool.connection():
                    ran.append("borrowed")
            assert ran[0] == "borrowed"
