"""The inputs of a position's state.

They are prices, its own requests and their answers, pushed updates, snapshots, and the commands of its callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from trailing.core.account import AccountSnapshot
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Candle, Fill, Position, StopOrder, Tick
from trailing.core.plan import TrailPlan
from trailing.core.requests import Request
from trailing.events import Event


class PriceSeen(msgspec.Struct, frozen=True, gc=False):
    """A price of the position's symbol that `Ratchet.take_if_quiet` did not take."""

    tick: Tick


class CandleClosed(msgspec.Struct, frozen=True, gc=False):
    """A candle closed, for the rules that use candles."""

    candle: Candle


class PricesMissed(msgspec.Struct, frozen=True, gc=False):
    """A price gap has ended, and its peaks are to be read.

    Args:
        since, until: aware UTC.
    """

    since: datetime
    until: datetime


class TimePassed(msgspec.Struct, frozen=True, gc=False):
    """Time passed, and something may be due."""


class Begun(msgspec.Struct, frozen=True, gc=False):
    """A request is about to be sent. The intent of one that `writes` is stored first.

    Args:
        id: the client order id of the order that it is about; None: it is about none.
    """

    request: Request
    id: str | None = None


class Sent(msgspec.Struct, frozen=True, gc=False):
    """The request under way is sent now.

    Args:
        request: as it is sent, with its present figures.
    """

    request: Request


class Backfill(msgspec.Struct, frozen=True, gc=False):
    """The answer to `ReadCandles`: the closed candles, and the exchange's own price now."""

    candles: Sequence[Candle]
    tick: Tick


Result: TypeAlias = StopOrder | Tick | Fill | Sequence[Fill] | Backfill | EntryOrder | None
"""The exchange's answer to a request; None: it has none, or what was looked up does not exist."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The request under way was answered, failed, was abandoned, or was not sent.

    Args:
        result: the exchange's answer.
        error: the error that was raised; None: the request succeeded, or was not sent at all.
        spread: the factor of a back-off, from 0.5 to 1. It is an input so that the state has no randomness of its own.
    """

    result: Result = None
    error: Exception | None = None
    spread: float = 1.0


class OrderUpdated(msgspec.Struct, frozen=True, gc=False):
    """The exchange pushed an update of an order of the position's symbol and side.

    Args:
        id: our client order id.
        status, fill, filled, reason: as in `OrderUpdate` of the port.
    """

    id: str
    status: str
    fill: Fill | None = None
    filled: Decimal | None = None
    reason: str = ""


class EntryUpdated(msgspec.Struct, frozen=True, gc=False):
    """The exchange pushed an update of the position's entry. It may come late, again, or out of order."""

    order: EntryOrder


class PositionUpdated(msgspec.Struct, frozen=True, gc=False):
    """The exchange pushed an update of a position of the symbol.

    Args:
        quantity: in base units; 0: the position is flat.
        changed_at: `PositionUpdate.at` of the port, in seconds on the running clock. An update may come late.
        is_other_side: whether it is an update of the other side's position.
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
    """Every kind of request may be tried again at once, without its back-off."""


class CheckWanted(msgspec.Struct, frozen=True, gc=False):
    """A snapshot is wanted that shows the position as it is now.

    The reason is that an update may have been missed.

    Args:
        successor: another position of the same key that a caller has handed in; None: none was.
        is_resumed: work on the position begins again, so that nothing has waited for a snapshot yet.
    """

    successor: Position | None = None
    is_resumed: bool = False


class CloseWanted(msgspec.Struct, frozen=True, gc=False):
    """A caller wants the position closed."""

    reason: str


class ReleaseWanted(msgspec.Struct, frozen=True, gc=False):
    """A caller gives the position back.

    Args:
        cancel_stop: whether its stop is cancelled. Otherwise the stop is left live.
    """

    cancel_stop: bool


class PlanReplaced(msgspec.Struct, frozen=True, gc=False):
    """The position goes on under another plan."""

    plan: TrailPlan


class DeadlineStruck(msgspec.Struct, frozen=True, gc=False):
    """The deadline of the opening passed, or the opening was cancelled from outside.

    Args:
        final: whether it was cancelled from outside. The position is given up then, if `on_wave_cancelled` is
            ``"withdraw"``.
    """

    final: bool


class EntryUnreported(msgspec.Struct, frozen=True, gc=False):
    """The entry is checked without a snapshot.

    Either none came in time, or the position was handed in as a snapshot just showed it.

    Args:
        price: the last known one, by which the entry is checked; None: nothing is checked.
    """

    price: Decimal | None


class EntryRefused(msgspec.Struct, frozen=True, gc=False):
    """The position can't be protected as it was handed in. It is given up, and its orders are cancelled."""

    error: Exception


class OpeningEnded(msgspec.Struct, frozen=True, gc=False):
    """The opening has ended. The plan's policies count from now on."""


class Frozen(msgspec.Struct, frozen=True, gc=False):
    """The position's task failed by a bug, or failed to take a tick. Its stop stays where it is."""

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
    | EntryUpdated
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
    """An event to publish.

    Args:
        event: the class of the event.
        fields: the fields of the event except time, symbol and side.
        names_orders: whether the open orders of the symbol are read first, and named in the field `detail`.
    """

    event: Callable[..., Event]
    fields: dict[str, Any]
    names_orders: bool = False
