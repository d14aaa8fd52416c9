"""What `trailing` needs of a store: the port that memory, SQLite and Postgres implement.

Three tables: `stops` (one row per position, all that restoring it needs), `intents` (client order ids that may exist
on the exchange) and `events` (append-only).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

import msgspec

from trailing.core.model import Side
from trailing.core.record import StopRecord
from trailing.events import Event


class Intent(msgspec.Struct, frozen=True, gc=False):
    """An order that may exist on the exchange, written down before it can.

    Args:
        purpose: ``"stop"`` for a stop, placed or replaced; ``"exit"`` for a reduce-only close at market.
        price: the trigger price; None for an exit.
        identity: `Position.identity` of the position that it is for.
        at: an aware UTC datetime.
    """

    exchange: str
    account: str
    symbol: str
    side: Side
    identity: str
    client_order_id: str
    purpose: Literal["stop", "exit"]
    quantity: Decimal
    price: Decimal | None
    at: datetime


class SaveStop(msgspec.Struct, frozen=True, gc=False):
    """Write a position's record; one that is closed stays closed."""

    exchange: str
    account: str
    record: StopRecord


class AddIntent(msgspec.Struct, frozen=True, gc=False):
    """Write down an order that may exist from now on.

    A stop's opens the record of its position again, where that was closed: whoever wants a stop for it has it in hand,
    which no late save has.
    """

    intent: Intent


class SettleIntent(msgspec.Struct, frozen=True, gc=False):
    """It is known what became of that order. Settling what isn't open is no error."""

    exchange: str
    account: str
    client_order_id: str


class CloseStop(msgspec.Struct, frozen=True, gc=False):
    """Write a position's last record, for good: no later save brings it back."""

    exchange: str
    account: str
    record: StopRecord


class AppendEvent(msgspec.Struct, frozen=True, gc=False):
    """Append to the log of what happened."""

    exchange: str
    account: str
    event: Event


Entry: TypeAlias = SaveStop | AddIntent | SettleIntent | CloseStop | AppendEvent


class Loaded(msgspec.Struct, frozen=True):
    """What is open: records that are not closed, intents that are not settled; both in the order they were written."""

    stops: Sequence[StopRecord]
    intents: Sequence[Intent]


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """An event as stored; `number` grows by at least one with each."""

    number: int
    exchange: str
    account: str
    event: Event


class Store(Protocol):
    """A durable memory of stops, intents and events."""

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has a stop or an intent, sorted. Raises StoreError."""

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account. Raises StoreError."""

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Write all of the entries or none, in order; durable when it returns. Raises StoreError.

        Cancellation: a commit that has begun is finished first; afterwards either all or nothing is there.
        """

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Events of every account at or after a time, oldest first; with `follow`, goes on with new ones."""

    async def prune(self, before: datetime) -> int:
        """Delete the events before a time, whoever's they are; stops and intents stay.

        It is done bit by bit, so that commits go on meanwhile.

        Args:
            before: an aware UTC datetime.

        Returns:
            How many were deleted.

        Raises:
            UsageError: `before` is not an aware UTC datetime.
            StoreError: some may have been deleted.
        """
