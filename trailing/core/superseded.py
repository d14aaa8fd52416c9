"""Cancel a live stop because another stop of its position counts.

A stop is looked up first if an update of it may have been missed. A person may have tightened it meanwhile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trailing.core.orders import LIVE, Order
from trailing.core.requests import CancelStop, FindOrder
from trailing.core.retries import TOLD_AFTER

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def cancel_superseded(p: PositionState, at: float) -> CancelStop | FindOrder | float | None:
    """Cancel a live stop beside the one that counts.

    The one that counts is at least as tight, unless the other one was superseded.

    Returns:
        As each rule of `next_request`.
    """
    live = p.live
    if live is None or live.state is not LIVE or len(p.orders) < 2 or not live.is_sure:
        return None
    if live.triggered_at is not None or _is_filling(p, live):
        return None  # it may be filled by now, and then the position needs the other one
    if p.market.can_amend and live.quantity < p.coverable and "move" not in p.back_offs:
        return None  # `move` first makes the one that counts cover the whole position
    grace, filled_by = p.plan.exit_grace, math.inf
    for order in p.orders.values():
        if order.purpose != "stop" or order.state is not LIVE or order.id == live.id:
            continue
        if (p.is_entering and p.is_bridge(order)) or order.id == p.doubted_stop:
            continue  # it covers what is still to be filled, or its absence decides which position is open
        if awaits_look_up(p, order):
            continue  # a person may have tightened it
        for one in (live, order):
            if may_be_changed(p, one) and one.is_sure:
                return FindOrder(one.id)
        if order.triggered_at is None or order.is_stuck(at, grace):
            return CancelStop(order.id, "another stop of its position counts")
        filled_by = min(filled_by, order.triggered_at + grace)  # until then the exchange may fill it
    return filled_by


def may_be_changed(p: PositionState, order: Order) -> bool:
    """Return whether an update of an order may have been missed since it was last shown or changed.

    Where look-ups show nothing, only a snapshot can tell, so that nothing waits for a look-up.
    """
    return order.changed_at + p.timing.read_lag < p.missed_until < math.inf and not p.is_lookup_untrusted


def awaits_look_up(p: PositionState, order: Order) -> bool:
    """Return whether a look-up of an order is due, and does not fail again and again."""
    finding = p.back_offs.get("find")
    return order.find_at < math.inf and (finding is None or finding.failures < TOLD_AFTER)


def _is_filling(p: PositionState, live: Order) -> bool:
    """Return whether a stop was filled in part, and no snapshot shows since that the rest is live.

    It has triggered, so that the rest may be filled by now.
    """
    return live.filled > 0 and p.checked_at < live.changed_at + p.timing.orders_read_lag
