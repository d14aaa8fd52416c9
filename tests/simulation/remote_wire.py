"""The messages between a served exchange and its client: one JSON object a line, in both directions.

A time on the running clock has no meaning in another process. So every line from the server has the server's present time,
and the client moves the times in the line by the difference of the clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec

from trailing import errors
from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Candle, Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.errors import RateLimited, TrailingError
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StopRequest, StreamState, Update

T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True):
    """The server's first line: the constant attributes of the port. Other markets are unknown."""

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
        arguments: the list of the operation's arguments.
        by: the name of the client.
        sent_at: time on the machine's monotonic clock, which all its processes share.
    """

    number: int
    operation: str
    arguments: msgspec.Raw
    by: str = ""
    sent_at: float = 0.0


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result of a request. `now`: seconds on the server's clock."""

    number: int
    now: float
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The error of a request. `error`: the name of its class."""

    number: int
    error: str
    message: str
    retry_after: float | None = None

    def as_error(self) -> TrailingError:
        """Return the error."""
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
    """The types of an operation.

    Args:
        arguments: the type of the list of arguments; `result`: the type of the result.
        changes: whether the operation changes something, so that its outcome is unknown without a reply.
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
    "open_orders": Operation(tuple[str], tuple[OpenOrder, ...]),
    "cancel_order": Operation(tuple[OpenOrder], None, changes=True),
    "order_fills": Operation(tuple[str, str, datetime], tuple[Fill, ...]),
    "positions": Operation(tuple[()], tuple[PositionReport, ...]),
    "price": Operation(tuple[str, Source], Tick),
    "close_position": Operation(tuple[str, Side, Decimal, str], Fill, changes=True),
    "place_entry": Operation(tuple[EntryRequest], EntryOrder, changes=True),
    "cancel_entry": Operation(tuple[str, str], None, changes=True),
    "find_entry": Operation(tuple[str, str], EntryOrder | None),
    "entry_settings": Operation(tuple[str], EntrySettings),
    "candles": Operation(tuple[str, Source, datetime], tuple[Candle, ...]),
    "set_subscriptions": Operation(tuple[tuple[str, ...]], None),
    # In addition to the port: the stream, and the manual changes of the paper exchange.
    "subscribe": Operation(tuple[()], None),
    "enter": Operation(tuple[Position], None, changes=True),
    "feed": Operation(tuple[Tick], None, changes=True),
}
OPERATIONS: Mapping[str, Operation] = MappingProxyType(_OPERATIONS)

_UPDATES: dict[str, Any] = {
    kind.__name__: kind for kind in (Tick, OrderUpdate, EntryUpdate, PositionUpdate, StreamState)
}


def encode_line(value: object) -> bytes:
    """Encode a value as a line."""
    return msgspec.json.encode(value) + b"\n"


def encode_raw(value: object) -> msgspec.Raw:
    """Encode a value as a part of a line."""
    return msgspec.Raw(msgspec.json.encode(value))


def encode_failure(number: int, error: TrailingError) -> bytes:
    """Encode an error as a line."""
    retry_after = error.retry_after if isinstance(error, RateLimited) else None
    return encode_line(Failure(number, type(error).__name__, str(error), retry_after))


def encode_update(update: Update, now: float) -> bytes:
    """Encode an update as a line."""
    return encode_line(Pushed(type(update).__name__, now, encode_raw(update)))


def decode_update(pushed: Pushed, here: float) -> Update:
    """Decode the update of a line, and move its times to a clock that shows `here`."""
    return cast(
        "Update", on_our_clock(msgspec.json.decode(pushed.update, type=_UPDATES[pushed.kind]), here - pushed.now)
    )


def on_our_clock(value: T, by: float) -> T:
    """Return a tick, a fill or an update with its times moved by `by` seconds, and any other value unchanged."""
    if isinstance(value, OrderUpdate):
        fill = None if value.fill is None else on_our_clock(value.fill, by)
        return cast("T", msgspec.structs.replace(value, at=value.at + by, fill=fill))
    if isinstance(value, (Tick, Fill, PositionUpdate, StreamState)):
        return cast("T", msgspec.structs.replace(value, at=value.at + by))
    return value


class Lines:
    """Split received bytes into complete lines. An incomplete last line is dropped with the connection."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        *whole, self._rest = (self._rest + received).split(b"\n")
        return whole
