"""Events: records of what happened, for subscribers, the log and the store.

An event is telemetry. Publishing one never blocks and never fails protection.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The fields that every event has.

    Args:
        at: an aware UTC datetime.
        symbol, side: of the position; None for an event of the whole manager.
    """

    level: ClassVar[Level] = "info"

    at: datetime
    symbol: str | None = None
    side: Literal["long", "short"] | None = None


class EntryPlaced(_Event, frozen=True, kw_only=True, gc=False):
    """The order that opens a position was sent. Its outcome is not known yet.

    Args:
        quantity: in base units.
        limit: the worst price to accept; None: at market.
    """

    quantity: Decimal
    limit: Decimal | None
    client_order_id: str


class EntryFilled(_Event, frozen=True, kw_only=True, gc=False):
    """A part of an entry was filled. The position begins with the first part, and each further one enlarges it.

    Args:
        quantity: of this part, in base units.
        price: the average price of all parts so far.
        unfilled: the rest of the entry, in base units.
    """

    quantity: Decimal
    price: Decimal
    unfilled: Decimal
    client_order_id: str


class EntryEnded(_Event, frozen=True, kw_only=True, gc=False):
    """Nothing more of an entry is filled. The exchange has confirmed that, or the entry was never sent.

    Args:
        filled: in base units; 0: there is no position.
        unfilled: the rest, in base units.
        price: the average price of the fills; None: nothing was filled.
        slippage: how much worse `price` is than the limit, or than the market price before the order was sent, in percent;
            below 0: it is better. None: nothing was filled.
        reason: why the exchange ended it, in the exchange's words; "": it stated none.
    """

    filled: Decimal
    unfilled: Decimal
    price: Decimal | None
    slippage: Decimal | None
    reason: str
    client_order_id: str


class StopOpened(_Event, frozen=True, kw_only=True, gc=False):
    """A position has a live stop: its first, or a new one after it was unprotected.

    Args:
        quantity, price: of the stop, in base units and quote units.
        client_order_id: of the stop.
        unprotected_seconds: the seconds until then in which the position was unprotected; `unprotected_time`: by cause.
    """

    quantity: Decimal
    price: Decimal
    client_order_id: str
    unprotected_seconds: float
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED


class StopMoved(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange acknowledged a move of a stop.

    Args:
        previous, price: where the stop was and where it is now, in quote units.
        client_order_id: of the stop that is live now.
        reason: the rule that moved it, or another cause in words.
        unprotected_seconds: the unprotected seconds during the move; `unprotected_time`: by cause.
    """

    previous: Decimal
    price: Decimal
    client_order_id: str
    reason: str
    unprotected_seconds: float = 0.0
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED


class OpeningFailed(_Event, frozen=True, kw_only=True, gc=False):
    """No stop could be placed for a position, so that it has no live stop.

    It is published when the opening ends without a stop, and when the position is given up.

    Args:
        error: the last error, in words.
        unresolved: whether the outcome of an order is still unknown, so that a stop may exist. It is looked up.
        given_up: whether nothing more is tried; False: a stop is tried again, as the plan says.
    """

    level: ClassVar[Level] = "warning"
    error: str
    unresolved: bool
    given_up: bool = False


class MoveFailed(_Event, frozen=True, kw_only=True, gc=False):
    """A move of a stop failed. `price`: where the stop should have moved; `error`: why, in words."""

    level: ClassVar[Level] = "warning"
    price: Decimal
    error: str


class StopFilled(_Event, frozen=True, kw_only=True, gc=False):
    """A stop of the position was filled, whole or in part. `left`: the position's quantity afterwards, in base units."""

    quantity: Decimal
    price: Decimal
    left: Decimal
    client_order_id: str


class StopGone(_Event, frozen=True, kw_only=True, gc=False):
    """A live stop has gone, and we did not cancel it. `reason`: the exchange's own reason, or ""."""

    level: ClassVar[Level] = "warning"
    client_order_id: str
    reason: str = ""


class NativeTrailingBegan(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange trails by itself from now on. The plain stop beside its order stays where it is.

    Args:
        quantity: of the trailing order, in base units.
        activation: the price from which on the order trails; `callback`: its distance behind the best price since, in
            percent.
        client_order_id: of the trailing order.
    """

    quantity: Decimal
    activation: Decimal
    callback: Decimal
    client_order_id: str


class NativeTrailingEnded(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange does not trail (any more), so that the manager moves the stop from now on.

    Args:
        reason: why, in words.
        client_order_id: of the order that was live; None: none was placed.
    """

    level: ClassVar[Level] = "warning"
    reason: str
    client_order_id: str | None = None


class ExitStarted(_Event, frozen=True, kw_only=True, gc=False):
    """A close of the position at market, reduce-only, has started. `reason`: why, in words."""

    level: ClassVar[Level] = "warning"
    reason: str


class ExitFilled(_Event, frozen=True, kw_only=True, gc=False):
    """A close at market was filled. `left`: the position's quantity afterwards, in base units."""

    quantity: Decimal
    price: Decimal
    left: Decimal


class ExitFailed(_Event, frozen=True, kw_only=True, gc=False):
    """A close at market failed, or its outcome is unknown. `error`: why, in words."""

    level: ClassVar[Level] = "error"
    error: str


class PositionClosed(_Event, frozen=True, kw_only=True, gc=False):
    """The position is flat, and none of our orders for it is live.

    Args:
        entry_price: in quote units.
        quantity: the sum of the known fills, in base units. A fill that no update reported, for example because no process ran, is
            read from the exchange's own trades. The sum is less than the position if that was not possible, or if the position was
            closed by orders that are not ours.
        profit: in quote units, before fees; None if it is not known, because `quantity` is not the whole position.
        moves: how often the stop was moved.
        unprotected_seconds: all its unprotected seconds, those before a restart included; `unprotected_time`: by cause.
        reason: how it ended, in words.
    """

    entry_price: Decimal
    quantity: Decimal
    profit: Decimal | None
    moves: int
    unprotected_seconds: float
    reason: str
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED

    def __post_init__(self) -> None:
        if not self.quantity:  # events of older versions have a profit of 0 then
            msgspec.structs.force_setattr(self, "profit", None)


class PositionReleased(_Event, frozen=True, kw_only=True, gc=False):
    """The manager no longer protects the position. `stop_is_live`: whether its stop was left live on the exchange."""

    stop_is_live: bool


class PlanChanged(_Event, frozen=True, kw_only=True, gc=False):
    """The position has another plan. `previous`, `plan`: both plans, as returned by `TrailPlan.encoded`."""

    previous: dict[str, Any]
    plan: dict[str, Any]


class PeaksRead(_Event, frozen=True, kw_only=True, gc=False):
    """The peaks of a price gap were read from the exchange's candles.

    Args:
        since: the time from which on candles were read, aware UTC: one minute before the gap began, but not before the position
            was opened. If none could show the gap, the time when it began.
        until: when the gap ended, aware UTC. The candle in which it ended counts, too.
        source: the price source of the plan.
        candles: how many candles were read; 0: there were none to read.
        missing: seconds from `since` until the end of the gap that no candle covers.
        best: the best price of the position, with these candles.
    """

    since: datetime
    until: datetime
    source: str
    candles: int
    missing: float
    best: Decimal


class StreamChanged(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange's stream was lost, is connected again, or brought an update that could not be read.

    Args:
        connected: whether the stream is connected. After an update that could not be read it is True.
        detail: more in words, or "".
    """

    level: ClassVar[Level] = "warning"
    connected: bool
    detail: str = ""


class AwaitsLease(_Event, frozen=True, kw_only=True, gc=False):
    """A standby waits for the lease of its account. This event is only in the log, not in the store.

    Args:
        owner: the present owner, in words.
    """

    level: ClassVar[Level] = "warning"
    owner: str


class TookOver(_Event, frozen=True, kw_only=True, gc=False):
    """A standby owns its account now, and recovers. `waited`: seconds."""

    level: ClassVar[Level] = "warning"
    waited: float


class Alarm(_Event, frozen=True, kw_only=True, gc=False):
    """Something needs a person's attention. `what`: a short constant; `detail`: more in words, or ""."""

    level: ClassVar[Level] = "error"
    what: str
    detail: str = ""


Event: TypeAlias = (
    EntryPlaced
    | EntryFilled
    | EntryEnded
    | StopOpened
    | StopMoved
    | OpeningFailed
    | MoveFailed
    | StopFilled
    | StopGone
    | NativeTrailingBegan
    | NativeTrailingEnded
    | ExitStarted
    | ExitFilled
    | ExitFailed
    | PositionClosed
    | PositionReleased
    | PlanChanged
    | PeaksRead
    | StreamChanged
    | AwaitsLease
    | TookOver
    | Alarm
)
