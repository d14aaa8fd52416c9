"""A second trio loop on the real clock, in its own thread, beside a loop on a virtual clock."""

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
"""Seconds that the thread may take to start."""


class RealClockLoop:
    """Runs async functions on the real clock. Made by `open_real_clock_loop`."""

    def __init__(self, token: trio.lowlevel.TrioToken, tasks: trio.Nursery) -> None:
        self._token, self._tasks = token, tasks

    async def run(self, work: Callable[[], Awaitable[T]], *, seconds: float = math.inf) -> T:
        """Run an async function in the other loop, and wait until it has ended.

        Args:
            work: the function; it must not use objects of this loop.
            seconds: seconds on the real clock that it may take.

        Returns:
            The function's result.

        Raises:
            trio.TooSlowError: the function was cancelled after `seconds`.
            Exception: raised by the function.

        Cancellation: cancels `work` and waits until it has ended.
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
            return trio.lowlevel.Abort.FAILED  # the task resumes when the work has ended

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
    """Run a second trio loop until the block ends. No call of `RealClockLoop.run` outlasts the block."""
    started: queue.SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = queue.SimpleQueue()

    async def serve() -> None:
        async with trio.open_nursery() as tasks:
            started.put((trio.lowlevel.current_trio_token(), tasks))
            await trio.sleep_forever()

    # A daemon thread, because a process that ends by an error must not wait for it.
    thread = threading.Thread(target=trio.run, args=(serve,), name="real clock", daemon=True)
    thread.start()
    token, tasks = started.get(timeout=START_SECONDS)
    try:
        yield RealClockLoop(token, tasks)
    finally:
        token.run_sync_soon(tasks.cancel_scope.cancel)
        thread.join()
