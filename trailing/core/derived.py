"""Derive fields of a position's state from its others after each step that changes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trailing.core.endings import apply_policy, owes_stop, revoke_close, tell_end
from trailing.core.entries import NOTHING_ENTERED
from trailing.core.goals import Close, End, Protect, Release
from trailing.core.orders import CANCELLING, Order, counts_before
from trailing.core.prices import is_crossed, is_tighter
from trailing.core.requests import ClosePosition, FindOrder
from trailing.core.shown import drop_late_native
from trailing.core.unread_fills import wanted_read
from trailing.unprotected import UnprotectedSpan

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def derive(p: PositionState, at: float) -> None:
    """Update every derived field of a position's state.

    `PositionState.step` calls it, and so does `restore_position`, once.

    Args:
        at: seconds on the running clock.
    """
    _derive_orders(p, at)
    _derive_unprotected_time(p, at)
    if p.entry is not None and not (p.is_entering or p.entry.entered):
        p.aim(End(NOTHING_ENTERED))
    if p.unprotected_span is not None:
        apply_policy(p, at)
    elif isinstance(p.goal, Close) and p.goal.is_for_lack and p.live is not None and not _is_closing(p):
        revoke_close(p)
    if not isinstance(p.goal, Protect):
        _derive_end(p, at)
        _derive_unprotected_time(p, at)
    derive_from_price(p, at)
    p.is_calm = (
        p.is_covered
        and len(p.orders) == 1
        and not (p.has_unwanted or p.has_doubted or p.has_triggered)
        and isinstance(p.goal, Protect)
        and not p.is_entering
        and p.native_task is None
        and p.gap is None
    )


def _is_closing(p: PositionState) -> bool:
    return p.exit_sent or isinstance(p.request, ClosePosition)


def derive_from_price(p: PositionState, at: float) -> None:
    """Update the fields that depend on the price. A price changes no other derived field."""
    ratchet = p.ratchet
    if p.native_task == "place":
        drop_late_native(p)
    if ratchet.bug is not None and not p.is_frozen:
        p.freeze(ratchet.bug)
    _derive_crossing(p, at)
    every_tick = p.crossed_at is not None or _waits_for_price(p)
    ratchet.update_quiet_band(every_tick=every_tick, no_tick=isinstance(p.goal, End))


def _waits_for_price(p: PositionState) -> bool:
    """Whether the live stop is looser than the floor as long as the price is beyond the floor."""
    live, floor, side = p.stop, p.floor, p.position.side
    return (
        live is not None
        and floor is not None
        and is_tighter(side, floor, live.price)
        and is_crossed(side, p.ratchet.last, floor)
    )


def _derive_orders(p: PositionState, at: float) -> None:
    live: Order | None = None
    covered = unknown = exit_sent = unwanted = doubted = triggered = False
    side = p.position.side
    # The outcome of the request in flight is awaited, not unknown. A look-up in flight has not settled its order yet.
    awaited = p.request_id if p.is_sent and not isinstance(p.request, FindOrder) else None
    for order in p.orders.values():
        unwanted |= order.is_unwanted
        doubted |= order.find_at < math.inf
        triggered |= order.triggered_at is not None
        is_sent = order.is_sent
        if order.purpose != "stop":
            exit_sent |= is_sent and order.purpose == "exit"
            unknown |= is_sent and order.purpose == "native" and order.id != awaited
            continue
        unknown |= is_sent and order.id != awaited
        if not order.exists or order.is_stuck(at, p.plan.exit_grace):
            continue
        covered = True
        is_live = order.state is not CANCELLING and not order.is_restored
        if is_live and (live is None or counts_before(side, order, live)):
            live = order
    p.live, p.is_covered, p.has_unknown, p.exit_sent = live, covered, unknown, exit_sent
    p.has_unwanted, p.has_doubted, p.has_triggered = unwanted, doubted, triggered


def _derive_end(p: PositionState, at: float) -> None:
    goal = p.goal
    if isinstance(goal, End):
        p.ended = not p.orders and p.entry_row is None and wanted_read(p) is None
    elif isinstance(goal, Release):
        is_undecided = p.check_from < math.inf or (p.flat.is_said and p.again_at < math.inf)
        settled = p.request is None and not (is_undecided or p.has_unknown or p.exit_sent or p.is_entering)
        stops = sum(order.exists for order in p.orders.values() if goal.cancel_stop or order.purpose == "stop")
        is_left = stops > 0 if goal.cancel_stop else stops > 1 or owes_stop(p)
        p.ended = settled and not is_left
    if p.ended:
        tell_end(p, at)


def _derive_unprotected_time(p: PositionState, at: float) -> None:
    if p.is_unprotected:
        if p.unprotected_span is None:
            p.unprotected_span = UnprotectedSpan(at, p.cause, at)
    elif p.unprotected_span is not None:
        p.unprotected_time += p.unprotected_span.until(at)
        p.unprotected_span = None
        p.policy_from = min(p.policy_from, at)


def _derive_crossing(p: PositionState, at: float) -> None:
    """Note since when the price is beyond the live stop.

    The plan's stop counts instead if it is looser, or while the exchange trails. The reason is that only confirmed
    prices justify an exit, and the plan's stop follows only those.
    """
    live, ratchet, side = p.live, p.ratchet, p.position.side
    if not isinstance(p.goal, Protect) or live is None or live.order is None:
        p.crossed_at = None
        return
    limit = live.order.price
    if p.is_trailed_by_exchange or is_tighter(side, limit, ratchet.target):
        limit = ratchet.target
    if not is_crossed(side, ratchet.last, limit):
        p.crossed_at = None
    elif p.crossed_at is None:
        p.crossed_at = at
