"""What truly happened to one position of a harsh world, whatever the process was shown of it."""

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
        plan, market: by which the process protects it.
        at: when it was entered, in seconds of the world.

    Attributes:
        best: the best price that the market had since the entry.
        justified: the tightest stop that is justified: the first one, one that a rule wants at `best`, one that was
            booked for us, or one that a person amended.
        crossed_at: when the market was last at or beyond `justified`; None: never.
        handed_in: whether the process that lives now was given the position, or found it in the store.
        own: the tightest stop that was ever booked for us; None: there was none.
        on_record: whether the store holds an open record of it.
        was_added_to: whether somebody added to it from outside.
        cancelled_at: when we last cancelled a stop of it, in seconds of the world.
        unlisted_since: since when it is in neither of the manager's lists; None: it is in one.
        loosened_since: since when its tightest stop is looser than one of ours was; None: it is not.
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
        self._propose = plan.bind(position.side, position.entry_price, market.price_tick)

    @property
    def key(self) -> tuple[str, Side]:
        """Symbol and side."""
        return self.position.symbol, self.position.side

    def take_price(self, price: Decimal, at: float) -> None:
        """Take a price of the market."""
        if is_better(self.position.side, price, self.best):
            self.best = price
            proposal = self._propose(price, ())
            if proposal is not None:
                self.note_stop(proposal)
        if is_crossed(self.position.side, price, self.justified):
            self.crossed_at = at

    def note_stop(self, price: Decimal, *, ours: bool = False) -> None:
        """Take a stop that is justified: a booked one, an amended one, or one that a rule wants."""
        side = self.position.side
        if is_tighter(side, price, than=self.justified):
            self.justified = price
        if ours and (self.own is None or is_tighter(side, price, than=self.own)):
            self.own = price

    def forget(self) -> None:
        """The process takes it for another position from now on, which it was not given and never had a stop for."""
        self.handed_in = self.on_record = False
        self.own = self.loosened_since = None
