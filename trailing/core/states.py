"""The state of a position, as reports, records and the store name it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from trailing.core.goals import Close, End
from trailing.core.prices import is_tighter

if TYPE_CHECKING:
    from trailing.core.position import PositionState


class State(StrEnum):
    """The state of a position, as reports name it. No decision depends on it."""

    ENTERING = "entering"
    OPENING = "opening"
    WAITING = "waiting"
    TRAILING = "trailing"
    EXITING = "exiting"
    UNRESOLVED = "unresolved"
    UNPROTECTED = "unprotected"
    CLOSED = "closed"


def state_of(p: PositionState) -> State:
    """Return the state of a position."""
    if p.ended:
        return State.CLOSED
    if p.has_unknown or (p.exit_sent and p.request is None):
        return State.UNRESOLVED
    if p.is_entering and not p.quantity:
        return State.ENTERING
    if isinstance(p.goal, (Close, End)) or not p.quantity:
        return State.EXITING
    if p.live is not None:
        floor = p.floor
        moved = floor is not None and is_tighter(p.position.side, floor, p.ratchet.first_stop)
        return State.TRAILING if moved else State.WAITING
    return State.OPENING if p.is_opening and p.error is None else State.UNPROTECTED
