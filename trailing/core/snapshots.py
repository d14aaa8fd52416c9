"""Apply a snapshot of the account to a position's state.

The snapshot shows which of the position's orders are live, and whether the position is open.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.account import AccountSnapshot, PositionReport
from trailing.core.endings import end_flat, refuse_entry, revoke_close
from trailing.core.entering import look_up
from trailing.core.entering import note_listed as note_entry_listed
from trailing.core.entry_checks import check_report, least_stop
from trailing.core.evidence import (
    CONFIRM_AFTER,
    CONFIRMING_SNAPSHOTS,
    INCOMPLETE_FOR,
    LIST_RECHECK,
    LISTS_ALONE,
    LISTS_ALONE_UNTOLD,
    count_missed,
)
from trailing.core.goals import Close, End
from trailing.core.identity import has_known_entry, identify, left_open, stop_that_counts
from trailing.core.inputs import SnapshotTaken
from trailing.core.leftovers import judge_leftovers
from trailing.core.model import Side, StopOrder
from trailing.core.orders import CANCELLING, CHANGING, INTENDED, LIVE, SENT, Order
from trailing.core.prices import is_tighter
from trailing.core.refusals import tell_refusal
from trailing.core.requests import ClosePosition, FindOrder
from trailing.core.retries import TOLD_AFTER
from trailing.core.shown import (
    as_grown,
    lose,
    miss,
    new_stop,
    note_price,
    show,
    withdraw_native,
)
from trailing.core.stop_slots import note_listed
from trailing.errors import UsageError

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)


def on_snapshot(p: PositionState, taken: SnapshotTaken, at: float) -> None:
    """Judge a snapshot, its stop orders first.

    The orders come first because a live stop contradicts an empty list of positions.
    """
    snapshot = taken.snapshot
    key = (p.position.symbol, p.position.side)
    wanted_at, p.again_at = p.again_at, math.inf
    p.checked_at = max(p.checked_at, snapshot.asked_at)
    is_closing = isinstance(p.request, ClosePosition)  # during a close no snapshot decides on the position
    is_told = not is_closing and (snapshot.shows_all_positions or key in snapshot.reports)
    if snapshot.asked_at >= p.check_from and is_told:
        p.check_from = math.inf
        if p.entry_row is not None and p.entry_row.absent_since is not None:
            look_up(p, at)  # its absence waited for this snapshot
    if snapshot.asked_at >= p.missed_until and is_told and key in snapshot.reports:
        p.missed_until = math.inf
    listed = {order.client_order_id: order for order in snapshot.ours.get(key, ())}
    report = snapshot.reports.get(key)
    if p.is_lookup_untrusted and snapshot.ours:  # the lists show stops again, if only those of other positions
        p.missing_stops, p.is_lookup_untrusted, p.is_listing_untrusted = (), False, False
    note_listed(p, snapshot)
    _judge_orders(p, snapshot, listed, at)
    judge_leftovers(p, snapshot, listed, at)
    if report is not None or key in snapshot.doubled_positions:
        p.listed_at = max(p.listed_at, snapshot.asked_at)
    if key in snapshot.doubled_positions:
        if snapshot.asked_at >= p.flat.shown_from(p.timing):
            p.flat.note_shown()
    elif report is not None:
        _judge_report(p, snapshot, report, listed, at)
    elif snapshot.shows_all_positions or (p.flat.is_said and (not p.quantity or p.flat.is_told_by_update)):
        _judge_flat(p, snapshot, listed)
    if not is_told or not snapshot.shows_all_stops:  # the open questions need another snapshot
        p.again_at = min(p.again_at, max(wanted_at, snapshot.answered_at + CONFIRM_AFTER))


# Orders.


def _judge_orders(p: PositionState, snapshot: AccountSnapshot, listed: dict[str, StopOrder], at: float) -> None:
    for order in tuple(p.orders.values()):
        is_looked_up = isinstance(p.request, FindOrder)  # a look-up does not change the order, and may take long
        if order.state is INTENDED or (p.is_sent and order.id == p.request_id and not is_looked_up):
            continue
        if order.purpose == "exit":
            _settle_exit(p, order, snapshot, listed, at)
        elif (shown := listed.get(order.id)) is not None:
            p.missing_stops, p.is_listing_untrusted, p.is_lookup_untrusted = (), False, False
            _judge_listed(p, order, shown, snapshot, at)
        elif order.id in snapshot.doubled_orders:
            p.put(replace(order, absent_since=None))
        elif _is_sent_after(order, snapshot):
            continue  # this list can't show it
        elif not snapshot.shows_all_stops:
            _miss_in_part(p, order, snapshot, at)
        elif p.is_listing_untrusted:  # a look-up by its id can prove its absence, and such a list can't
            p.put(replace(order, find_at=min(order.find_at, at)))
        elif miss(p, order, asked_at=snapshot.asked_at, answered_at=snapshot.answered_at):
            _doubt(p, order, snapshot, at)


def _miss_in_part(p: PositionState, order: Order, snapshot: AccountSnapshot, at: float) -> None:
    """Have a stop looked up that lists do not show for `INCOMPLETE_FOR` seconds, because they stay incomplete.

    Such a list alone proves nothing.
    """
    if order.state is not LIVE:
        return
    missed_at = order.missed_at or (snapshot.answered_at,)
    if snapshot.asked_at >= missed_at[0] + INCOMPLETE_FOR:
        order, missed_at = replace(order, find_at=min(order.find_at, at)), ()
    p.put(replace(order, missed_at=missed_at))


def _is_sent_after(order: Order, snapshot: AccountSnapshot) -> bool:
    """Return whether an order was sent when a snapshot was requested, or later.

    A restored order was sent before.
    """
    return order.state in (LIVE, SENT) and not order.is_restored and order.sent_at >= snapshot.asked_at


def _judge_listed(p: PositionState, order: Order, shown: StopOrder, snapshot: AccountSnapshot, at: float) -> None:
    lag = p.timing.orders_read_lag
    if order.state in (CHANGING, CANCELLING):
        # Its presence proves nothing while the change may still be executed.
        settled_from = order.sent_at + p.timing.request_validity + lag
        if snapshot.asked_at < settled_from:
            note_price(p, order, shown)
            p.again_at = min(p.again_at, settled_from)
            return
    if order.absent_since is not None:
        order = replace(order, absent_since=None)
        p.put(order)
    if order.state is LIVE and snapshot.asked_at < order.changed_at + lag:
        return
    shown = as_grown(p, order, shown, snapshot.asked_at)
    if order.state is LIVE and _is_same(p, shown, order.order):
        if snapshot.asked_at >= order.find_at:  # a look-up would show the same
            p.put(replace(order, find_at=math.inf))
        return
    show(p, order, shown, at)
    if order.state is not LIVE and p.was_tried:
        p.ratchet.ask_rules()


def _is_same(p: PositionState, shown: StopOrder, known: StopOrder | None) -> bool:
    """Return whether a list shows an order with its known figures.

    Prices less than a tick apart are one price.
    """
    if known is None or abs(shown.price - known.price) >= p.market.price_tick:
        return False
    return shown == known or replace(shown, price=known.price) == known


def _doubt(p: PositionState, order: Order, snapshot: AccountSnapshot, at: float) -> None:
    """Look up an order that two lists do not show, or remove it.

    A look-up by its id has to confirm the absence, because lists lose entries and another stop would be placed in vain.
    If the order can't be looked up, enough lists count that have not shown it for `LISTS_ALONE` seconds. For an order
    that the exchange has never reported, the lists count after `LISTS_ALONE_UNTOLD`, if no look-up was answered by then.
    """
    if order.id == p.request_id:
        return  # its look-up is under way
    finding, since = p.back_offs.get("find"), order.absent_since
    assert since is not None  # set by the first of the two lists
    is_untold = order.order is None and order.changed_at == -math.inf
    can_be_found = finding is None or at >= finding.until or finding.failures < TOLD_AFTER
    order = replace(order, missed_at=count_missed(order.missed_at, since, snapshot.answered_at))
    count_from = since + (LISTS_ALONE_UNTOLD if is_untold else LISTS_ALONE)
    has_enough = is_untold or len(order.missed_at) >= CONFIRMING_SNAPSHOTS
    if snapshot.asked_at >= count_from and has_enough and (is_untold or not can_be_found):
        lose(p, order, at)
        return
    p.put(replace(order, find_at=min(order.find_at, at)) if can_be_found else order)
    if is_untold or not can_be_found:
        p.again_at = min(p.again_at, count_from if is_untold else order.missed_at[-1] + LIST_RECHECK)


def _settle_exit(
    p: PositionState, order: Order, snapshot: AccountSnapshot, listed: dict[str, StopOrder], at: float
) -> None:
    """Settle a close of unknown outcome by a snapshot requested after it can't execute.

    The quantity in the snapshot shows the outcome. With another entry price, the close was executed and another
    position was entered since, even if a stop of the closed one is still live. It was not if an update says that a
    person has added to the position since, or if a person may have before and our stop is listed.
    """
    settled_from = order.sent_at + p.timing.request_validity + p.timing.positions_read_lag
    report = snapshot.reports.get((p.position.symbol, p.position.side))
    if snapshot.asked_at < settled_from or not (snapshot.shows_all_positions or report is not None):
        p.again_at = min(p.again_at, max(settled_from, snapshot.answered_at))
        return
    p.change(order, "absent", at)
    if report is None:
        return
    told = p.told_quantity if p.updated_at >= order.sent_at and not p.flat.is_said else None
    counting = stop_that_counts(p)
    is_rest = p.is_rest_unknown and counting is not None and counting.id in listed
    if (told is not None and told >= p.quantity) or has_known_entry(p, report) or is_rest:
        revoke_close(p)
    elif p.reported_entry is not None and report.quantity > (left_open(p) or _ZERO):
        end_flat(p, replaced_by=report)


# The position.


def _judge_flat(p: PositionState, snapshot: AccountSnapshot, listed: dict[str, StopOrder]) -> None:
    if isinstance(p.goal, End) or isinstance(p.request, ClosePosition):
        return
    if p.is_entering and not (p.quantity and p.flat.is_told_by_update):
        return
    other_side: Side = "short" if p.position.side == "long" else "long"
    other = None if p.timing.hedged else snapshot.reports.get((p.position.symbol, other_side))
    if other is not None and snapshot.asked_at >= p.flat.shown_from(p.timing):
        p.flat.note_flat(snapshot.answered_at, "other side")
    verdict = p.flat.judge(
        snapshot.asked_at,
        snapshot.answered_at,
        p.timing,
        is_empty=not snapshot.has_positions,
        has_stop=bool(listed),
        is_closing=isinstance(p.goal, Close),
        is_partial=not snapshot.shows_all_positions,
    )
    if not verdict.confirmed:
        if verdict.since is not None:  # otherwise the list is older than the position, and proves nothing
            p.again_at = min(p.again_at, verdict.again_at)
        return
    if p.is_entering:  # what was filled is closed, and more may be filled
        p.quantity = _ZERO
        return
    for client_order_id in p.leftovers:  # they are cancelled with its own orders, before its record is closed
        p.put(new_stop(listed[client_order_id]))
    end_flat(p, replaced_by=other)


def _judge_report(
    p: PositionState, snapshot: AccountSnapshot, report: PositionReport, listed: dict[str, StopOrder], at: float
) -> None:
    if isinstance(p.goal, End) or isinstance(p.request, ClosePosition):
        return
    shown_from = p.flat.shown_from(p.timing)
    # A position that is still opening was handed in with the reported figures, so an earlier list shows it, too.
    if snapshot.asked_at < shown_from and (p.flat.is_said or not p.is_opening or p.entry is not None):
        p.again_at = min(p.again_at, shown_from)
        return
    if p.is_opening and not p.is_entry_checked:
        if not _is_of_this_entry(p, snapshot, report):
            return
        p.is_entry_checked = True
        filled = max(p.filled, sum((order.filled for order in p.orders.values()), _ZERO))
        quantity = report.quantity + filled  # as it was before its stop was filled in part
        has_triggered = any(order.triggered_at is not None for order in p.orders.values())  # its fills may come late
        if has_triggered or report.quantity == p.told_quantity:  # or a person has reduced it since
            quantity = max(quantity, p.position.quantity)
        still_open = replace(report, quantity=quantity)
        try:
            check_report(p.position, p.plan, p.market, still_open)
        except UsageError as wrong:
            refuse_entry(p, wrong)
            return
    if p.is_entering and report.quantity > p.quantity:
        note_entry_listed(p, snapshot.answered_at, report.quantity, report.entry_price, at)
        return
    p.listed_more = None
    if p.exit_sent and p.quantity and p.reported_entry is not None and not has_known_entry(p, report):
        return  # our close may have been executed, and the snapshot that settles it decides
    identity = "same" if p.is_entering else identify(p, report, listed)
    p.flat.note_shown()
    if identity == "another":
        end_flat(p, replaced_by=report)
        return
    if identity == "doubted":
        counting = stop_that_counts(p)
        assert counting is not None  # without one nothing is doubted
        is_ours_to_change = counting.state in (CHANGING, CANCELLING) and not counting.is_restored
        if not is_ours_to_change:  # one that we move or cancel may be gone for that reason
            p.doubted_stop = p.doubted_stop or counting.id
        p.again_at = min(p.again_at, snapshot.answered_at + max(CONFIRM_AFTER, p.timing.orders_read_lag))
        return
    p.doubted_stop, p.is_rest_unknown = None, False
    p.successor = None if p.missed_until == math.inf else p.successor
    p.reported_entry = None if p.is_entering else report.entry_price  # it changes with each fill
    p.shown_at = snapshot.asked_at
    tell_refusal(p)
    _resize(p, report)
    _heed_liquidation(p, report)


def _is_of_this_entry(p: PositionState, snapshot: AccountSnapshot, report: PositionReport) -> bool:
    """Return whether a report is of this entry, and not of an earlier one.

    Until the read lag after the opening is over, only a report with the same figures is of this entry.
    """
    if snapshot.asked_at >= p.opened_at + p.timing.positions_read_lag:
        return True
    return (report.quantity, report.entry_price) == (p.position.quantity, p.position.entry_price)


def _resize(p: PositionState, report: PositionReport) -> None:
    before = p.quantity
    if report.quantity == before:
        return
    p.quantity = report.quantity
    if not p.would_trigger:  # perhaps the quantity was refused, and not the price
        p.refused_stop = None
        for kind in ("move", "place"):
            if kind in p.back_offs and p.back_offs[kind].is_refusal:
                del p.back_offs[kind]
    if not before:
        # The whole known quantity is closed, but some is open. That rest is not ours to close, but it needs a stop.
        p.alarm("a closed position is open again", f"{report.quantity}")
        if isinstance(p.goal, Close):
            p.goal = p.goal.otherwise
    withdraw_native(p)


def _heed_liquidation(p: PositionState, report: PositionReport) -> None:
    liquidation = report.liquidation_price
    if not liquidation:
        return
    side = p.position.side
    stop = least_stop(side, liquidation, p.plan.liquidation_buffer, p.market, p.ratchet.last)
    if stop is None:
        if p.told_liquidation != liquidation:
            p.told_liquidation = liquidation
            p.alarm("the liquidation price is ignored", f"{liquidation} is not behind the price, {p.ratchet.last}")
    elif is_tighter(side, stop, p.target):
        p.raise_floor(stop)
        p.alarm("the stop lies beyond the liquidation price", str(stop))
        withdraw_native(p)
