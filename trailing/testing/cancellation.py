"""Cancel a scenario after each of its steps, and check each time what must hold then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import trio

World = TypeVar("World")

_RUNS_TO_THE_END = 3
"""Runs in a row that must end before their step comes. trio shuffles tasks, so that the number of steps varies."""

_MACHINERY = {"trio", "contextlib"}
"""Packages whose frames do not show where a task waits."""


async def cancel_everywhere(
    world: Callable[[], AbstractAsyncContextManager[World]],
    act: Callable[[World], Awaitable[object]],
    check: Callable[[World, bool], Awaitable[object]],
    *,
    only: int | None = None,
    limit: int = 10_000,
    seconds: float = 3600.0,
) -> int:
    """Run a scenario once for each of its steps, cancelled right after that step, and check every run.

    The first run is not cancelled. A step is the work of one task from one checkpoint to its next. The steps of every task
    count while `act` runs, those of the exchange too, so that the moments before a booking, after it and after its reply
    are different steps. Time alone is no step: a sleeping task is cancelled when it falls asleep. Every run has its own
    world. All runs use the present trio run and its clock.

    The number of steps varies, because trio shuffles tasks. So the step grows until three runs in a row have ended before
    their step came.

    Args:
        world: opens what must outlive the cancellation, and closes it after the check.
        act: the function that is cancelled. It opens what must be cancelled too, such as a manager. It may swallow the
            cancellation.
        check: raises if something does not hold. It receives the world, and whether `act` was cancelled. An `act` that was
            cancelled after its last checkpoint has still run to its end.
        only: run this step alone, to replay a failure.
        limit: the highest step, at least 1.
        seconds: a run that takes longer than this on the running clock fails with `trio.TooSlowError`.

    Returns:
        The number of cancelled runs.

    Raises:
        AssertionError: there are more steps than `limit`.
        BaseException: the error of a run, with a note that says after which step it was cancelled, and where each task was.

    Cancellation: ends the present run.
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
    """Cancel a scope right after the given step; 0: never.

    The run loop calls this when the step's task is parked, so that each task sees a cancellation by another task.
    """

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._step = step
        self._steps = 0
        self._acting = trio.lowlevel.current_task()
        self._outer_nurseries = len(self._acting.child_nurseries)
        self._places: list[str] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps += 1
        if self._steps == self._step:
            self._places = [_place_of(inner, stepped=inner is task) for inner in self._cancelled_tasks()]
            self._scope.cancel()

    def note(self) -> str:
        if not self._places:
            return "in a run that was not cancelled"
        return "\n  ".join(
            (f"cancelled after step {self._step} (replay it with only={self._step}), with the tasks", *self._places)
        )

    def _cancelled_tasks(self) -> Iterator[trio.lowlevel.Task]:
        yield self._acting
        nurseries = list(self._acting.child_nurseries[self._outer_nurseries :])
        while nurseries:
            for task in nurseries.pop().child_tasks:
                yield task
                nurseries.extend(task.child_nurseries)


def _place_of(task: trio.lowlevel.Task, *, stepped: bool) -> str:
    where = "at its start"
    for frame, line in task.iter_await_frames():
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINERY:
            where = f"in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return f"task {task.name} {where}" + (", whose step it was" if stepped else "")
