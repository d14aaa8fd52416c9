"""How a position ends: flat, released, or given up although it may be open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from trailing.core.account import PositionReport
from trailing.core.goals import Close, End, Protect, Release
from trailing.core.model import Candle, Fill
from trailing.errors import ExchangeError
from trailing.events import OpeningFailed, PeaksRead, PositionClosed, PositionReleased

if TYPE_CHECKING:
    from trailing.core.position import PositionState

OUTSIDE = "closed on the exchange; no update said by what"


def refuse_entry(p: PositionState, error: Exception) -> None:
    """Give a position up that can't be protected as it was handed in."""
    p.error = error
    give_up(p, error)


def give_up(p: PositionState, error: Exception | None) -> None:
    """Work on a position no more although it may be open. What was placed for it is cancelled."""
    if isinstance(p.goal, End):
        return
    p.error = error if error is not None else ExchangeError("no stop could be placed")
    p.aim(End("given up", is_given_up=True))
    tell_failure(p, p.error)


def policy_due_at(p: PositionState, at: float) -> float:
    """Return when time alone changes what is wanted, now or later: what is left is too small for a stop, or the plan's
    policy is due. Infinite: it doesn't, or a request is about to say more.

    What took the stop away may have taken the position with it. So the policy waits while the position may be flat, and for a
    snapshot that is wanted, as long as a call may take.
    """
    if p.is_opening or not isinstance(p.goal, Protect) or not p.is_unprotected:
        return math.inf
    if p.has_unknown or p.exit_sent or p.request is not None or p.flat.is_doubted:
        return math.inf
    shown_at = at if p.check_from == math.inf else p.check_from + p.plan.call_seconds
    return max(at, shown_at, p.gives_up_at) if p.coverable else max(at, shown_at)


def apply_policy(p: PositionState, at: float) -> None:
    """Do what is due about a position without a stop: close a rest that is too small for one, close it, or give it up."""
    if policy_due_at(p, at) > at:
        return
    plan = p.plan
    if not p.coverable:
        p.aim(Close("what is left is too small for a stop", is_revocable=True))
    elif plan.on_unprotected == "close" or (plan.on_unprotected == "retry" and plan.retry_then == "close"):
        p.aim(Close("no stop could be placed", is_revocable=True))
    else:
        give_up(p, p.error)


def tell_failure(p: PositionState, error: Exception) -> None:
    """Publish that a position has no stop."""
    what = f"{type(error).__name__}: {error}"
    p.tell(OpeningFailed, error=what, unresolved=p.has_unknown, given_up=p.is_given_up)


def end_flat(p: PositionState, *, replaced_by: PositionReport | None = None) -> None:
    """End a position that is confirmed flat. `replaced_by`: another position stands in its place."""
    reason = OUTSIDE if p.quantity else p.exit_reason
    if replaced_by is not None:
        reason = "closed, and another position stands in its place"
        p.replaced_by = replaced_by
        what = f"{replaced_by.quantity} at {replaced_by.entry_price}"
        p.alarm("another position stands in the place of one that is protected", what)
    p.exit_reason = reason
    p.quantity = Decimal(0)
    p.aim(End(reason))


def take_off(p: PositionState, closed: Decimal, fill: Fill) -> None:
    """Reduce the quantity by what a fill has closed, and so what an earlier update told that it had left."""
    p.quantity = max(Decimal(0), p.quantity - closed)
    if p.told_quantity is not None and fill.at > p.updated_at:
        p.told_quantity = max(Decimal(0), p.told_quantity - closed)


def note_all_filled(p: PositionState, at: float) -> None:
    """Note that fills have closed all that was known of it: it is flat, unless more is left of what an update told last."""
    if not p.told_quantity:
        p.flat.note_flat(at, "fill")
    p.want_snapshot(at)


def note_cut_short(p: PositionState, at: float) -> None:
    """Note that a close filled less than it asked for: nothing was left to reduce, perhaps, which a snapshot decides."""
    p.flat.note_flat(at, "refusal")
    p.want_snapshot(at)


def tell_end(p: PositionState, at: float) -> None:
    """Publish that a position has ended."""
    if isinstance(p.goal, Release):
        p.tell(PositionReleased, stop_is_live=any(order.stands for order in p.orders.values()))
    elif not p.is_given_up:
        unprotected_time = p.unprotected_time_at(at)
        p.tell(
            PositionClosed,
            entry_price=p.position.entry_price,
            quantity=p.filled,
            profit=p.profit,
            moves=p.moves,
            unprotected_seconds=unprotected_time.total,
            unprotected_time=unprotected_time,
            reason=p.exit_reason,
        )


def tell_backfilled(
    p: PositionState, since: datetime, until: datetime, covered_until: datetime, candles: Sequence[Candle]
) -> None:
    """Publish what was read of a price gap, and how much of it stays unknown."""
    covered = sum(candle.seconds for candle in candles)
    p.tell(
        PeaksRead,
        since=since,
        until=until,
        source=p.plan.trigger,
        candles=len(candles),
        missing=max(0.0, (covered_until - since).total_seconds() - covered),
        best=p.ratchet.best,
    )
