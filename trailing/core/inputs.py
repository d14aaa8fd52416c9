"""What a position's state is told: prices, its own requests and their answers, what the exchange pushes and reports, and
what its callers want of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from trailing.core.account import AccountSnapshot
from trailing.core.model import Candle, Fill, Position, StopOrder, Tick
from trailing.core.plan import TrailPlan
from trailing.core.requests import Request
from trailing.events import Event


class PriceSeen(msgspec.Struct, frozen=True, gc=False):
    """A price of the position's symbol that is not quiet."""

    tick: Tick


class CandleClosed(msgspec.Struct, frozen=True, gc=False):
    """A candle closed, for the rules that look at candles."""

    candle: Candle


class PricesMissed(msgspec.Struct, frozen=True, gc=False):
    """No price came in a time: its peaks are to be read. Both aware UTC."""

    since: datetime
    until: datetime


class TimePassed(msgspec.Struct, frozen=True, gc=False):
    """Time passed, and something may be due."""


class Begun(msgspec.Struct, frozen=True, gc=False):
    """A request is about to be sent, once its intent is stored. `id`: the order that it is about, or None."""

    request: Request
    id: str | None = None


class Sent(msgspec.Struct, frozen=True, gc=False):
    """The request leaves now. `request`: as it is sent, with its present figures."""

    request: Request


class Backfill(msgspec.Struct, frozen=True, gc=False):
    """The answer to `ReadCandles`: the closed candles, and the exchange's own price now."""

    candles: Sequence[Candle]
    price: Decimal


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The request under way has its answer, or failed, or was given up.

    Args:
        result: what the exchange answered: a `StopOrder` or None, a `Tick`, a `Fill` or several, a `Backfill`.
        error: what was raised, as it was raised; None: it went through, or was not sent at all.
        spread: from 0.5 to 1, by which a back-off is multiplied, so that the state has no randomness of its own.
    """

    result: StopOrder | Tick | Fill | Sequence[Fill] | Backfill | None = None
    error: Exception | None = None
    spread: float = 1.0


class OrderUpdated(msgspec.Struct, frozen=True, gc=False):
    """The exchange pushed an update of one of the symbol's orders, as `OrderUpdate` of the port."""

    id: str
    status: str
    fill: Fill | None = None
    filled: Decimal | None = None
    reason: str = ""


class PositionUpdated(msgspec.Struct, frozen=True, gc=False):
    """The exchange pushed an update of a position of the symbol.

    Args:
        quantity: 0 is flat.
        changed_at: when it changed, in seconds on the running clock: an update may come late.
        is_other_side: it is of the other side's position.
    """

    quantity: Decimal
    changed_at: float
    is_other_side: bool = False


class SnapshotTaken(msgspec.Struct, frozen=True, gc=False):
    """The account's lists were read."""

    snapshot: AccountSnapshot


class StopFound(msgspec.Struct, frozen=True, gc=False):
    """A live stop of ours was found behind the position before it was claimed."""

    order: StopOrder


class RetryNow(msgspec.Struct, frozen=True, gc=False):
    """What kept requests from the exchange is over: every kind may be tried again at once."""


class CheckWanted(msgspec.Struct, frozen=True, gc=False):
    """A caller wants a snapshot that shows the position as it is now. `successor`: it has handed in this one, of the same key."""

    successor: Position | None = None


class CloseWanted(msgspec.Struct, frozen=True, gc=False):
    """A caller wants the position closed."""

    reason: str


class ReleaseWanted(msgspec.Struct, frozen=True, gc=False):
    """A caller gives the position back. `cancel_stop`: with its stop cancelled; else the stop is left live."""

    cancel_stop: bool


class PlanReplaced(msgspec.Struct, frozen=True, gc=False):
    """The position goes on under another plan."""

    plan: TrailPlan


class DeadlineStruck(msgspec.Struct, frozen=True, gc=False):
    """The opening ended without a live stop. `final`: it was cancelled from outside and the position is given up."""

    final: bool


class EntryUnreported(msgspec.Struct, frozen=True, gc=False):
    """No snapshot came in time to check the entry by. `price`: the last known one, or None."""

    price: Decimal | None


class EntryRefused(msgspec.Struct, frozen=True, gc=False):
    """The position can't be protected as it was handed in. It is given up, and what was placed is cancelled."""

    error: Exception


class OpeningEnded(msgspec.Struct, frozen=True, gc=False):
    """The opening has ended: from now on the plan's policies count."""


class Frozen(msgspec.Struct, frozen=True, gc=False):
    """A bug in the position's own task: its stop stays where it is."""

    bug: Exception


Input: TypeAlias = (
    PriceSeen
    | CandleClosed
    | PricesMissed
    | TimePassed
    | Begun
    | Sent
    | Answered
    | OrderUpdated
    | PositionUpdated
    | SnapshotTaken
    | StopFound
    | RetryNow
    | CheckWanted
    | CloseWanted
    | ReleaseWanted
    | PlanReplaced
    | DeadlineStruck
    | EntryUnreported
    | EntryRefused
    | OpeningEnded
    | Frozen
)


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Something to publish.

    Args:
        event: the class of the event.
        fields: its fields but for time, symbol and side.
        names_orders: the open orders of the symbol are read first, and added to the field `detail`.
    """

    event: Callable[..., Event]
    fields: dict[str, Any]
    names_orders: bool = False
