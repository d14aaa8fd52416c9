"""Cancel a live stop because another stop of its position counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.orders import LIVE, Order
from trailing.core.requests import CancelStop
from trailing.core.retries import TOLD_AFTER

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def cancel_superseded(p: PositionState, at: float) -> CancelStop | float | None:
    """Cancel a live stop beside the one that counts.

    The one that counts is at least as tight, unless the other one was superseded.

    Returns:
        As each rule of `next_request`.
    """
    live = p.live
    if live is None or live.state is not LIVE or len(p.orders) < 2 or not live.is_sure:
        return None
    if _may_have_ended(p, live):
        return None  # then the position needs the other one
    if p.market.can_amend and live.quantity < p.coverable and "move" not in p.back_offs:
        return None  # `move` first makes the one that counts cover the whole position
    grace, filled_by = p.plan.exit_grace, math.inf
    for order in p.orders.values():
        if order.purpose != "stop" or order.state is not LIVE or order.id == live.id:
            continue
        if (p.is_entering and p.is_bridge(order)) or order.id == p.doubted_stop:
            continue  # it covers what is still to be filled, or its absence decides which position is open
        if _awaits_look_up(p, order):
            continue  # a person may have tightened it
        if order.triggered_at is None or order.is_stuck(at, grace):
            return CancelStop(order.id, "another stop of its position counts")
        filled_by = min(filled_by, order.triggered_at + grace)  # until then the exchange may fill it
    return filled_by


def _may_have_ended(p: PositionState, live: Order) -> bool:
    """Return whether a stop may be filled or gone by now.

    A stop that was filled in part has triggered, so that the rest may be filled until a snapshot shows that it is live.
    """
    is_filling = live.filled > 0 and p.checked_at < live.changed_at + p.timing.orders_read_lag
    return live.triggered_at is not None or is_filling or _may_be_changed(p, live)


def look_up_superseded(p: PositionState, at: float) -> None:
    """Have each stop beside the one that counts looked up, if an update of it may have been missed.

    A person may have tightened it, and then it is not cancelled.
    """
    for order in tuple(p.orders.values()):
        is_beside = order.is_superseded or (p.live is not None and order.id != p.live.id)
        if order.purpose == "stop" and order.state is LIVE and is_beside and _may_be_changed(p, order):
            p.put(replace(order, find_at=min(order.find_at, at)))


def _may_be_changed(p: PositionState, order: Order) -> bool:
    """Return whether an update of an order may have been missed since it last changed."""
    return order.changed_at < p.missed_until - p.timing.positions_read_lag < math.inf


def _awaits_look_up(p: PositionState, order: Order) -> bool:
    """Return whether a look-up of an order is due, and does not fail again and again."""
    finding = p.back_offs.get("find")
    return order.find_at < math.inf and (finding is None or finding.failures < TOLD_AFTER)
