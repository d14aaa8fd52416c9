"""Decide whether a reported position is the protected one or another one in its place."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from trailing.core.account import PositionReport
from trailing.core.goals import Close
from trailing.core.model import Side, StopOrder
from trailing.core.orders import SENT, Order, counts_before
from trailing.core.prices import is_within

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

Identity: TypeAlias = Literal["same", "another", "doubted"]
"""Which position a report is about. ``"same"``: the protected one. ``"another"``: another one.

``"doubted"``: undecided until it is confirmed whether the stop that counts is gone.
"""


def identify(p: PositionState, report: PositionReport, listed: dict[str, StopOrder]) -> Identity:
    """Return whether a report is about the protected position.

    Another entry price means another position, or that a person has added to this one. A live stop of ours tells the
    two apart, because a stop ends with its position. As long as no price was reported, any counts as the one that was
    handed in if it is within the plan's `max_entry_gap`.

    Args:
        listed: our stops for the key in the same snapshot, by client order id.
    """
    if has_known_entry(p, report):
        return "same"
    if isinstance(p.goal, Close) and p.flat.is_told_by_update:
        return "another"  # a live stop of the closed position proves nothing then
    counting = stop_that_counts(p)
    is_plain_listed = any(order.callback is None for order in listed.values())
    has_stop = is_plain_listed if counting is None else counting.id in listed
    is_settled = _is_doubted_stop_gone(p) or _is_successor(p, report)
    is_near = is_within(p.position.entry_price, report.entry_price, p.plan.max_entry_gap)
    was_reported = p.reported_entry is not None or p.successor is not None or not is_near
    if was_reported and not (has_stop or counting is None or is_settled):
        return "doubted"  # the stop may be gone, or the list of stops may be incomplete
    if is_settled:
        return "another"
    is_left = bool(p.quantity) or report.quantity <= (left_open(p) or _ZERO) or (p.is_rest_unknown and has_stop)
    if is_left and (has_stop or not was_reported):
        return "same"
    if not was_reported:
        return "another"
    was_added_to = p.is_unprotected and report.quantity > p.quantity and not isinstance(p.goal, Close)
    return "same" if was_added_to else "another"


def stop_that_counts(p: PositionState) -> Order | None:
    """Return the stop that counts, or else the one that is being placed, or None.

    A stop counts even if no snapshot has shown it since a restart. A trailing order and a superseded stop may be left
    from an earlier position. So a trailing order never counts, and a superseded stop only without another one.
    """
    counting = placed = None
    for order in p.orders.values():
        if order.purpose != "stop":
            continue
        if order.state is SENT:
            placed = order
        elif order.exists and (counting is None or _counts_more(p.position.side, order, counting)):
            counting = order
    return placed if counting is None else counting


def _counts_more(side: Side, newer: Order, older: Order) -> bool:
    """Return whether the newer stop says more about the position. Of two alike, a triggered one says less."""
    is_of_one_kind = newer.is_superseded is older.is_superseded
    if is_of_one_kind and (newer.triggered_at is None) is not (older.triggered_at is None):
        return newer.triggered_at is None
    return counts_before(side, newer, older)


def has_known_entry(p: PositionState, report: PositionReport) -> bool:
    """Return whether the reported entry price is less than a tick from the known one."""
    known = p.position.entry_price if p.reported_entry is None else p.reported_entry
    return abs(report.entry_price - known) < p.market.price_tick


def _is_doubted_stop_gone(p: PositionState) -> bool:
    """Return whether the doubted stop is gone.

    This is the stop that counted, and that the list did not show, when another entry price was first reported. A stop
    that was never placed is not gone, because it says nothing about the position.
    """
    if p.doubted_stop is None or p.doubted_stop in p.orders:
        return False
    ended = p.ended_orders.get(p.doubted_stop)
    return ended is None or ended.order is not None


def _is_successor(p: PositionState, report: PositionReport) -> bool:
    """Return whether a report has the figures of the position handed in behind this one."""
    other = p.successor
    if other is None or other.quantity != report.quantity:
        return False
    return abs(other.entry_price - report.entry_price) < p.market.price_tick


def left_open(p: PositionState) -> Decimal | None:
    """Return the quantity that the position update of the last fill left open, or a later update if that one left some.

    It is in base units, and above 0 if a person had added to the position. None: unknown.
    """
    is_of_last_fill = p.last_fill is not None and p.updated_at <= p.last_fill.at
    return p.told_quantity if is_of_last_fill else p.left_open_before
