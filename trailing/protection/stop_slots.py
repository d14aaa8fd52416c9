"""Keep an account within the number of stops that its exchange allows.

`trailing.core.stop_slots` decides whether a move has a slot for a second stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from trailing.core.position import PositionState
from trailing.core.requests import PlaceStop, Request, TakeDownStop
from trailing.errors import TooManyStops
from trailing.protection.clock import Clock

TELL_AGAIN: Final = 3600.0
"""The least seconds between two alarms."""


class StopSlots:
    """Reserve the slots that moves have freed, and raise an alarm when no slot is left.

    Args:
        alarm: called with the problem and its cause.

    Attributes:
        count_stops: returns how many stops the account has, ours and foreign, as far as is known.
    """

    def __init__(self, clock: Clock, alarm: Callable[[str, str], None]) -> None:
        self._clock, self._alarm = clock, alarm
        self._tell_from = -math.inf
        self._moving: set[PositionState] = set()
        self.count_stops: Callable[[], int] = lambda: 0

    def check(self, p: PositionState, request: Request) -> None:
        """Check a request before it is sent.

        Raises:
            TooManyStops: moves that have cancelled their stops need the free slots. Nothing was sent.
        """
        if isinstance(request, TakeDownStop) and p.market.two_stops:
            self._moving.add(p)
            self._tell(p)
        if not isinstance(request, PlaceStop) or not self._moving:
            return
        self._moving = {each for each in self._moving if _needs_slot(each)}
        if self._moving and p not in self._moving:
            raise TooManyStops(
                f"not sent: {len(self._moving)} stops are being moved, which need the free slots. {_most(p)}"
            )

    def note_refused(self, p: PositionState) -> None:
        """Raise an alarm because the exchange refused a stop for its limit."""
        self._tell(p)

    def _tell(self, p: PositionState) -> None:
        now = self._clock.now()
        if now < self._tell_from:
            return
        self._tell_from = now + TELL_AGAIN
        detail = (
            f"{self.count_stops()} stops are live, and conditional orders of other kinds count too. {_most(p)}: a position "
            "beyond it gets no stop, and a move cancels a stop before it places the next one. Cancel orders that are not needed"
        )
        self._alarm("the account has no slot for another stop", detail)


def _needs_slot(p: PositionState) -> bool:
    """Return whether a move has cancelled its stop, or is about to, and has not placed the next one."""
    return not p.ended and (p.taken_down is not None or isinstance(p.request, TakeDownStop))


def _most(p: PositionState) -> str:
    most = p.market.most_stops
    return "The exchange allows no more" if most is None else f"The exchange allows {most}"
