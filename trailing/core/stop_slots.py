"""The exchange's limit on stops, which may allow no second stop beside the live one.

An account may have a limited number of stops (`Market.most_stops`). If no slot is left, a move has to cancel the live
stop before it places the next one, as on a market that takes only one stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trailing.core.account import AccountSnapshot

if TYPE_CHECKING:
    from trailing.core.position import PositionState

FULL_FOR: Final = 300.0
"""Seconds for which no second stop is tried after the exchange refused one for its limit, or a list showed as many
stops. Only a try shows whether there is a slot again, because lists don't show all orders that count."""


def takes_second_stop(p: PositionState, at: float) -> bool:
    """Return whether a move may place the new stop beside the live one."""
    return p.market.two_stops and at >= p.full_until


def note_full(p: PositionState, at: float) -> None:
    """Note that the exchange refused a stop for its limit."""
    p.full_until = at + FULL_FOR


def note_listed(p: PositionState, snapshot: AccountSnapshot) -> None:
    """Note whether a snapshot lists as many stops as the account may have."""
    most = p.market.most_stops
    if most is not None and snapshot.listed_stops >= most:
        note_full(p, snapshot.answered_at)
