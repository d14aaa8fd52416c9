"""A scenario cancelled everywhere: once after each of its steps, each time with a check of what must hold then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import trio

World = TypeVar("World")

_RUNS_TO_THE_END = 3
"""Runs in a row that have to end before their step comes; trio shuffles tasks, so that their steps vary a little."""

_MACHINERY = {"trio", "contextlib"}
"""Packages whose frames say nothing about where a task stands."""


async def cancel_everywhere(
    world: Callable[[], AbstractAsyncContextManager[World]],
    act: Callable[[World], Awaitable[object]],
    check: Callable[[World, bool], Awaitable[object]],
    *,
    only: int | None = None,
    limit: int = 10_000,
    seconds: float = 3600.0,
) -> int:
    """Run a scenario uncancelled, then again for each of its steps, cancelled right after that step; check every run.

    A step is what one task does from one checkpoint to its next. The steps of every task count while `act` runs, those
    of the exchange too, so that before its booking, after it and after its reply are different points. Time alone is
    none: a task that sleeps is struck as it falls asleep. Every run has a world of its own; all of them happen in the
    present trio run, on its clock.

    The number of steps isn't a constant, since trio's scheduler shuffles. So this goes on, one step later each time,
    until three runs in a row have ended before their step came.

    Args:
        world: sets up what has to outlive the cancellation, and takes it down after the check.
        act: what is cancelled. What should be cancelled too, a manager for example, it opens itself. It may swallow the
            cancellation.
        check: raises if something does not hold. It gets the world, and whether `act` was cancelled; an `act` that was
            cancelled after its last checkpoint has run to its end all the same.
        only: run for this step alone, to replay a failure.
        limit: the highest step, at least 1.
        seconds: a run that takes longer than this on the running clock fails with `trio.TooSlowError`.

    Returns:
        The number of runs that were cancelled.

    Raises:
        AssertionError: there are more steps than `limit`.
        BaseException: what a run raised, with a note that says after which step it was cancelled, and where its tasks
            stood.

    Cancellation: ends the run under way.
    """
    if only is not None:
        return int(await _run(world, act, check, only, seconds))
    await _run(world, act, check, 0, seconds)
    points = step = to_the_end = 0
    while to_the_end < _RUNS_TO_THE_END:
        step += 1
        if step > limit:
            raise AssertionError(f"the scenario has more than {limit} steps")
        if await _run(world, act, check, step, seconds):
            points += 1
            to_the_end = 0
        else:
            to_the_end += 1
    return points


async def _run(
    world: Callable[[], AbstractAsyncContextManager[World]],
    act: Callable[[World], Awaitable[object]],
    check: Callable[[World, bool], Awaitable[object]],
    step: int,
    seconds: float,
) -> bool:
    scope = trio.CancelScope()
    striker = _Striker(scope, step)
    try:
        with trio.fail_after(seconds):
            async with world() as value:
                with scope:
                    trio.lowlevel.add_instrument(striker)
                    try:
                        await act(value)
                    finally:
                        trio.lowlevel.remove_instrument(striker)
                await check(value, scope.cancel_called)
    except BaseException as error:
        error.add_note(striker.note())
        raise
    return scope.cancel_called


class _Striker(trio.abc.Instrument):
    """Cancels a scope right after the given step; 0: never.

    The run loop calls it when the step's task is parked, so that to every task it looks as if another one had cancelled
    the scope before they went on.
    """

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._step = step
        self._steps = 0
        self._acting = trio.lowlevel.current_task()
        self._outer_nurseries = len(self._acting.child_nurseries)
        self._stands: list[str] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1
        if self._steps == self._step:
            self._stands = [_stand(inner, stepped=inner is task) for inner in self._cancelled_tasks()]
            self._scope.cancel()

    def note(self) -> str:
        if not self._stands:
            return "in a run that was not cancelled"
        return "\n  ".join(
            (f"cancelled after step {self._step} (replay it with only={self._step}), when there stood", *self._stands)
        )

    def _cancelled_tasks(self) -> Iterator[trio.lowlevel.Task]:
        yield self._acting
        nurseries = list(self._acting.child_nurseries[self._outer_nurseries :])
        while nurseries:
            for task in nurseries.pop().child_tasks:
                yield task
                nurseries.extend(task.child_nurseries)


def _stand(task: trio.lowlevel.Task, *, stepped: bool) -> str:
    where = "at its start"
    for frame, line in task.iter_await_frames():
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINERY:
            where = f"in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return f"task {task.name} {where}" + (", whose step it was" if stepped else "")
