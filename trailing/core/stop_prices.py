"""Choose the price of the next stop: the target, or what can be placed of it, and when pacing lets it be sent."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trailing.core.orders import Order
from trailing.core.prices import IS_AHEAD, is_crossed, is_tighter

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def standing(p: PositionState, live: Order) -> Decimal:
    """Return the price of the live stop, as requested or as shown, whichever is tighter."""
    shown, asked = live.order, live.price
    assert shown is not None
    return asked if asked is not None and is_tighter(p.position.side, asked, shown.price) else shown.price


def looser_target(p: PositionState) -> Decimal | None:
    """Return the looser of the plan's stop and the floor. None: there is no floor, or both are equal."""
    floor, planned = p.floor, p.ratchet.target
    if floor is None or floor == planned:
        return None
    return floor if is_tighter(p.position.side, planned, floor) else planned


def reachable_target(p: PositionState, *, refused: Decimal | None = None) -> Decimal:
    """Return the target, or a looser stop if the target can't be placed.

    It can't be placed if the price is beyond it or if the exchange refused it. The looser stop is the tightest earlier
    one between the target and the fallback that can be placed, or else the fallback, which is the looser of the plan's
    stop and the floor.

    Args:
        refused: the price that the exchange refused; None: none.
    """
    target, last, side = p.target, p.ratchet.last, p.position.side
    if target != refused and not is_crossed(side, last, target):
        return target
    looser = looser_target(p)
    if looser is None:
        return target
    ended = (
        order.order.price for order in p.ended_orders.values() if order.purpose == "stop" and order.order is not None
    )
    for before in (*p.former_floors, *ended):
        is_between = is_tighter(side, before, looser) and is_tighter(side, target, before)
        if is_between and before != refused and not is_crossed(side, last, before):
            looser = before
    return looser


def pacing_wait(p: PositionState, live: Order, target: Decimal, at: float) -> float | None:
    """Return the seconds for which a move to a target has to wait.

    0.0: the move may be sent now. None: it gains too little, or nothing.
    """
    current, side = standing(p, live), p.position.side
    if not IS_AHEAD[side](target, current):
        return None
    if p.floor is not None and is_tighter(side, p.floor, current):
        return 0.0  # a person loosened the stop on the exchange
    pacing = p.plan.pacing
    if pacing.is_immediate:
        return 0.0
    return pacing.wait(None if p.moved_at is None else at - p.moved_at, current, target)
