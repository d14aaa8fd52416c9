"""The true history of one position of a harsh world, whatever data the process received."""

from __future__ import annotations

import math
from decimal import Decimal

from trailing.core.model import Market, Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_better, is_crossed, is_tighter


class Track:
    """One position from its entry until it is flat.

    Args:
        position: as the bot entered it.
        plan, market: the plan and the market of the position.
        at: time of the entry, in seconds of the world.

    Attributes:
        best: the market's best price since the entry.
        justified: the tightest justified stop: the first one, one that a rule wants at `best`, one that was booked for us,
            or one that a person amended.
        crossed_at: time at which the market was last at or beyond `justified`; None: never.
        handed_in: whether the running process received the position from the bot or from the store.
        own: the tightest stop that was ever booked for us, or None.
        on_record: whether the store holds an open record of the position.
        was_added_to: whether a person added to the position.
        cancelled_at: time at which we last cancelled a stop of the position, in seconds of the world.
        unlisted_since: time since which the position is in neither of the manager's lists; None: it is in one.
        loosened_since: time since which the tightest live stop is looser than an earlier one of ours; None: it is not.
    """

    def __init__(self, position: Position, plan: TrailPlan, market: Market, at: float) -> None:
        self.position: Position = position
        self.entered_at: float = at
        self.best: Decimal = position.entry_price
        self.justified: Decimal = plan.first_stop(position, market)
        self.crossed_at: float | None = None
        self.handed_in: bool = False
        self.on_record: bool = False
        self.was_added_to: bool = False
        self.cancelled_at: float = -math.inf
        self.own: Decimal | None = None
        self.unlisted_since: float | None = None
        self.loosened_since: float | None = None
        self._plan, self._market = plan, market
        self._last: Decimal = position.entry_price
        self._proposes = [plan.bind(position.side, position.entry_price, market.price_tick)]

    @property
    def key(self) -> tuple[str, Side]:
        """Symbol and side."""
        return self.position.symbol, self.position.side

    def take_price(self, price: Decimal, at: float) -> None:
        """Take a price of the market."""
        self._last = price
        if is_better(self.position.side, price, self.best):
            self.best = price
            self._ask_rules()
        self._note_crossing(at)

    def _note_crossing(self, at: float) -> None:
        if is_crossed(self.position.side, self._last, self.justified):
            self.crossed_at = at

    def entered(self, position: Position, at: float) -> None:
        """Take a further fill of the entry. The process may still use the average price of before.

        The last price may be beyond the stop that the new average price justifies.
        """
        self.position = position
        self._proposes.append(self._plan.bind(position.side, position.entry_price, self._market.price_tick))
        self.note_stop(self._plan.first_stop(position, self._market))
        if is_better(position.side, position.entry_price, self.best):
            self.best = position.entry_price
        self._ask_rules()
        self._note_crossing(at)

    def _ask_rules(self) -> None:
        for propose in self._proposes:
            proposal = propose(self.best, ())
            if proposal is not None:
                self.note_stop(proposal)

    def note_stop(self, price: Decimal, *, ours: bool = False) -> None:
        """Take a justified stop: a booked one, an amended one, or one that a rule wants."""
        side = self.position.side
        if is_tighter(side, price, than=self.justified):
            self.justified = price
        if ours and (self.own is None or is_tighter(side, price, than=self.own)):
            self.own = price

    def forget(self) -> None:
        """Reset the state of the process, which from now on treats the position as another one."""
        self.handed_in = self.on_record = False
        self.own = self.loosened_since = None
