"""The JSON of records, intents and events, the same in every store.

Money is written as text, so that it is read exactly, and times of day as ISO-8601 in UTC. Decoding validates values as their
constructors do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from trailing.core.model import check_utc
from trailing.core.record import StopRecord
from trailing.errors import StoreError, UsageError
from trailing.events import Event
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

T = TypeVar("T")

_OTHER_WRITES = (SaveStop, SettleIntent, CloseStop)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_ENCODER = msgspec.json.Encoder()
STOP = msgspec.json.Decoder(StopRecord)
INTENT = msgspec.json.Decoder(Intent)
EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def check_entries(entries: Iterable[StoreWrite]) -> None:
    """Check that each entry is a `StoreWrite` whose time is aware UTC.

    Raises:
        StoreError: naming the type of the entry. The store was not asked.
    """
    for entry in entries:
        if isinstance(entry, AppendEvent):
            _check_time(entry.event)
        elif isinstance(entry, AddIntent):
            _check_time(entry.intent)
        elif not isinstance(entry, _OTHER_WRITES):
            raise StoreError(f"{type(entry).__name__} is not a StoreWrite")


def _check_time(value: Intent | Event) -> None:
    try:
        check_utc("at", value.at)
    except UsageError as error:
        raise StoreError(f"{type(value).__name__}.{error}") from error


def encode(value: StopRecord | Intent | Event) -> bytes:
    """Return the JSON text of a value, in UTF-8. Raises StoreError if a part of it has no JSON form."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise StoreError(f"a {type(value).__name__} can't be encoded: {error}") from error


def decode(decoder: msgspec.json.Decoder[T], text: Any, where: str) -> T:
    """Return the value of a JSON text.

    Args:
        where: table and key of the row, for the error.

    Raises:
        StoreError: naming the row, and the field if one is wrong.
    """
    try:
        return decoder.decode(text)
    except (TypeError, msgspec.MsgspecError) as error:
        raise StoreError(f"{where} can't be read: {error}") from error


def microseconds(at: datetime) -> int:
    """Return the exact number of microseconds from 1970 to an aware datetime."""
    return (at - _EPOCH) // _MICROSECOND
