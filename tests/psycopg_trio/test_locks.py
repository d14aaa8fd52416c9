"""Locks: a free one is acquired without letting another task run, a held one in the order of the calls."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trailing.psycopg_trio import FifoLock, open_pool
from trailing.psycopg_trio.locks import acquire

ROUNDS = 20
"""trio shuffles the runnable tasks. No task is first this many times in a row by chance."""


async def test_a_free_lock_is_entered_before_any_other_task_runs() -> None:
    lock = FifoLock()
    for _ in range(ROUNDS):
        ran = list[str]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, ran)
            async with lock:
                ran.append("entered")
            assert ran == ["entered"]


async def note(ran: list[str]) -> None:
    ran.append("other")


async def test_waiting_tasks_get_the_lock_in_the_order_of_their_calls() -> None:
    lock, order = FifoLock(), list[int]()

    async def take(number: int) -> None:
        async with lock:
            order.append(number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery, lock:
        for number in range(5):
            nursery.start_soon(take, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(5))


async def test_a_task_that_is_cancelled_while_waiting_does_not_hold_the_lock() -> None:
    lock = trio.Semaphore(1)
    await acquire(lock)
    with trio.move_on_after(0.01) as scope:
        await acquire(lock)
    assert scope.cancelled_caught
    lock.release()
    with trio.fail_after(1):
        await acquire(lock)


async def test_a_cancelled_task_does_not_acquire_a_free_lock() -> None:
    lock = FifoLock()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with lock:
            raise AssertionError("it was entered")
    assert scope.cancelled_caught


async def test_a_lock_is_free_again_after_an_error() -> None:
    lock = FifoLock()
    with pytest.raises(ValueError, match="on purpose"):
        async with lock:
            raise ValueError("on purpose")
    with trio.fail_after(1):
        async with lock:
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
