"""Apply the commands of a position's callers to its state.

The steps of its opening and a failure of its task are applied here, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.endings import give_up, refuse_entry, revoke_close, tell_failure
from trailing.core.entering import look_up
from trailing.core.entries import EntryFacts
from trailing.core.entry_checks import check_entry
from trailing.core.evidence import CHECK_FIRST
from trailing.core.goals import PROTECT, Close, End, Release
from trailing.core.inputs import (
    CheckWanted,
    CloseWanted,
    DeadlineStruck,
    EntryRefused,
    EntryUnreported,
    Frozen,
    OpeningEnded,
    PlanReplaced,
    ReleaseWanted,
    RetryNow,
    TimePassed,
)
from trailing.core.model import refuse
from trailing.core.orders import CANCELLING, INTENDED
from trailing.core.requests import ClosePosition
from trailing.core.shown import is_as_planned
from trailing.errors import ExchangeError, UsageError
from trailing.events import PlanChanged

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def on_time(p: PositionState, _: TimePassed, at: float) -> None:
    """Do nothing, because everything that is due is derived after every step."""


def on_check_wanted(p: PositionState, wanted: CheckWanted, at: float) -> None:
    """Want a snapshot of the present moment, because an update may have been missed.

    A caller may name another position of the key that it has handed in.
    """
    p.want_snapshot(at)
    p.successor = wanted.successor or p.successor
    p.is_awaited |= wanted.successor is not None
    is_over = p.missed_until == math.inf or at >= p.checked_by
    if is_over or wanted.is_resumed:  # otherwise a connection that comes and goes would put an exit off without end
        p.checked_by = p.check_from + CHECK_FIRST
    p.missed_until = p.check_from
    look_up(p, at)


def on_retry_now(p: PositionState, _: RetryNow, at: float) -> None:
    """Forget every back-off."""
    p.back_offs.clear()


def on_close_wanted(p: PositionState, wanted: CloseWanted, at: float) -> None:
    """Close the position for its owner. No refusal takes that back."""
    if isinstance(p.goal, Close) and p.goal.is_revocable:
        p.goal = PROTECT
    p.back_offs.pop("close", None)
    p.aim(Close(wanted.reason, is_revocable=False))


def on_release_wanted(p: PositionState, wanted: ReleaseWanted, at: float) -> None:
    """Release the position to its owner.

    A close goes on, but for one by software, or one that was refused, that is not under way. If it is refused, or the
    position is open again afterwards, the position is released. A release that cancels the stop counts more than one
    that keeps it.
    """
    release, goal = Release(wanted.cancel_stop), p.goal
    if isinstance(goal, Close):
        keeps_earlier = isinstance(goal.otherwise, Release) and goal.otherwise.cancel_stop
        waiting = goal if keeps_earlier else replace(goal, otherwise=release)
        is_under_way = isinstance(p.request, ClosePosition) or p.exit_sent
        is_over = not is_under_way and (goal.is_revocable or "close" in p.back_offs)
        p.goal = waiting.otherwise if is_over else waiting
    elif isinstance(goal, Release) and release.cancel_stop:
        p.goal = release
    else:
        p.aim(release)


def on_plan_replaced(p: PositionState, replaced: PlanReplaced, at: float) -> None:
    """Replace the plan of the position.

    Nothing loosens, and the new plan's pacing runs from the last move.

    Raises:
        UsageError: the plan has no possible first stop for the position. Or the plan has another trigger while an order
            of ours is live, or may be, with the present one. Nothing has changed.
    """
    plan, before = replaced.plan, p.plan
    carries_stop = p.is_entering and p.entry is not None and p.entry.stop_id is not None
    has_stop = bool(p.orders) or carries_stop or (p.request is not None and p.request.writes)
    if plan.trigger != before.trigger and has_stop:
        wants = f"{before.trigger!r}, as long as a stop is live, or may be, with that trigger"
        raise refuse("TrailPlan.trigger", plan.trigger, wants)
    had_bug = p.ratchet.bug is not None
    p.ratchet.replan(plan)
    if had_bug:
        p.is_frozen, p.error = False, None
    native = p.native
    if native is None:
        p.native_task = "place" if plan.native else None
    elif p.native_task is not None or native.order is None or not is_as_planned(p, native.order):
        p.native_task = "replace" if plan.native else "withdraw"
    if (
        isinstance(p.goal, Close)
        and p.goal.is_revocable
        and not isinstance(p.request, ClosePosition)
        and not p.exit_sent
    ):
        revoke_close(p)  # the earlier plan wanted the close, and the new one decides again
    p.would_trigger, p.refused_stop, p.crossed_at = False, None, None
    p.back_offs.clear()
    if p.was_tried:
        p.ratchet.ask_rules()
    p.tell(PlanChanged, previous=before.encoded, plan=plan.encoded)


def on_deadline_struck(p: PositionState, struck: DeadlineStruck, at: float) -> None:
    """Note that the opening ran out of time, or was cancelled from outside."""
    if p.entry is not None:
        _end_entering(p, p.entry, is_final=struck.final)
        return
    if struck.final and p.plan.on_wave_cancelled == "withdraw":
        give_up(p, ExchangeError("cancelled from outside"))
        return
    if p.error is None:
        p.error = ExchangeError("cancelled from outside" if struck.final else "the deadline struck")
    if p.plan.on_late_order == "cancel" and not struck.final:
        for order in tuple(p.orders.values()):
            if order.is_sent or order.state is INTENDED:
                p.put(replace(order, is_unwanted=True))


def _end_entering(p: PositionState, entry: EntryFacts, *, is_final: bool) -> None:
    """Let no more of an entry be filled. The filled part stays protected, or is closed if the plan says so."""
    p.entry = replace(entry, is_over=True)
    if p.error is None and is_final:
        p.error = ExchangeError("cancelled from outside")
    if is_final and p.plan.on_entry_cancelled == "close" and (p.is_entering or p.quantity):
        p.aim(Close("its entry was cancelled", is_revocable=False))


def on_entry_unreported(p: PositionState, unreported: EntryUnreported, at: float) -> None:
    """Check the entry by the last known price, because no snapshot came in time."""
    if p.is_entry_checked:
        return
    p.is_entry_checked = True
    try:
        check_entry(p.position, p.plan, unreported.price)
    except UsageError as wrong:
        refuse_entry(p, wrong)


def on_entry_refused(p: PositionState, refused: EntryRefused, at: float) -> None:
    """Give up a position that can't be protected as it was handed in."""
    refuse_entry(p, refused.error)


def on_opening_ended(p: PositionState, _: OpeningEnded, at: float) -> None:
    """Let the plan's policies count from now on, and let no more of the entry be filled.

    A stop of unknown outcome that was to be cancelled is wanted again, because another one would be placed in its place.
    If the position has no stop, its failure is published.
    """
    if p.entry is not None and not p.entry.is_over:
        p.entry = replace(p.entry, is_over=True)
    p.is_opening, p.is_entry_checked, p.was_tried = False, True, True
    for order in tuple(p.orders.values()):
        if order.purpose == "stop" and order.is_sent and order.state is not CANCELLING:
            p.put(replace(order, is_unwanted=False))
    if p.is_unprotected and not isinstance(p.goal, End):
        tell_failure(p, p.error if p.error is not None else ExchangeError("it has no stop yet"))


def on_frozen(p: PositionState, frozen: Frozen, at: float) -> None:
    """Keep the stop where it is, because the position's task failed."""
    p.freeze(frozen.bug)
