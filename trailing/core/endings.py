"""End a position that is flat, released, or given up although it may be open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.account import PositionReport
from trailing.core.goals import Close, End, Protect, Release
from trailing.core.model import Candle, Fill
from trailing.core.retries import TOLD_AFTER
from trailing.errors import ExchangeError, NothingToReduce
from trailing.events import EntryEnded, EntryFilled, OpeningFailed, PeaksRead, PositionClosed, PositionReleased

if TYPE_CHECKING:
    from trailing.core.position import PositionState

OUTSIDE = "closed on the exchange; no update said by what"


def refuse_entry(p: PositionState, error: Exception) -> None:
    """Give up a position that can't be protected as it was handed in."""
    p.error = error
    give_up(p, error)


def give_up(p: PositionState, error: Exception | None) -> None:
    """Give up a position that may be open: publish the error, and cancel its orders.

    A position that has ended, or was given up before, stays as it is.

    Args:
        error: None: no stop could be placed.
    """
    if isinstance(p.goal, End):
        return
    p.error = error if error is not None else ExchangeError("no stop could be placed")
    p.aim(End("given up", is_given_up=True))
    tell_failure(p, p.error)


def revoke_close(p: PositionState) -> None:
    """Take back a close that software has decided on. Another goal stays as it is."""
    if isinstance(p.goal, Close) and p.goal.is_revocable:
        p.goal = p.goal.otherwise


def note_close_failed(p: PositionState, error: Exception) -> None:
    """Take back a close that was certainly not executed, if software has decided on it or the position is to be released.

    A close by software is kept where nothing could be reduced, because the position may be flat.
    """
    goal = p.goal
    if isinstance(goal, Close) and isinstance(goal.otherwise, Release):
        p.goal = goal.otherwise
    elif not isinstance(error, NothingToReduce):
        revoke_close(p)


def owes_stop(p: PositionState) -> bool:
    """Return whether a move has cancelled the stop of a position, and the next one is still to be placed.

    A refusal, or `TOLD_AFTER` failures in a row, end that. Then the plan's policy counts.
    """
    placing = p.back_offs.get("place")
    has_failed = placing is not None and (placing.is_refusal or placing.failures >= TOLD_AFTER)
    return p.taken_down is not None and p.is_unprotected and bool(p.coverable) and not has_failed


def protects_all(p: PositionState) -> bool:
    """Return whether a position was opened, and its live stop covers all that a stop can cover."""
    stop = p.stop
    return stop is not None and not p.is_opening and stop.quantity >= p.coverable > 0


def gives_up_at(p: PositionState) -> float:
    """Return when the plan's policy for a position without a stop is due. Infinite: it is not."""
    span = p.unprotected_span
    if p.is_opening or span is None or not isinstance(p.goal, Protect) or not p.quantity:
        return math.inf
    if owes_stop(p):
        return math.inf
    began = max(span.since, p.policy_from)
    return began + (p.plan.retry_for if p.plan.on_unprotected == "retry" else 0.0)


def policy_due_at(p: PositionState, at: float) -> float:
    """Return when an unprotected position is to be closed or given up.

    A remainder that is too small for a stop is due at once. Otherwise the plan's policy is due at `gives_up_at`.

    The position may be gone together with its stop. So nothing is due while evidence says that the position may be
    flat. A wanted snapshot delays the result by `call_seconds` at most.

    Args:
        at: the present, in seconds on the running clock.

    Returns:
        A time on the running clock, `at` or later. Infinite: time alone decides nothing, such as during the opening, or
        while a request is under way or has an unknown outcome.
    """
    if p.is_opening or not isinstance(p.goal, Protect) or not p.is_unprotected:
        return math.inf
    if p.has_unknown or p.exit_sent or p.request is not None or p.flat.is_doubted:
        return math.inf
    shown_at = at if p.check_from == math.inf else p.check_from + p.plan.call_seconds
    return max(at, shown_at, gives_up_at(p)) if p.coverable else max(at, shown_at)


def apply_policy(p: PositionState, at: float) -> None:
    """Close or give up an unprotected position, if `policy_due_at` says that this is due.

    A remainder that is too small for a stop is closed. Otherwise the plan's policy decides.
    """
    if policy_due_at(p, at) > at:
        return
    plan = p.plan
    if not p.coverable:
        p.aim(Close("what is left is too small for a stop", is_revocable=True))
    elif plan.on_unprotected == "close" or (plan.on_unprotected == "retry" and plan.retry_then == "close"):
        p.aim(Close("no stop could be placed", is_revocable=True, is_for_lack=True))
    else:
        give_up(p, p.error)


def tell_failure(p: PositionState, error: Exception) -> None:
    """Publish that a position has no stop."""
    what = f"{type(error).__name__}: {error}"
    p.tell(OpeningFailed, error=what, unresolved=p.has_unknown, given_up=p.is_given_up)


def end_flat(p: PositionState, *, replaced_by: PositionReport | None = None) -> None:
    """End a position that is confirmed flat.

    Args:
        replaced_by: the position that is open in its place, of which an alarm tells; None: there is none.
    """
    reason = OUTSIDE if p.quantity else p.exit_reason
    if replaced_by is not None:
        reason = "closed, and another position has taken its place"
        p.replaced_by = replaced_by
        detail = f"{replaced_by.quantity} {replaced_by.side} at {replaced_by.entry_price}"
        if replaced_by.side == p.position.side:
            p.alarm("another position has taken the place of one that is protected", detail)
        else:
            p.alarm("the position was flipped", detail)
    p.exit_reason = reason
    p.quantity = Decimal(0)
    p.aim(End(reason))


def take_off(p: PositionState, closed: Decimal, fill: Fill) -> None:
    """Subtract a fill from the quantity of a position.

    Subtract it from the quantity of the last position update too, if the fill is later than the update.

    Args:
        closed: the quantity that the fill has closed, in base units.
    """
    p.quantity = max(Decimal(0), p.quantity - closed)
    if p.told_quantity is not None and fill.at > p.updated_at:
        p.told_quantity = max(Decimal(0), p.told_quantity - closed)


def count_closed(p: PositionState, quantity: Decimal, proceeds: Decimal) -> None:
    """Count what fills have closed, in base units, and what was paid for it, in quote units.

    If they have closed more than is known to be entered, more of the entry was filled by then.
    """
    p.filled += quantity
    p.proceeds += proceeds
    entry = p.entry
    if p.is_entering and entry is not None and p.filled > entry.entered + entry.added:
        p.entry = replace(entry, entered=min(entry.quantity, p.filled - entry.added))
        p.tell(
            EntryFilled,
            quantity=p.entry.entered - entry.entered,
            price=p.position.entry_price,
            unfilled=p.entry.unfilled,
            client_order_id=entry.id,
        )


def note_all_filled(p: PositionState, at: float) -> None:
    """Note that fills have closed the whole known quantity, and want a snapshot.

    The fills are evidence that the position is flat, unless the last position update still leaves a quantity.
    """
    if p.told_quantity:
        p.flat.note_changed(at)
    else:
        p.flat.note_flat(at, "fill")
    p.want_snapshot(at)


def note_cut_short(p: PositionState, at: float) -> None:
    """Note that a close filled less than it asked for, and want a snapshot.

    Perhaps nothing was left to reduce. The snapshot decides.
    """
    p.flat.note_flat(at, "refusal")
    p.want_snapshot(at)


def tell_end(p: PositionState, at: float) -> None:
    """Publish that a position was released or closed. `give_up` has published that it was given up."""
    if isinstance(p.goal, Release):
        p.tell(PositionReleased, stop_is_live=any(order.exists for order in p.orders.values()))
    elif p.entry is not None and not p.entry.entered:
        tell_entry_ended(p)
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


def tell_entry_ended(p: PositionState) -> None:
    """Publish that nothing more of the entry is filled."""
    entry = p.entry
    assert entry is not None
    p.tell(
        EntryEnded,
        filled=entry.entered,
        unfilled=entry.unfilled,
        price=entry.average_price,
        slippage=entry.slippage(p.position.side),
        reason=entry.reason,
        client_order_id=entry.id,
    )


def tell_backfilled(
    p: PositionState, since: datetime, until: datetime, covered_until: datetime, candles: Sequence[Candle]
) -> None:
    """Publish which candles of a price gap were read, and how many seconds stay unknown.

    Args:
        since, until: of the gap, aware UTC.
        covered_until: the end of the time that the candles should cover, aware UTC.
        candles: those that were read.
    """
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
