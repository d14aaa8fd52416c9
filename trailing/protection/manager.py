"""Connect an exchange, a store and the position tasks, and run them: the manager."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial

import trio

from trailing.core.findings import Finding
from trailing.core.model import Position, Side, StopOrder, Tick, check_seconds, refuse
from trailing.core.plan import TrailPlan
from trailing.errors import AuthenticationFailed, ExchangeUnreachable, LeaseLost, UsageError
from trailing.events import Event, TookOver
from trailing.exchanges.port import Exchange
from trailing.protection.clock import Clock
from trailing.protection.health import Health, read_health, warn_if_unwatched
from trailing.protection.journal import Journal
from trailing.protection.lease import LeaseFence, acquire_lease, fencing_calls
from trailing.protection.order_ids import OrderIds
from trailing.protection.overview import Overview, take_overview
from trailing.protection.position_commands import change_plan, close_position, release_position
from trailing.protection.position_task import PositionTask
from trailing.protection.records import EventLog, EventPublisher, Records
from trailing.protection.recovery import find_settled, restore
from trailing.protection.requests import OutageDetector, RequestSender
from trailing.protection.statistics import Statistics
from trailing.protection.supervision import Supervision
from trailing.protection.waves.adoption_methods import AdoptionMethods
from trailing.protection.waves.entry_limits import NO_LIMITS, EntryLimits
from trailing.protection.waves.entry_methods import EntryMethods
from trailing.protection.waves.outcomes import Exited, Outcome, Refused, TimedOut, Unprotected, WaveReport
from trailing.protection.waves.wave import Wave, check_wave_plan
from trailing.services import open_service_nursery
from trailing.stores.leases import ProcessLease
from trailing.stores.port import Lease, Store


class Manager(AdoptionMethods, EntryMethods):
    """Protect the positions of one account. `open_manager` makes it."""

    async def protect_wave(
        self, positions: Sequence[Position], *, deadline: float, plan: TrailPlan | None = None
    ) -> WaveReport:
        """Place a live stop behind every position, all in parallel.

        Args:
            positions: the positions to protect, usually entered together.
            deadline: seconds for each of them, above 0. The call returns at most the plan's `cleanup_seconds` later.
            plan: used for these positions instead of the manager's plan.

        Returns:
            An outcome for each position, in their order. A position without a stop is in `unprotected()`, and the manager
            tries again by the plan's policy.

        Raises:
            UsageError: an argument is impossible for these markets, or the manager has ended. Nothing was sent.
            ExceptionGroup: of bugs, after every position has its outcome.

        Cancellation: acknowledged stops stay live and are tracked. Partial orders are cleaned up, for at most `cleanup_seconds`;
            then the cancellation passes on. `on_wave_cancelled` says what happens to positions without a stop.
        """
        supervision, plan = self._supervision, plan or self._plan
        check_seconds("deadline", deadline, zero=False)
        check_wave_plan(supervision.sender, plan, {position.symbol for position in positions})
        with supervision.operation():
            report = await Wave(supervision, plan, deadline).run(positions)
        supervision.tally.count_wave(report)
        return report

    async def protect(self, position: Position, *, deadline: float, plan: TrailPlan | None = None) -> Outcome:
        """Place a live stop behind one position. See `protect_wave`."""
        report = await self.protect_wave((position,), deadline=deadline, plan=plan)
        return report.outcomes[0]

    async def update(self, symbol: str, side: Side, plan: TrailPlan) -> None:
        """Replace the plan of a position, with or without a live stop.

        The rules of the new plan are asked at once. The stop never loosens, and the new `initial_stop` has no effect. The call
        returns when the store holds the change. If the store does not commit it within `journal_wait`, there is an alarm; the
        change takes effect and is stored later. While the position is being opened, the call waits. A position that was frozen
        because its rule failed is no longer frozen.

        Raises:
            UsageError: no such position is protected, or it has ended; the plan has no possible first stop for it, or is native
                on a market that can't trail; or the new plan has another `trigger` while a stop with the present one is live
                or may be. Nothing has changed.

        Cancellation: ends the wait. A change that was made by then stays, and is stored.
        """
        if not isinstance(plan, TrailPlan):
            raise refuse("plan", plan, "a TrailPlan")
        self._supervision.sender.fence.check_plan(plan)
        task = self._supervision.get(symbol, side)
        with self._supervision.operation():
            await change_plan(self._supervision, task, plan)

    async def close(self, symbol: str, side: Side, *, deadline: float) -> Exited | TimedOut | Refused:
        """Close a position at market, reduce-only, and cancel its stops.

        Args:
            deadline: seconds to wait for the end, above 0. The manager goes on closing it afterwards.

        Returns:
            `Exited`; `Refused` if there was nothing to close; or `TimedOut`, whose `error` says what kept it open, for example
            the exchange's refusal because another open order covers the position.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the wait. The manager goes on.
        """
        check_seconds("deadline", deadline, zero=False)
        task = self._supervision.get(symbol, side)
        with self._supervision.operation():
            return await close_position(self._supervision, task, deadline)

    async def close_all(self, *, deadline: float) -> tuple[Exited | TimedOut | Refused, ...]:
        """Close every protected position, all in parallel. See `close`."""
        results: dict[int, Exited | TimedOut | Refused] = {}

        async def close_one(index: int, task: PositionTask) -> None:
            results[index] = await close_position(self._supervision, task, deadline)

        check_seconds("deadline", deadline, zero=False)
        with self._supervision.operation():
            async with trio.open_nursery() as nursery:
                for index, task in enumerate(self._supervision.registry.all()):
                    nursery.start_soon(close_one, index, task)
        return tuple(results[index] for index in sorted(results))

    async def release(self, symbol: str, side: Side, *, cancel_stop: bool) -> None:
        """Stop protecting a position. A close that the exchange has refused is not tried again.

        Args:
            cancel_stop: whether its stop is cancelled. Otherwise the stop stays live, and the manager no longer moves it.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the wait. The manager goes on.
        """
        await release_position(self._supervision, symbol, side, cancel_stop=cancel_stop)

    @property
    def recovered(self) -> tuple[Finding, ...]:
        """What recovery found when the manager opened, position by position. As text, each names its position."""
        return self._supervision.recovered

    def stops(self) -> dict[tuple[str, Side], StopOrder]:
        """Return the live stop of every protected position, as the exchange acknowledged it."""
        stops = {}
        for task in self._supervision.registry.all():
            stop = task.state.stop
            if stop is not None:
                stops[stop.symbol, stop.side] = stop
        return stops

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Return every position without a live stop.

        Such a position is being opened, settled or closed, waits for its key, or was given up. A position that was not handed in
        is listed if it took the place of one of ours.

        A position that the exchange refuses to reduce, because another open order covers it, is listed even if its stop is live.
        The stop would be refused, too, when it triggers. The error has the exchange's words, and an alarm named the open orders.

        A position is listed, too, if the exchange acknowledged its stop and shows it neither in lists nor in look-ups.
        """
        return self._supervision.unprotected()

    def statistics(self) -> Statistics:
        """Return the figures of all that this manager has done."""
        return self._supervision.statistics()

    def health(self) -> Health:
        """Return the present state of the stream, the lease and the journal."""
        return read_health(self._supervision)

    def overview(self) -> Overview:
        """Return all positions as they are now, and the health of the stream, the store and the lease."""
        return take_overview(self._supervision)

    async def wait_closed(self) -> None:
        """Wait until every position has ended, or was released or given up, and the store holds that.

        The wait for the store takes at most the plan's `journal_wait`.

        Raises:
            UsageError: the manager has ended, before or meanwhile.

        Cancellation: ends the wait.
        """
        with self._supervision.operation():
            await self._supervision.registry.wait_empty()
            await self._supervision.records.wait_stored(self._plan.journal_wait)

    def subscribe(self, capacity: int = 1000) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Open a bounded channel of all events from now on. Events that find it full are dropped and counted.

        Args:
            capacity: the most events that may wait in the channel, at least 0.
        """
        return self._supervision.records.publisher.subscribe(capacity)


@asynccontextmanager
async def open_manager(
    exchange: Exchange,
    store: Store,
    plan: TrailPlan,
    *,
    ticks: trio.abc.ReceiveChannel[Tick] | None = None,
    utc_start: datetime | None = None,
    take_over: bool = False,
    standby: bool = False,
    entry_limits: EntryLimits = NO_LIMITS,
) -> AsyncIterator[Manager]:
    """Protect the positions of an account until the block ends. Their stops stay live on the exchange after that.

    Args:
        plan: used for every position without a plan of its own.
        ticks: the bot's own prices. Without them the exchange's stream is used.
        utc_start: the time of day at the present moment. A replay passes the time of its data.
        take_over: whether this manager adopts stops that another instance placed on the account, for instance because its
            store was lost. Without it, a manager that finds such stops ends before it writes anything, because two managers
            would cancel each other's stops.
        standby: whether to wait until another manager that owns the account in this store ends, and then to go on with its
            positions as after a restart. Without it, another owner is a `LeaseLost`.
        entry_limits: the most that `enter_wave` enters.

    Raises:
        UsageError: `call_seconds` of the plan, or of a stored one, exceed the lease, or `cleanup_seconds` are below a read lag.
        StoreError: the store can't be read.
        LeaseLost: another manager owns the account in this store, or came to own it while the block ran, which is cancelled
            then; or stops of another instance are live on the account. Stops stay live.
        AuthenticationFailed: the exchange refuses the credentials.
        BaseException: the exception of the block, unwrapped.
        ExceptionGroup: of a bug in a service, or of errors of both the block and a service.

    Cancellation: waves clean up, position tasks finish their request, and the state is saved, each within `cleanup_seconds`.
    """
    if not isinstance(plan, TrailPlan):
        raise UsageError(f"plan got {plan!r}, wants a TrailPlan")
    warn_if_unwatched(exchange)
    clock, log, ids = Clock(utc_start), EventLog(), OrderIds()
    owning = acquire_lease(store, exchange, mark=ids.mark, standby=standby, clock=clock, log=log)
    async with owning as (lease, waited):
        records, sender = _assemble(exchange, lease, clock, log)
        sender.fence.check_plan(plan)
        if waited is not None:
            records.tell(None, TookOver, waited=waited)
        async with open_service_nursery(LeaseLost, AuthenticationFailed) as books:
            await books.start(records.journal.run)
            try:
                async with open_service_nursery(LeaseLost, AuthenticationFailed) as tasks:
                    supervision = Supervision(sender, records, ids, plan, tasks, take_over=take_over)
                    supervision.entry_limits = entry_limits
                    supervision.reconciler.marks |= lease.marks
                    await supervision.run(store, ticks)
                    try:
                        with fencing_calls(exchange, sender.fence):
                            yield Manager(plan, supervision)
                    finally:
                        await supervision.close()  # noqa: ASYNC102 - shields itself, with a deadline
            finally:
                await _drain(records, plan.cleanup_seconds)  # noqa: ASYNC102 - shields itself, with a deadline


async def _drain(records: Records, seconds: float) -> None:
    """Write everything that was handed in, within some seconds, or raise an alarm. The wait is shielded."""
    with trio.move_on_after(seconds, shield=True) as scope:
        await records.journal.drain()
    if scope.cancelled_caught:
        left = records.journal.statistics().waiting
        records.alarm(None, "the journal did not drain", f"{left} entries are not written")


async def plan_recovery(
    exchange: Exchange,
    store: Store,
    plan: TrailPlan,
    *,
    utc_start: datetime | None = None,
    take_over: bool = False,
) -> tuple[Finding, ...]:
    """Return what `open_manager` would find and do now. It writes nothing to the exchange or the store.

    It reads the account until it is confirmed which orders are live, for at most the plan's `call_seconds`. Whatever is not
    confirmed by then is among the findings.

    Args:
        plan, utc_start, take_over: as for `open_manager`.

    Returns:
        The findings, position by position. As text, each names its position.

    Raises:
        StoreError: the store can't be read.
        LeaseLost: stops of another instance are live on the account.
        ExchangeError: the account can't be read now.

    Cancellation: nothing was written.
    """
    lease = ProcessLease(store.commit, f"{exchange.name} {exchange.account}")
    lease.end()  # nothing is owned, so that nothing can be sent or written
    records, sender = _assemble(
        exchange, lease, Clock(utc_start), None
    )  # no task runs the journal, so that entries only gather in it
    async with open_service_nursery() as tasks:
        supervision = Supervision(sender, records, OrderIds(), plan, tasks, take_over=take_over)
        restore(supervision, await store.load(exchange.name, exchange.account))
        found = await find_settled(supervision, lambda _: None, within=plan.call_seconds)
    if supervision.reader.snapshot is None:
        raise ExchangeUnreachable("the account can't be read now")
    return found


def _assemble(exchange: Exchange, lease: Lease, clock: Clock, log: EventLog | None) -> tuple[Records, RequestSender]:
    """Return the writer to the store and the sender to the exchange, for the owner of a lease."""
    journal = Journal(lease)
    publisher = EventPublisher(journal, log, exchange.name, exchange.account)
    records = Records(exchange.name, exchange.account, journal, clock, publisher)
    alarm = partial(records.alarm, None)
    return records, RequestSender(exchange, clock, LeaseFence(lease, clock, exchange), OutageDetector(), alarm)
