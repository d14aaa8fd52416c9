"""Carry out a bot's commands for one position: change its plan, close it, release it."""

from __future__ import annotations

from typing import Any, TypeVar

import trio

from trailing.core.inputs import CloseWanted, PlanReplaced, PricesMissed, ReleaseWanted
from trailing.core.model import Side
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.refusals import trouble
from trailing.errors import UsageError
from trailing.protection.position_task import PositionTask
from trailing.protection.supervision import Supervision
from trailing.protection.waves.outcomes import Exited, Refused, TimedOut

_O = TypeVar("_O", Exited, TimedOut, Refused)


async def _wait_opened(task: PositionTask) -> None:
    """Wait until a position was opened. Nothing waits for an entry, which may rest for long."""
    while task.state.is_opening and task.state.entry is None and not task.state.ended:
        await task.wait_changed()


async def close_position(supervision: Supervision, task: PositionTask, deadline: float) -> Exited | TimedOut | Refused:
    """Close a position at market, and wait for its end.

    A position that is being opened is closed when its opening has ended. One that is being entered is closed at once, and the rest
    of its entry is cancelled.

    Args:
        deadline: seconds to wait, above 0. Afterwards the position task goes on closing it.

    Returns:
        As `Manager.close`.

    Cancellation: ends the wait.
    """
    state, started = task.state, supervision.now()

    def outcome(kind: type[_O], **fields: Any) -> _O:
        now = supervision.now()
        return kind(
            position=state.position,
            elapsed=now - started,
            uncovered=state.uncovered,
            unprotected_time=state.unprotected_time_at(now),
            **fields,
        )

    with trio.move_on_after(deadline) as scope:
        await _wait_opened(task)
        task.step(CloseWanted("closed by the bot"))
        while not state.ended:
            await task.wait_changed()
    if scope.cancelled_caught:
        return outcome(TimedOut, stop=state.stop, error=trouble(state))
    ended = (
        outcome(Refused, error=state.error or UsageError("there was nothing to close"))
        if state.last_fill is None
        else outcome(Exited, fill=state.last_fill, reason=state.exit_reason)
    )
    await supervision.records.wait_stored(state.plan.journal_wait)
    return ended


async def release_position(supervision: Supervision, symbol: str, side: Side, *, cancel_stop: bool) -> None:
    """Stop protecting a position, and wait until its task has ended and the store holds that.

    A position that was given up is only removed from the list. The wait for the store takes at most `journal_wait`.

    Raises:
        UsageError: no such position is protected, or the manager has ended.

    Cancellation: ends the wait.
    """
    if supervision.given_up.forget(symbol, side):
        await trio.lowlevel.checkpoint()
        return
    task = supervision.get(symbol, side)
    with supervision.operation():
        await _wait_opened(task)
        task.step(ReleaseWanted(cancel_stop))
        while not task.state.ended:
            await task.wait_changed()
        await supervision.records.wait_stored(task.state.plan.journal_wait)


async def change_plan(supervision: Supervision, task: PositionTask, plan: TrailPlan) -> None:
    """Replace a position's plan, and wait until the store holds it, at most `journal_wait`.

    If the position is being opened, and not entered, the plan is replaced when the opening has ended.

    Raises:
        UsageError: the position has ended, or the plan can't be carried out for it. Nothing has changed.

    Cancellation: before the opening has ended, nothing is changed. Afterwards it ends the wait for the store.
    """
    await _wait_opened(task)
    state, before = task.state, task.state.plan
    if state.ended:
        raise UsageError(f"{state.position.symbol} {state.position.side} has ended")
    check_native_market(plan, state.market)
    was_frozen = state.is_frozen
    task.step(PlanReplaced(plan))
    if (plan.trigger, plan.candle_seconds) != (before.trigger, before.candle_seconds) or task.candles is None:
        task.build_candles_for(plan)  # the candle being built does not fit the new plan
    elif not plan.candles_needed:
        task.candles = None
    if was_frozen and not state.is_frozen:
        # A frozen position takes no prices, so the peaks since its opening are read again.
        task.step(PricesMissed(state.position.opened_at, supervision.records.clock.utc()))
    await supervision.records.wait_stored(plan.journal_wait)
