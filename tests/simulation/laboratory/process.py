"""A process that can be killed. After its death no request of it starts, and no reply reaches it.

A death is not a cancellation: requests in flight are executed, and their replies are lost.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol, TypeVar

import trio

from simulation.laboratory.harsh_exchange import HarshExchange
from trailing.errors import LeaseLost, OutcomeUnknown, StoreError, TrailingError
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.port import StreamState, Update
from trailing.exchanges.updates import waiting
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import EventRecord, Lease, Loaded, Store, StoreWrite, Writer
from trailing.testing.faults import Fault, FaultyExchange, Operation, Script

T = TypeVar("T")


class CallFaults(Protocol):
    """The faults between a process and its exchange, such as a `FaultSchedule`.

    Attributes:
        outage: the number of outages that have begun so far.
        is_unreachable: whether the exchange can't be reached now.
    """

    outage: int
    is_unreachable: bool

    def fault(self, operation: str, symbol: str | None, number: int, /) -> Fault | None:
        """Return the fault of a call that is made now, or None."""


class Process:
    """The state of a simulated process.

    Attributes:
        alive: whether the process has not been killed.
        lease: its lease, which stays valid after its death until `WorldStore.end_lease`.
        steps_left: the steps of exchange or store after which the process dies; None: it does not die.
        died: set at its death.
    """

    def __init__(self) -> None:
        self.alive: bool = True
        self.lease: Lease | None = None
        self.steps_left: int | None = None
        self.died: trio.Event = trio.Event()

    async def step(self) -> None:
        """Count one step, and sleep for ever if the process dies now or is dead."""
        if self.alive and self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                self.die()
        await self.wait_if_dead()

    def die(self) -> None:
        """Kill the process at once, and set `died`."""
        self.alive = False
        self.died.set()

    async def wait_if_dead(self) -> None:
        """Sleep for ever if the process is dead, so that a reply is lost."""
        if not self.alive:
            await trio.sleep_forever()


class _KillableScript(Script):
    def __init__(self, process: Process, fault_schedule: CallFaults) -> None:
        super().__init__(fault_schedule.fault)
        self._process, self._fault_schedule = process, fault_schedule

    async def play(self, operation: Operation, symbol: str | None, carry_out: Callable[[], Awaitable[T]]) -> T:
        await self._process.step()
        self.calls.clear()  # a day has a million calls
        outage = self._fault_schedule.outage
        try:
            answer = await super().play(operation, symbol, carry_out)
        except TrailingError:
            await self._process.step()  # a dead process gets no refusal either
            raise
        await self._process.step()
        if self._fault_schedule.outage != outage:
            raise OutcomeUnknown("the exchange became unreachable before it replied")
        return answer


class KillableExchange(FaultyExchange):
    """The exchange of one process, with the faults of a schedule."""

    def __init__(self, inner: PaperExchange | HarshExchange, process: Process, fault_schedule: CallFaults) -> None:
        super().__init__(inner, {})
        self._script = _KillableScript(process, fault_schedule)
        self._process, self._fault_schedule = process, fault_schedule
        self._updates_channel: _KillableUpdates | None = None

    def receives_prices(self, symbol: str) -> bool:
        """Whether the process receives the prices of a symbol."""
        return self._updates_channel is not None and self._updates_channel.is_up and symbol in self.subscriptions

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        """Open a stream that becomes silent, without an error, at the next outage."""
        await self._process.step()
        async with self.inner.updates() as updates:
            self._updates_channel = _KillableUpdates(updates, self._process, self._fault_schedule)
            try:
                yield self._updates_channel
            finally:
                self._updates_channel = None


class _KillableUpdates(trio.abc.ReceiveChannel[Update]):
    """A stream with outages. Opened during an outage, it reports that and connects afterwards; a later outage ends it silently."""

    def __init__(self, updates: trio.abc.ReceiveChannel[Update], process: Process, fault_schedule: CallFaults) -> None:
        self._updates, self._process, self._fault_schedule = updates, process, fault_schedule
        self._outage = fault_schedule.outage
        self._pending: list[Update] = []
        self._waits = fault_schedule.is_unreachable
        if self._waits:
            self._pending.append(StreamState(False, trio.current_time(), "the exchange is unreachable"))

    @property
    def is_up(self) -> bool:
        return self._fault_schedule.outage == self._outage and not self._fault_schedule.is_unreachable

    async def receive(self) -> Update:
        if self._pending:
            await trio.lowlevel.checkpoint()
        while not self._pending:
            update = await self._updates.receive()
            if not self._process.alive:
                await trio.sleep_forever()
            self._accept(update)
        return self._pending.pop(0)

    def receive_waiting(self, most: int) -> list[Update]:
        if not self._process.alive:
            return []
        for update in waiting(self._updates, most):
            self._accept(update)
        received, self._pending = self._pending[:most], self._pending[most:]
        return received

    def _accept(self, update: Update) -> None:
        if not self.is_up:
            return
        if self._waits:
            self._waits = False
            self._pending.append(StreamState(True, trio.current_time()))
        self._pending.append(update)

    async def aclose(self) -> None:
        await self._updates.aclose()


class _KillableLease(LeaseProxy):
    """The lease of a process. A dead process does not notice the end of its lease."""

    def __init__(
        self, inner: Lease, process: Process, commit: Callable[[Sequence[StoreWrite]], Awaitable[None]]
    ) -> None:
        super().__init__(inner, commit)
        self._process = process

    @property
    def lost(self) -> str | None:
        return super().lost if self._process.alive else None

    @property
    def held_until(self) -> float:
        return super().held_until if self._process.alive else math.inf

    async def wait_renewed(self) -> None:
        try:
            await super().wait_renewed()
        except LeaseLost:
            await self._process.wait_if_dead()
            raise


class KillableStore:
    """The store of one process.

    Args:
        latency: the most seconds that a commit waits.
        on_commit: called with the committed entries.
        is_remote: whether the process may die while its commit is in flight.
        fails: whether a commit of these entries fails now.
    """

    def __init__(
        self,
        inner: Store,
        process: Process,
        latency: float,
        draw: random.Random,
        on_commit: Callable[[Sequence[StoreWrite]], None],
        *,
        is_remote: bool,
        fails: Callable[[Sequence[StoreWrite]], bool] = lambda _: False,
    ) -> None:
        self._inner, self._process, self._latency, self._draw = inner, process, latency, draw
        self._on_commit, self._is_remote, self._fails = on_commit, is_remote, fails

    async def accounts(self) -> Sequence[tuple[str, str]]:
        await self._process.step()
        accounts = await self._inner.accounts()
        await self._process.wait_if_dead()
        return accounts

    async def load(self, exchange: str, account: str) -> Loaded:
        await self._process.step()
        loaded = await self._inner.load(exchange, account)
        await self._process.wait_if_dead()
        return loaded

    async def lease_owner(self, exchange: str, account: str) -> str | None:
        return await self._inner.lease_owner(exchange, account)

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[Lease]:
        await self._process.step()
        async with self._inner.acquire_lease(exchange, account, mark=mark, standby=standby) as lease:
            self._process.lease = lease
            await self._process.step()
            yield _KillableLease(lease, self._process, lambda entries: self._commit(lease, entries))

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await self._commit(self._inner, entries)

    async def _commit(self, writer: Writer, entries: Sequence[StoreWrite]) -> None:
        await self._process.step()
        await trio.sleep(self._draw.uniform(0, self._latency))
        await self._process.step()
        if self._is_remote and self._process.steps_left == 0:
            self._process.die()  # its commit is in flight and goes on
        try:
            if self._fails(entries):
                raise StoreError("the simulation refuses this commit")
            await writer.commit(entries)
        except StoreError:
            await self._process.wait_if_dead()  # a dead process gets no refusal either
            raise
        self._on_commit(entries)
        await self._process.step()

    def events(self, since: datetime | None = None, *, follow: bool = False) -> AsyncIterator[EventRecord]:
        return self._inner.events(since, follow=follow)

    async def prune(self, before: datetime) -> int:
        await self._process.step()
        pruned = await self._inner.prune(before)
        await self._process.wait_if_dead()
        return pruned
