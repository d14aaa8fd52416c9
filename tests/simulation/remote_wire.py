"""What goes over the line between a served exchange and its client: one JSON object a line, each way.

A time on the running clock means nothing in another process. So every line from the server says what its clock showed,
and the client moves the times in it by the difference: what was just past there is just past here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec

from trailing import errors
from trailing.core.account import PositionReport
from trailing.core.model import Candle, Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.errors import RateLimited, TrailingError
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest, StreamState, Update

T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True):
    """The server's first line: what the port answers without asking. A market that is not in it is unknown."""

    name: str
    account: str
    hedged: bool
    orders_read_lag: float
    positions_read_lag: float
    request_validity: float
    markets: tuple[Market, ...]


class Call(msgspec.Struct, frozen=True):
    """A request.

    Args:
        arguments: a list, as the operation has them.
        by: the name of the client.
        sent_at: by the machine's monotonic clock, which all its processes share.
    """

    number: int
    operation: str
    arguments: msgspec.Raw
    by: str = ""
    sent_at: float = 0.0


class Answer(msgspec.Struct, frozen=True, tag=True):
    """What came of a request. `now`: seconds on the server's clock."""

    number: int
    now: float
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The error that a request ended with. `error`: the name of its class."""

    number: int
    error: str
    message: str
    retry_after: float | None = None

    def as_error(self) -> TrailingError:
        """The error itself."""
        if self.retry_after is not None:
            return RateLimited(self.message, retry_after=self.retry_after)
        kind: Any = getattr(errors, self.error, None)
        if isinstance(kind, type) and issubclass(kind, TrailingError):
            return kind(self.message)
        return TrailingError(f"{self.error}: {self.message}")


class Pushed(msgspec.Struct, frozen=True, tag=True):
    """An update. `kind`: the name of its class; `now`: seconds on the server's clock."""

    kind: str
    now: float
    update: msgspec.Raw


class Operation(msgspec.Struct, frozen=True):
    """What can be asked.

    Args:
        arguments: the type of the list of arguments; `result`: of the answer.
        changes: whether it matters that it may have been carried out when no answer came.
    """

    arguments: Any
    result: Any
    changes: bool = False


_OPERATIONS: dict[str, Operation] = {
    "place_stop": Operation(tuple[StopRequest], StopOrder, changes=True),
    "amend_stop": Operation(tuple[StopOrder, Decimal, Decimal], StopOrder, changes=True),
    "cancel_stop": Operation(tuple[StopOrder], None, changes=True),
    "find_stop": Operation(tuple[str, str], StopOrder | None),
    "open_stops": Operation(tuple[()], tuple[StopOrder, ...]),
    "positions": Operation(tuple[()], tuple[PositionReport, ...]),
    "price": Operation(tuple[str, Source], Tick),
    "close_position": Operation(tuple[str, Side, Decimal, str], Fill, changes=True),
    "candles": Operation(tuple[str, Source, datetime], tuple[Candle, ...]),
    "set_subscriptions": Operation(tuple[tuple[str, ...]], None),
    # Beyond the port: the stream, and the paper exchange's hands.
    "subscribe": Operation(tuple[()], None),
    "enter": Operation(tuple[Position], None, changes=True),
    "feed": Operation(tuple[Tick], None, changes=True),
}
OPERATIONS: Mapping[str, Operation] = MappingProxyType(_OPERATIONS)

_UPDATES: dict[str, Any] = {kind.__name__: kind for kind in (Tick, OrderUpdate, PositionUpdate, StreamState)}


def encode_line(value: object) -> bytes:
    """A value as a line."""
    return msgspec.json.encode(value) + b"\n"


def encode_raw(value: object) -> msgspec.Raw:
    """A value as a part of a line."""
    return msgspec.Raw(msgspec.json.encode(value))


def encode_failure(number: int, error: TrailingError) -> bytes:
    """An error as a line."""
    retry_after = error.retry_after if isinstance(error, RateLimited) else None
    return encode_line(Failure(number, type(error).__name__, str(error), retry_after))


def encode_update(update: Update, now: float) -> bytes:
    """An update as a line."""
    return encode_line(Pushed(type(update).__name__, now, encode_raw(update)))


def decode_update(pushed: Pushed, here: float) -> Update:
    """The update of a line, its times moved to a clock that shows `here`."""
    return cast(
        "Update", on_our_clock(msgspec.json.decode(pushed.update, type=_UPDATES[pushed.kind]), here - pushed.now)
    )


def on_our_clock(value: T, by: float) -> T:
    """A tick, a fill or an update with its times moved by so many seconds; anything else as it is."""
    if isinstance(value, OrderUpdate):
        fill = None if value.fill is None else on_our_clock(value.fill, by)
        return cast("T", msgspec.structs.replace(value, at=value.at + by, fill=fill))
    if isinstance(value, (Tick, Fill, PositionUpdate, StreamState)):
        return cast("T", msgspec.structs.replace(value, at=value.at + by))
    return value


class Lines:
    """Cuts what is received into whole lines; what is left without an end is dropped with the connection."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[bytes]:
        """The lines that are whole by now."""
        *whole, self._rest = (self._rest + received).split(b"\n")
        return whole
