"""Choose a position's next request from one table of rules, the most urgent first.

Each rule returns a request, the time at which it may return one, or None. The first request whose kind is not in
back-off is chosen. If there is none, the earliest time is the next wake-up. So no kind of request waits for another
kind's back-off, and no decision is stored. A rule's own condition makes its request safe. Its place in the table only
makes the request earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from trailing.core.endings import gives_up_at, owes_stop, policy_due_at
from trailing.core.goals import Close, End, Protect, Release
from trailing.core.native import native_terms
from trailing.core.orders import INTENDED, LIVE, Order
from trailing.core.prices import is_crossed
from trailing.core.requests import (
    AmendStop,
    CancelEntry,
    CancelStop,
    ClosePosition,
    FindEntry,
    FindOrder,
    PlaceEntry,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadFills,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.core.stop_prices import looser_target, pacing_wait, reachable_target, standing
from trailing.core.stop_slots import takes_second_stop
from trailing.core.superseded import awaits_look_up, cancel_superseded, may_be_changed
from trailing.core.unread_fills import wanted_read

if TYPE_CHECKING:
    from trailing.core.position import PositionState

NEVER: Final = math.inf
"""No request is wanted before an input changes the state."""

Wanted: TypeAlias = Request | float | None
Rule: TypeAlias = "Callable[[PositionState, float], Wanted]"


def next_request(p: PositionState, at: float) -> Request | float:
    """Return the next request of a position, or when there may be one.

    Args:
        at: seconds on the running clock.

    Returns:
        A request, or a time on the running clock. The time is `NEVER` if only an input can change the answer.
    """
    if p.request is not None or p.ended:
        return NEVER
    return _choose(p, at)


def refresh(p: PositionState, at: float) -> Request | None:
    """Return the request under way with its present figures, just before it is sent.

    The price may have moved while the intent was being stored. None: the request is not wanted any more.
    """
    begun, fresh = p.request, _choose(p, at)
    if type(fresh) is not type(begun):
        return None
    if isinstance(begun, (AmendStop, TakeDownStop, CancelStop, FindOrder)):
        assert isinstance(fresh, (AmendStop, TakeDownStop, CancelStop, FindOrder))
        return fresh if fresh.id == begun.id else None
    assert not isinstance(fresh, float)
    return fresh


def _choose(p: PositionState, at: float) -> Request | float:
    wakes_at = NEVER
    for rule in CALM_RULES if p.is_calm else RULES:
        wanted = rule(p, at)
        if wanted is None:
            continue
        if isinstance(wanted, float):
            wakes_at = min(wakes_at, wanted)
            continue
        backing_off = p.back_offs.get(wanted.kind)
        if backing_off is None or at >= backing_off.until:
            return wanted
        wakes_at = min(wakes_at, backing_off.until)
    return wakes_at


def cancel_what_is_left(p: PositionState, at: float) -> Wanted:
    """Cancel the position's live orders that are not wanted any more.

    These are all its live orders if it has ended, or if its owner takes it back without its stop. With any other goal
    they are the orders that are marked as unwanted, such as one that was placed too late.
    """
    goal = p.goal
    if isinstance(goal, (Protect, Close)) or (isinstance(goal, Release) and not goal.cancel_stop):
        return _cancel_first(p, "it is not wanted any more", unwanted=True) if p.has_unwanted else None
    why = "its position is given back"
    if isinstance(goal, End):
        why = "its position is given up" if goal.is_given_up else "its position is closed"
    return _cancel_first(p, why)


def close(p: PositionState, at: float) -> Wanted:
    """Close the rest of the position at market, reduce-only.

    Stops of unknown outcome do not delay the order, because it is reduce-only.
    """
    if not isinstance(p.goal, Close) or not p.quantity or p.exit_sent:
        return None
    if p.flat.is_said and p.snapshot_at < NEVER:
        return None  # the exchange says that nothing is left; a snapshot decides, so that no other position is closed
    return _first_checked(p, at, ClosePosition(p.quantity, p.goal.reason))


def cancel_entry(p: PositionState, at: float) -> Wanted:
    """Cancel what is not filled of the entry, once its time is over or its position ends."""
    row = p.entry_row
    if row is None or row.state is not LIVE:
        return None
    assert p.entry is not None
    is_over = p.entry.is_over or p.filled or not isinstance(p.goal, Protect)
    return CancelEntry(row.id) if is_over else None


def confirm(p: PositionState, at: float) -> Wanted:
    """Read the exchange's own price to confirm a crossed stop or a jump.

    No other price confirms them.
    """
    if not isinstance(p.goal, Protect) or not p.quantity:
        return None
    if p.ratchet.jump is not None:
        return ReadPrice("jump")
    wanted = _confirm_crossing(p, at)
    return wanted if wanted is None or isinstance(wanted, float) else _first_checked(p, at, wanted)


def _confirm_crossing(p: PositionState, at: float) -> Wanted:
    ratchet, exits = p.ratchet, p.plan.on_would_trigger == "exit"
    if exits and p.would_trigger and (p.is_covered or looser_target(p) is None):
        return ReadPrice("crossing")  # if a looser stop can be placed, that is done first
    if p.live is None:
        is_missing = not p.is_covered and not p.has_unknown and p.was_tried
        return ReadPrice("crossing") if is_missing and exits and ratchet.is_crossed else None
    if p.crossed_at is not None:
        grace_ends = p.crossed_at + p.plan.exit_grace
        return ReadPrice("crossing") if at >= grace_ends else grace_ends
    if not exits or not ratchet.is_crossed or p.has_unknown or p.is_frozen:
        return None
    # A stop that pacing only defers counts as crossed. One that gains too little was never to be placed.
    return None if pacing_wait(p, p.live, p.target, at) is None else ReadPrice("crossing")


def _first_checked(p: PositionState, at: float, request: Request) -> Wanted:
    """Return the request, or the time until which it waits for a snapshot.

    After something may have been missed, an exit by software waits for a snapshot, because another position may have
    been entered. So does an owner's close after a restart. If there is a sign of another one, only a snapshot decides.
    """
    if _may_be_another(p):
        return NEVER
    is_owners = isinstance(p.goal, Close) and not p.goal.is_revocable
    if is_owners and p.checked_at > -math.inf:
        return request  # its owner wants closed what is there, and a snapshot has shown it since the process began
    is_unsure = p.missed_until < NEVER and at < p.checked_by
    return p.checked_by if is_unsure else request


def find_unknown(p: PositionState, at: float) -> Wanted:
    """Look up an order that has an unknown outcome or may be gone."""
    first: Order | None = p.entry_row if p.entry_row is not None and p.entry_row.find_at < NEVER else None
    for order in p.orders.values() if p.has_doubted else ():
        if order.find_at < NEVER and (first is None or order.find_at < first.find_at):
            first = order
    if first is None:
        return None
    if at < first.find_at:
        return first.find_at
    return FindEntry(first.id) if first.purpose == "entry" else FindOrder(first.id)


def cover(p: PositionState, at: float) -> Wanted:
    """Place the tightest possible stop behind a position that has none.

    A position whose close failed gets a stop as well, until the close is tried again. So does one that is given back
    with its stop, inside a move.
    """
    goal = p.goal
    is_left_bare = (isinstance(goal, Close) and "close" in p.back_offs) or (isinstance(goal, Release) and owes_stop(p))
    if not (isinstance(goal, Protect) or is_left_bare):
        return None
    if p.is_covered or p.has_unknown or not p.quantity or not p.coverable:
        return None
    if at >= gives_up_at(p) and not (p.flat.is_doubted or p.exit_sent):
        return None  # while the position may be flat, the policy waits, and a stop is placed
    if _may_be_another(p):
        return None
    # A price of before a gap makes no stop looser: the exchange says whether its own price is beyond the target.
    is_old = p.gap is not None or p.missed_until < NEVER
    is_tried_first = is_old and p.refused_stop != p.target
    return PlaceStop(p.target if is_tried_first else reachable_target(p, refused=p.refused_stop), p.coverable)


def place_entry(p: PositionState, at: float) -> Wanted:
    """Place the order that opens the position."""
    entry = p.entry
    if entry is None or not entry.is_wanted or not isinstance(p.goal, Protect):
        return None
    return PlaceEntry(entry.id, entry.quantity, entry.limit, entry.stop_price)


def move(p: PositionState, at: float) -> Wanted:
    """Move the stop that counts to a tighter price or to another quantity.

    Pacing can delay a tighter price. Another quantity is never delayed by pacing.
    """
    live = p.live
    if not isinstance(p.goal, Protect) or live is None or p.has_unknown or _may_be_another(p):
        return None
    coverable, target = p.coverable, p.target
    if live.state is not LIVE or live.absent_since is not None or awaits_look_up(p, live) or not coverable:
        return None
    is_bridged = p.is_bridge(live)  # the exchange can't amend it, and a stop of ours takes its place
    is_other_size = (is_bridged and not p.is_entering) or (live.quantity != coverable and not is_bridged)
    assert live.order is not None
    if live.order.price == target and not is_other_size:
        return None  # the usual case
    if p.is_frozen and not is_other_size:
        return None
    # While the exchange trails, the price of the plain stop changes only if a person loosened it.
    price = (p.floor or standing(p, live)) if p.is_trailed_by_exchange else reachable_target(p)
    wait = None if p.is_frozen else pacing_wait(p, live, price, at)
    rests = wait is None or wait > 0.0 or is_crossed(p.position.side, p.ratchet.last, price)
    if rests or (is_other_size and price == p.refused_stop):
        if not is_other_size:
            return at + wait if wait else None
        price = standing(p, live)
    changes_live = (p.market.can_amend and not is_bridged) or not takes_second_stop(p, at)
    if changes_live and live.triggered_at is not None:
        return None  # it is being filled
    if changes_live and may_be_changed(p, live) and live.is_sure:
        return FindOrder(live.id)  # a person may have tightened it
    if p.market.can_amend and not is_bridged:
        return AmendStop(live.id, price, coverable)
    if len(p.orders) > 1 and p.market.two_stops and _has_second_stop(p):
        return None
    if takes_second_stop(p, at):
        return ReplaceStop(price, coverable, live.id)
    if is_bridged:
        return p.full_until if p.market.two_stops else None  # it is the position's own, and stays until there is a slot
    placing = p.back_offs.get("place")
    return TakeDownStop(live.id) if placing is None or at >= placing.until else placing.until


def read_candles(p: PositionState, at: float) -> Wanted:
    """Read the peaks of a price gap from candles."""
    gap = p.gap
    if gap is None or p.is_frozen or not p.quantity or isinstance(p.goal, (Close, End)):
        return None
    return ReadCandles(gap.begins_at(p.position.opened_at)) if at >= gap.read_at else gap.read_at


def read_fills(p: PositionState, at: float) -> Wanted:
    """Read executions that no update has reported, before the position's end is published."""
    order_id = wanted_read(p)
    return None if order_id is None else ReadFills(order_id, p.position.opened_at)


def tend_native(p: PositionState, at: float) -> Wanted:
    """Place or cancel the exchange's own trailing order.

    The order is placed beside the first stop, and cancelled when it is not wanted any more.
    """
    if p.native_task is None or not isinstance(p.goal, Protect):
        return None
    native = p.native
    if native is not None:
        return CancelStop(native.id, "it is not wanted any more") if native.state is LIVE else None
    live, gap = p.live, p.gap
    if p.native_task != "place" or live is None or p.has_unknown or p.is_opening or live.quantity != p.coverable:
        return None
    if _may_be_another(p):
        return None
    if gap is not None:  # the gap may have a peak beyond the activation
        return gap.read_at if gap.read_at > at else None
    terms = native_terms(p.plan, p.position, p.market)
    return PlaceNative(terms.activation, terms.callback, p.coverable)


def await_fill(p: PositionState, at: float) -> Wanted:
    """Wake up when a triggered stop should have been filled.

    From then on the stop protects nothing.
    """
    if not p.has_triggered:
        return None
    grace = p.plan.exit_grace
    return min(
        (
            order.triggered_at + grace
            for order in p.orders.values()
            if order.triggered_at is not None and not order.is_stuck(at, grace)
        ),
        default=None,
    )


def act_on_policy(p: PositionState, at: float) -> Wanted:
    """Wake up when the plan's policy for an unprotected position is due."""
    return policy_due_at(p, at)


RULES: Final[tuple[Rule, ...]] = (
    cancel_what_is_left,
    close,
    cancel_entry,
    confirm,
    find_unknown,
    cover,
    place_entry,
    cancel_superseded,
    move,
    read_candles,
    read_fills,
    tend_native,
    await_fill,
    act_on_policy,
)
"""The rules, the most urgent first. The docs print this table."""

CALM_RULES: Final[tuple[Rule, ...]] = (confirm, move)
"""The rules that can want something of a calm position, which has nothing but one sure stop. The others are not asked,
because every price that makes a new peak comes here."""


def _may_be_another(p: PositionState) -> bool:
    """Return whether another position may be open in place of this one.

    The snapshot that is wanted decides. Until then nothing is placed, because a stop of ours would make the other
    position look like this one, and software closes nothing.
    """
    return (p.successor is not None or p.doubted_stop is not None) and p.snapshot_at < NEVER


def _cancel_first(p: PositionState, why: str, *, unwanted: bool = False) -> Wanted:
    for order in p.orders.values():
        if order.state is LIVE and order.is_unwanted >= unwanted:
            return CancelStop(order.id, why)
    return None


def _has_second_stop(p: PositionState) -> bool:
    return sum(order.purpose == "stop" and order.state is not INTENDED for order in p.orders.values()) > 1
