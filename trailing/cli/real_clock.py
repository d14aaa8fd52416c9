"""A second trio loop, in a thread of its own, whose clock is the real one: for waits beside a loop on a virtual clock."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import trio

T = TypeVar("T")

START_SECONDS: Final = 10.0
"""How long the thread may take to start."""


class RealClockLoop:
    """Runs async functions on the real clock; `open_real_clock_loop` makes one."""

    def __init__(self, token: trio.lowlevel.TrioToken, tasks: trio.Nursery) -> None:
        self._token, self._tasks = token, tasks

    async def run(self, work: Callable[[], Awaitable[T]], *, seconds: float = math.inf) -> T:
        """Run an async function in the other loop, and wait for its end.

        Args:
            work: uses nothing that belongs to this loop.
            seconds: how long it may take on the real clock.

        Returns:
            What it returned.

        Raises:
            trio.TooSlowError: it was cancelled after `seconds`.
            BaseException: what it raised.

        Cancellation: is passed on to `work`, and waits until that has ended.
        """
        task, here = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        scope = trio.CancelScope()
        results: list[T] = []
        failures: list[Exception] = []

        async def do() -> None:
            try:
                with scope, trio.fail_after(seconds):
                    results.append(await work())
            except Exception as error:
                failures.append(error)
            finally:
                here.run_sync_soon(trio.lowlevel.reschedule, task)

        def cancel(_: object) -> trio.lowlevel.Abort:
            self._token.run_sync_soon(scope.cancel)
            return trio.lowlevel.Abort.FAILED  # the task goes on when the work has ended

        self._token.run_sync_soon(self._tasks.start_soon, do)
        await trio.lowlevel.wait_task_rescheduled(cancel)
        if results:
            return results[0]
        if failures:
            raise failures[0]
        await trio.lowlevel.checkpoint_if_cancelled()
        raise RuntimeError("the loop on the real clock has ended")


@contextmanager
def open_real_clock_loop() -> Iterator[RealClockLoop]:
    """Run a second trio loop for as long as the block lasts. No call of `RealClockLoop.run` outlasts the block."""
    started: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = queue.SimpleQueue()

    async def serve() -> None:
        async with trio.open_nursery() as tasks:
            started.put((trio.lowlevel.current_trio_token(), tasks))
            await trio.sleep_forever()

    # A daemon: a process that ends by an error does not wait for it.
    thread = threading.Thread(target=trio.run, args=(serve,), name="real clock", daemon=True)
    thread.start()
    token, tasks = started.get(timeout=START_SECONDS)
    try:
        yield RealClockLoop(token, tasks)
    finally:
        token.run_sync_soon(tasks.cancel_scope.cancel)
        thread.join()
