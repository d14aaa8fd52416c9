"""The requests of a position to its exchange, one at a time.

`trailing.core.next_request` chooses them.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Final, Literal, TypeAlias, get_args

import msgspec

from trailing.core.model import Percent

Kind: TypeAlias = Literal["place", "move", "cancel", "find", "price", "close", "native", "candles", "fills", "entry"]
"""The kind of a request. Requests of one kind back off together after a failure, and never wait for another kind's
back-off."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class _Request(msgspec.Struct, frozen=True, gc=False):
    """The base of every request.

    Attributes:
        kind: the kind that it backs off with.
        writes: whether it may create or change an order, so that its intent is stored first.
        creates: whether it places an order under a new client order id.
    """

    kind: ClassVar[Kind]
    writes: ClassVar[bool] = False
    creates: ClassVar[bool] = False


class _Placing(_Request, frozen=True, gc=False):
    """A request that places an order."""

    writes: ClassVar[bool] = True
    creates: ClassVar[bool] = True


class PlaceStop(_Placing, frozen=True, gc=False):
    """Place a stop behind a position that has none."""

    kind: ClassVar[Kind] = "place"

    price: Decimal
    quantity: Decimal

    def __str__(self) -> str:
        return f"place a stop: {self.quantity} at {self.price}"


class ReplaceStop(_Placing, frozen=True, gc=False):
    """Place a stop beside the live one that it replaces.

    The replaced one is cancelled afterwards.
    """

    kind: ClassVar[Kind] = "move"

    price: Decimal
    quantity: Decimal
    replaces: str

    def __str__(self) -> str:
        return f"place a stop in place of {self.replaces}: {self.quantity} at {self.price}"


class AmendStop(_Request, frozen=True, gc=False):
    """Change a live stop in place."""

    kind: ClassVar[Kind] = "move"
    writes: ClassVar[bool] = True

    id: str
    price: Decimal
    quantity: Decimal

    def __str__(self) -> str:
        return f"amend its stop {self.id}: {self.quantity} at {self.price}"


class TakeDownStop(_Request, frozen=True, gc=False):
    """Cancel the live stop to place another, because the exchange takes no second one."""

    kind: ClassVar[Kind] = "move"

    id: str

    def __str__(self) -> str:
        return f"cancel its stop {self.id} to place another one"


class CancelStop(_Request, frozen=True, gc=False):
    """Cancel an order that is not wanted any more."""

    kind: ClassVar[Kind] = "cancel"

    id: str
    why: str

    def __str__(self) -> str:
        return f"cancel {self.id}: {self.why}"


class FindOrder(_Request, frozen=True, gc=False):
    """Look up an order by its id."""

    kind: ClassVar[Kind] = "find"

    id: str

    def __str__(self) -> str:
        return f"look {self.id} up"


class ReadPrice(_Request, frozen=True, gc=False):
    """Read the exchange's own price, which alone confirms a crossing or a jump."""

    kind: ClassVar[Kind] = "price"

    why: Literal["crossing", "jump"]

    def __str__(self) -> str:
        return f"read the price to confirm a {self.why}"


class ClosePosition(_Placing, frozen=True, gc=False):
    """Close the rest of the position at market, reduce-only."""

    kind: ClassVar[Kind] = "close"

    quantity: Decimal
    reason: str

    def __str__(self) -> str:
        return f"close {self.quantity} at market: {self.reason}"


class PlaceNative(_Placing, frozen=True, gc=False):
    """Place the exchange's own trailing order beside the plain stop."""

    kind: ClassVar[Kind] = "native"

    activation: Decimal
    callback: Percent
    quantity: Decimal

    def __str__(self) -> str:
        return f"place a trailing order: {self.quantity} from {self.activation} on"


class ReadCandles(_Request, frozen=True, gc=False):
    """Read the candles of a price gap, and the exchange's own price."""

    kind: ClassVar[Kind] = "candles"

    since: datetime

    def __str__(self) -> str:
        return f"read the candles since {self.since:%Y-%m-%d %H:%M:%S}"


class ReadFills(_Request, frozen=True, gc=False):
    """Read the executions of an order, for the profit of a position that has ended."""

    kind: ClassVar[Kind] = "fills"

    id: str
    since: datetime

    def __str__(self) -> str:
        return f"read the executions of {self.id}"


class PlaceEntry(_Request, frozen=True, gc=False):
    """Place the order that opens the position. It is executed at most once.

    Args:
        id: its client order id, which was stored with the entry.
        limit: the worst price to accept; None: at market.
        stop: the trigger price of the stop that it carries; None: it carries none.
    """

    kind: ClassVar[Kind] = "entry"
    writes: ClassVar[bool] = True

    id: str
    quantity: Decimal
    limit: Decimal | None
    stop: Decimal | None

    def __str__(self) -> str:
        price = "at market" if self.limit is None else f"at {self.limit} or better"
        return f"enter: {self.quantity} {price}"


class CancelEntry(_Request, frozen=True, gc=False):
    """Cancel what is not filled of the entry."""

    kind: ClassVar[Kind] = "entry"

    id: str

    def __str__(self) -> str:
        return f"cancel the rest of its entry {self.id}"


class FindEntry(_Request, frozen=True, gc=False):
    """Look up the entry by its id."""

    kind: ClassVar[Kind] = "find"

    id: str

    def __str__(self) -> str:
        return f"look its entry {self.id} up"


Request: TypeAlias = (
    PlaceStop
    | ReplaceStop
    | AmendStop
    | TakeDownStop
    | CancelStop
    | FindOrder
    | ReadPrice
    | ClosePosition
    | PlaceNative
    | ReadCandles
    | ReadFills
    | PlaceEntry
    | CancelEntry
    | FindEntry
)

ENTRY_REQUESTS: Final = (PlaceEntry, CancelEntry, FindEntry)
"""The requests about the entry of a position."""
