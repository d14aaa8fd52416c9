"""What `trailing` needs of a store: the port that memory, SQLite and Postgres implement.

Three tables: stops (one row per position, all that restoring it needs), intents (client order ids that may exist on the
exchange) and events (append-only).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
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

    A stop's opens the record of its position again, as it was written last, where that was closed: whoever wants a stop
    for it has it in hand, which no late save has.
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


StoreWrite: TypeAlias = SaveStop | AddIntent | SettleIntent | CloseStop | AppendEvent


class Loaded(msgspec.Struct, frozen=True):
    """What is open: records that are not closed, intents that are not settled; both in the order of first writing."""

    stops: Sequence[StopRecord]
    intents: Sequence[Intent]


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """An event as stored; `number` grows by at least one with each."""

    number: int
    exchange: str
    account: str
    event: Event


class Writer(Protocol):
    """Takes entries: a lease does, for its owner, and a store for whoever looks after nobody's account."""

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all of the entries or none, in order; durable when it returns. Raises StoreError.

        Cancellation: a commit that has begun is finished first; afterwards either all or nothing is there.
        """


class Lease(Writer, Protocol):
    """The right to write one account's stops and intents, and its orders: one owner has it at a time.

    Its `commit` is as the store's, and raises LeaseLost instead of writing a stop or an intent that is not its owner's
    any more; both are one transaction.

    Attributes:
        seconds: so long, at least, it is held from any moment on, as long as the store answers. Infinite, as
            `held_until`, where nothing but its owner's own end takes it.
        held_until: until then nobody else can own the account, on the running clock: counted from when the last renewal
            was sent. It may be past and the lease not lost: then nobody has asked for the account yet.
        lost: who owns the account now, in words; None: nobody else does, as far as is known. Once lost, always lost.
        busy_until: set by its owner: until when something that was sent to the exchange may still be executed, on the
            running clock. However the owner ends, nobody else owns the account before, where the store can see to that.
        marks: what the client order ids of each earlier owner have in common, as far as the store remembers.
    """

    busy_until: float

    @property
    def seconds(self) -> float: ...
    @property
    def held_until(self) -> float: ...
    @property
    def lost(self) -> str | None: ...
    @property
    def marks(self) -> frozenset[str]: ...

    async def wait_renewed(self) -> None:
        """Wait for the next renewal. Raises LeaseLost once it is lost, at once where it is."""


class Store(Writer, Protocol):
    """A durable memory of stops, intents and events."""

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Every (exchange, account) that has a stop or an intent, sorted. Raises StoreError."""

    async def load(self, exchange: str, account: str) -> Loaded:
        """Everything open of one account. Raises StoreError."""

    def own(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AbstractAsyncContextManager[Lease]:
        """Own an account until the block ends.

        Args:
            mark: what the client order ids of this owner have in common; for `Lease.marks` of later ones.
            standby: wait until nobody else owns it.

        Raises:
            LeaseLost: somebody else owns it, and `standby` is False.
            StoreError: it can't be known.

        Cancellation: while it waits, nothing is owned. Afterwards it is owned until the block has ended, so that a
            shielded clean-up inside can still write.
        """

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Events of every account at or after a time, oldest first; with `follow`, goes on with new ones."""

    async def prune(self, before: datetime) -> int:
        """Delete the events before a time, of every account; stops and intents stay.

        A store that keeps plans apart also deletes those that no stop has. It is done bit by bit, so that commits go on
        meanwhile.

        Args:
            before: an aware UTC datetime.

        Returns:
            How many events were deleted.

        Raises:
            UsageError: `before` is not an aware UTC datetime.
            StoreError: some may have been deleted.
        """
