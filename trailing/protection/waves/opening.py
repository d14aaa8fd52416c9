"""Decide when an opening has ended, and clean up after one that was cut short."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import trio

from trailing.core.goals import Close
from trailing.core.inputs import DeadlineStruck, EntryRefused
from trailing.core.next_request import next_request
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.errors import (
    ExchangeError,
    ExchangeUnreachable,
    StopRejected,
    StoreError,
    TrailingError,
    UsageError,
    WouldTrigger,
)
from trailing.protection.position_task import PositionTask
from trailing.protection.supervision import Supervision


def is_decided(state: PositionState, deadline: float, now: float) -> bool:
    """Return whether an opening has ended: a live stop, an exit, a refusal, or a back-off beyond the deadline.

    An entry has ended only if nothing more of it can be filled, and its stop covers all of its fills.

    Args:
        deadline, now: in seconds on the running clock.
    """
    if state.is_entering:
        wanted = state.entry is not None and state.entry.is_wanted
        return wanted and isinstance(state.error, ExchangeUnreachable) and _waits_beyond(state, deadline, now)
    if state.is_given_up or not state.quantity:
        return True
    if state.entry is not None and isinstance(state.goal, Close):
        return False  # its owner closes it before the deadline
    if state.stop is not None and (state.entry is None or state.stop.quantity >= state.coverable):
        return True
    error = state.error
    if isinstance(error, WouldTrigger) and state.plan.on_would_trigger == "exit":
        return False
    if isinstance(error, (StopRejected, StoreError, UsageError)):
        return state.request is None and not state.has_unknown
    return isinstance(error, ExchangeUnreachable) and _waits_beyond(state, deadline, now)


def _waits_beyond(state: PositionState, deadline: float, now: float) -> bool:
    following = next_request(state, now)
    return isinstance(following, float) and deadline <= following < math.inf


async def clean_up(supervision: Supervision, task: PositionTask, error: BaseException, scope: trio.CancelScope) -> None:
    """Settle all orders that may exist, within the plan's `cleanup_seconds` less `journal_wait`.

    The rest is left for the saving. A clean-up that fails or does not end in time raises an alarm.

    Args:
        error: what ended the opening.
        scope: of the caller's deadline.

    Cancellation: none, because it shields itself, with a deadline.
    """
    state, records = task.state, supervision.records
    if isinstance(error, trio.Cancelled):
        if state.live is not None and state.is_entry_checked and not state.is_entering:
            return  # nothing to clean up, because its stop is live, in the state, and handed to the store
        task.step(DeadlineStruck(final=not scope.cancel_called))
    elif state.entry is not None:  # what it has filled stays protected
        task.step(DeadlineStruck(final=False))
    else:
        task.step(EntryRefused(error if isinstance(error, Exception) else ExchangeError(type(error).__name__)))
    began = min(supervision.now(), scope.deadline)
    with trio.move_on_at(began + settling_seconds(state.plan), shield=True) as cleaning:
        try:
            await go_on(task, lambda: _is_clean(state))
        except TrailingError as second:
            records.alarm(state.position, "a clean-up failed", f"{second}, after {state.error}")
    if cleaning.cancelled_caught:
        records.alarm(state.position, "a clean-up did not end in time", str(state.error))


def fresh_price(supervision: Supervision, symbol: str, plan: TrailPlan) -> Decimal | None:
    """Return the last price of the plan's source; None: the feed has none, or it is older than `stale_after`."""
    tick = supervision.feed.known_price(symbol, plan.trigger)
    if tick is None or supervision.now() - tick.at > plan.stale_after:
        return None
    return tick.price


def settling_seconds(plan: TrailPlan) -> float:
    """Return the seconds after its deadline that a position may take, so that `cleanup_seconds` include the saving."""
    return max(0.0, plan.cleanup_seconds - plan.journal_wait)


async def go_on(task: PositionTask, until: Callable[[], bool]) -> None:
    """Work on a position until a condition holds, or wait if the manager works on it. Raises as `work`."""
    if not task.is_watched:
        await task.work(until)
    while task.is_watched and not until():
        await task.wait_changed()


def _is_clean(state: PositionState) -> bool:
    if state.has_unknown or state.exit_sent or state.is_entering:
        return False
    closes = state.entry is not None and isinstance(
        state.goal, Close
    )  # its entry was cancelled, and the plan closes the rest
    return state.ended or not (closes or state.is_given_up or any(order.is_unwanted for order in state.orders.values()))
