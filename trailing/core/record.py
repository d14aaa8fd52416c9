"""What is kept of a position: everything that restoring it needs, its plan included.

A record holds UTC times and elapsed seconds, never the clock's own readings: the clock starts anywhere in each process.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from trailing.core.model import Candle, Position, StopOrder
from trailing.exposure import UNEXPOSED, Exposure


class StopRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A `TrailingStop` as saved.

    Args:
        plan: the plan, as `trailing.core.plan.encode_plan` gives it.
        state: the word of the state, as in the table of states.
        quantity: what is left of the position, in base units, at least 0.
        best: the best price so far.
        last: the last price that was believed.
        suspect: a price too far from the last one, which the next one has to confirm.
        target: the tightest stop that was ever wanted.
        trailed: whether a rule's stop was ever acknowledged.
        orders: the stops that are live as far as the exchange said, the one that counts last.
        asked: the stop of a move under way.
        since_move, since_crossing: seconds from those to the moment of saving, rounded to microseconds; None: not so.
        due_in: seconds from the moment of saving until `due_at`; None: not so.
        early: what was filled of orders whose acknowledgement has not come yet, by client order id.
        candles: the closed candles that the rules look at.
        foreign_ticks: ticks of a source that is not the plan's.
        reported_entry: the entry price as the exchange last reported it; None: it never did.
        given_up: it was closed although it is open, perhaps: no stop could be placed.
        first_price: the initial stop, which a later plan does not change; None: it is that of `plan`.
        native: the exchange's own trailing order, which is live as far as the exchange said; or None.
        native_task: what is to be done about it, as `TrailingStop.native_task`.
        saved_at: the time of day of saving, aware UTC; None: not told.
        exposure: all its bare seconds until then, by cause.
        heard_until: up to this time of day, aware UTC, every price is in `best`; None: not told.
        moves: how often its stop was moved.
        filled, proceeds: what was closed of it, in base units and in quote units.

    From `exposure` on they are the shell's, which measures them: a stop knows nothing of it.
    """

    position: Position
    plan: dict[str, Any]
    state: str
    quantity: Decimal
    best: Decimal
    last: Decimal
    suspect: Decimal | None
    target: Decimal
    trailed: bool
    orders: tuple[StopOrder, ...]
    asked: Decimal | None
    since_move: float | None
    since_crossing: float | None
    due_in: float | None
    early: dict[str, Decimal]
    candles: tuple[Candle, ...]
    foreign_ticks: int
    reported_entry: Decimal | None = None
    given_up: bool = False
    first_price: Decimal | None = None
    native: StopOrder | None = None
    native_task: Literal["place", "withdraw", "replace"] | None = None
    saved_at: datetime | None = None
    exposure: Exposure = UNEXPOSED
    heard_until: datetime | None = None
    moves: int = 0
    filled: Decimal = Decimal(0)
    proceeds: Decimal = Decimal(0)
