"""The port of a store, which the stores in memory, SQLite and Postgres implement.

A store has three tables: stops (one row for each position, with everything that restoring it needs), intents (orders that may
exist on the exchange) and events (append-only).
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
    """The record that an order is about to be sent. It is stored before the order can exist on the exchange.

    Args:
        purpose: ``"stop"``: a stop is placed or replaced; ``"exit"``: a reduce-only close at market.
        quantity: in base units.
        price: the trigger price; None: an exit.
        identity: `Position.identity` of the order's position.
        at: when it was written, an aware UTC datetime.
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
    """Write a position's record. A closed position stays closed."""

    exchange: str
    account: str
    record: StopRecord


class AddIntent(msgspec.Struct, frozen=True, gc=False):
    """Write an intent: the order may exist from now on.

    The intent of a stop reopens the closed record of its position, with its last content, because a stop is wanted only for an
    open position. A late `SaveStop` does not reopen it.
    """

    intent: Intent


class SettleIntent(msgspec.Struct, frozen=True, gc=False):
    """Delete an intent, because the outcome of its order is known. A missing intent is no error."""

    exchange: str
    account: str
    client_order_id: str


class CloseStop(msgspec.Struct, frozen=True, gc=False):
    """Write a position's last record and close it. No later `SaveStop` reopens it."""

    exchange: str
    account: str
    record: StopRecord


class AppendEvent(msgspec.Struct, frozen=True, gc=False):
    """Append an event."""

    exchange: str
    account: str
    event: Event


StoreWrite: TypeAlias = SaveStop | AddIntent | SettleIntent | CloseStop | AppendEvent


class Loaded(msgspec.Struct, frozen=True):
    """The open records and the intents of an account, in the order of their first writes."""

    stops: Sequence[StopRecord]
    intents: Sequence[Intent]


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """A stored event. `number` grows by at least one with each event."""

    number: int
    exchange: str
    account: str
    event: Event


class Writer(Protocol):
    """Writes entries. A `Lease` implements it for its owner; a `Store` for tools that own no account."""

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        """Write all entries in order, or none of them. They are durable when it returns. Raises StoreError.

        Cancellation: a commit that has begun is finished first. Afterwards, either all or none of the entries are stored.
        """


class Lease(Writer, Protocol):
    """The ownership of an account: the right to write its stops and to send its orders.

    `commit` raises LeaseLost instead of writing a stop or an intent if the lease is lost. The check and the writes are one
    transaction.

    Attributes:
        seconds: for how long, at least, the lease is held after any moment, while the store answers. Infinite, as is
            `held_until`, if only the end of its owner ends the lease.
        held_until: no other process can own the account before this time, in seconds on the running clock. It counts from the
            sending of the last renewal. If it has passed, the lease is lost only when another process has taken the account.
        lost: why the lease is lost, or the new owner, in words; None: the lease is not known to be lost. A lost lease stays lost.
        busy_until: set by the owner: until when a request that was sent to the exchange may be executed, in seconds on the
            running clock. No other process owns the account before, also if the owner ends earlier, if the store supports it.
        marks: the common part of the client order ids of each earlier owner, as far as the store remembers them.
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
        """Wait for the next renewal. Raises LeaseLost when the lease is lost, or at once if it already is."""


class Store(Writer, Protocol):
    """A durable store of stops, intents and events."""

    async def accounts(self) -> Sequence[tuple[str, str]]:
        """Return every (exchange, account) with an open stop or intent, sorted. Raises StoreError."""

    async def load(self, exchange: str, account: str) -> Loaded:
        """Return the open stops and the intents of an account. Raises StoreError."""

    def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AbstractAsyncContextManager[Lease]:
        """Own an account until the block ends.

        Args:
            mark: the common part of this owner's client order ids, for `Lease.marks` of later owners.
            standby: wait until no other process owns the account.

        Returns:
            A context manager. It yields the lease.

        Raises:
            LeaseLost: another process owns the account, and `standby` is False.
            StoreError: the store can't say who owns the account.

        Cancellation: raises while waiting, and the account is not owned. Inside the block, the account is owned until the block
            has ended, so that a shielded clean-up can still write.
        """

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        """Return who owns an account now, in words; None: the account is free.

        It changes nothing, and disturbs neither an owner nor a process that is about to own the account.

        Raises:
            StoreError: the store can't say who owns the account.
        """

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        """Return an iterator over the events of every account, oldest first.

        Args:
            since: an aware UTC datetime: only events at or after it; None: all events.
            follow: continue with new events, without end.
        """

    async def prune(self, before: datetime) -> int:
        """Delete the events of every account before a time. Stops and intents stay.

        A store with a table of plans also deletes the plans that no record uses. Deleting takes many short transactions, so
        that commits continue meanwhile.

        Args:
            before: an aware UTC datetime.

        Returns:
            The number of deleted events.

        Raises:
            UsageError: `before` is not an aware UTC datetime.
            StoreError: some events may have been deleted.
        """
