"""What happened, as records: subscribers, the log and the store all get these.

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
    """What every event carries.

    Args:
        at: an aware UTC datetime.
        symbol, side: whose event it is; None for one of the whole manager.
    """

    level: ClassVar[Level] = "info"

    at: datetime
    symbol: str | None = None
    side: Literal["long", "short"] | None = None


class StopOpened(_Event, frozen=True, kw_only=True, gc=False):
    """A position has a live stop: its first, or again one after it stood bare.

    Args:
        unprotected_seconds: all its bare seconds until then; `unprotected_time`: by cause.
    """

    quantity: Decimal
    price: Decimal
    client_order_id: str
    unprotected_seconds: float
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED


class StopMoved(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange acknowledged a move.

    Args:
        unprotected_seconds: the bare seconds inside it; `unprotected_time`: by cause.
    """

    previous: Decimal
    price: Decimal
    client_order_id: str
    reason: str
    unprotected_seconds: float = 0.0
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED


class OpeningFailed(_Event, frozen=True, kw_only=True, gc=False):
    """A position's protection ended without a live stop."""

    level: ClassVar[Level] = "warning"
    error: str
    unresolved: bool


class MoveFailed(_Event, frozen=True, kw_only=True, gc=False):
    """A move was not carried out; `price` was wanted."""

    level: ClassVar[Level] = "warning"
    price: Decimal
    error: str


class StopFilled(_Event, frozen=True, kw_only=True, gc=False):
    """One of the position's stops was filled, wholly or in part; `left` is the position's quantity afterwards."""

    quantity: Decimal
    price: Decimal
    left: Decimal
    client_order_id: str


class StopGone(_Event, frozen=True, kw_only=True, gc=False):
    """A stop that was live is not any more, and we did not cancel it. `reason`: the exchange's word for why, or ""."""

    level: ClassVar[Level] = "warning"
    client_order_id: str
    reason: str = ""


class NativeTrailingBegan(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange trails by itself from now on, by an order beside the plain stop, which is moved no more.

    Args:
        activation: the price from which on it trails; `callback`: how far behind the best price since, in percent.
    """

    quantity: Decimal
    activation: Decimal
    callback: Decimal
    client_order_id: str


class NativeTrailingEnded(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange does not trail by itself, or not any more: the stop is moved by us from now on.

    Args:
        client_order_id: of the order that stood; None: none was placed.
    """

    level: ClassVar[Level] = "warning"
    reason: str
    client_order_id: str | None = None


class ExitStarted(_Event, frozen=True, kw_only=True, gc=False):
    """The position is being closed at market, reduce-only."""

    level: ClassVar[Level] = "warning"
    reason: str


class ExitFilled(_Event, frozen=True, kw_only=True, gc=False):
    """A close at market was filled; `left` is the position's quantity afterwards."""

    quantity: Decimal
    price: Decimal
    left: Decimal


class ExitFailed(_Event, frozen=True, kw_only=True, gc=False):
    """A close at market did not go through, or not surely."""

    level: ClassVar[Level] = "error"
    error: str


class PositionClosed(_Event, frozen=True, kw_only=True, gc=False):
    """The position is flat and all our orders for it are gone.

    Args:
        quantity: what was reported as filled, in base units; less than the position where a fill was not reported,
            as when its stop was filled while no process ran.
        profit: in quote units, before fees; None where `quantity` is not the whole position: it is not known then.
        unprotected_seconds: all its bare seconds, those before a restart included; `unprotected_time`: by cause.
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
    """The position is no longer ours to protect; `stop_is_live` tells whether its stop was left on the exchange."""

    stop_is_live: bool


class PlanChanged(_Event, frozen=True, kw_only=True, gc=False):
    """The position goes on under another plan; both as `TrailPlan.encoded` gives them."""

    previous: dict[str, Any]
    plan: dict[str, Any]


class PeaksRead(_Event, frozen=True, kw_only=True, gc=False):
    """The peaks of a time without prices were read from the exchange's candles; with 0 candles there were none to read.

    Args:
        since, until: aware UTC; whole candles in between count, the bar in which it ended included.
        source: the price that counts.
        candles: how many there were; `missing`: seconds of that time that none of them covers.
        best: the best price of the position, now that they are taken in.
    """

    since: datetime
    until: datetime
    source: str
    candles: int
    missing: float
    best: Decimal


class StreamChanged(_Event, frozen=True, kw_only=True, gc=False):
    """The exchange's stream was lost, or is there again."""

    level: ClassVar[Level] = "warning"
    connected: bool
    detail: str = ""


class AwaitsLease(_Event, frozen=True, kw_only=True, gc=False):
    """A manager that stands by waits until nobody else owns its account; the log only has this, the store doesn't.

    Args:
        owner: who owns it, in words.
    """

    level: ClassVar[Level] = "warning"
    owner: str


class TookOver(_Event, frozen=True, kw_only=True, gc=False):
    """A manager that stood by owns its account now, and recovers. `waited`: seconds."""

    level: ClassVar[Level] = "warning"
    waited: float


class Alarm(_Event, frozen=True, kw_only=True, gc=False):
    """Somebody should look. `what` is a short constant, `detail` says more."""

    level: ClassVar[Level] = "error"
    what: str
    detail: str = ""


Event: TypeAlias = (
    StopOpened
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
