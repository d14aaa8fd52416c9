"""The manager: puts exchange, store and protection together, and keeps their tasks alive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial

import trio

from trailing.core.findings import Finding
from trailing.core.model import Position, Side, StopOrder, Tick, check_seconds, refuse
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.errors import AuthenticationFailed, ExchangeUnreachable, LeaseLost, UsageError
from trailing.events import Event, TookOver
from trailing.exchanges.port import Exchange
from trailing.protection.adoption import find_position
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.protection.lease import LeaseFence, acquire_lease
from trailing.protection.order_ids import OrderIds
from trailing.protection.outcomes import Exited, Outcome, Refused, TimedOut, WaveReport
from trailing.protection.position_commands import change_plan, close_position, release_position
from trailing.protection.position_task import PositionTask
from trailing.protection.records import EventLog, EventPublisher, Records
from trailing.protection.recovery import find_settled, restore
from trailing.protection.requests import OutageDetector, RequestSender
from trailing.protection.statistics import Statistics
from trailing.protection.supervision import Supervision, Unprotected
from trailing.protection.wave import Wave
from trailing.services import open_service_nursery
from trailing.stores.leases import ProcessLease
from trailing.stores.port import Lease, Store


class Manager:
    """Protects the positions of one account. Made by `open_manager`."""

    def __init__(self, plan: TrailPlan, supervision: Supervision) -> None:
        self._plan, self._supervision = plan, supervision

    async def protect_wave(
        self, positions: Sequence[Position], *, deadline: float, plan: TrailPlan | None = None
    ) -> WaveReport:
        """Put a live stop behind every position, all in parallel.

        Args:
            positions: opened at the same moment, say.
            deadline: seconds that each has, above 0. It returns at the latest when the plan's `cleanup_seconds` have
                passed after it.
            plan: in place of the manager's, for these positions.

        Returns:
            An outcome for each position, in their order. A position without a stop is tried again by the plan's
            policy and is in `unprotected()` meanwhile.

        Raises:
            UsageError: an argument can't be right for these markets, or the manager has ended; nothing was sent.
            ExceptionGroup: of bugs, once every position has its outcome.

        Cancellation: stops that are acknowledged stay and are tracked; every partial order is cleaned up, at most
            `cleanup_seconds` long; then the cancellation passes.
        """
        return await self._protect(positions, deadline, plan or self._plan)

    async def _protect(
        self,
        positions: Sequence[Position],
        deadline: float,
        plan: TrailPlan,
        *,
        standing: StopOrder | None = None,
        is_reported: bool = False,
    ) -> WaveReport:
        check_seconds("deadline", deadline, zero=False)
        self._check_plan(plan, {position.symbol for position in positions})
        with self._supervision.operation():
            wave = Wave(self._supervision, plan, deadline, standing=standing, is_reported=is_reported)
            try:
                report = await wave.run(positions)
            finally:
                for refused in wave.never_claimed:
                    self._supervision.note_never_claimed(refused)
        self._supervision.tally.count_wave(report)
        return report

    def _check_plan(self, plan: TrailPlan, symbols: Iterable[str]) -> None:
        """Refuse a plan that can't be carried out here, or natively on one of the markets. Raises UsageError.

        A symbol that the exchange does not know is its own position's failure.
        """
        sender = self._supervision.sender
        sender.fence.check_plan(plan)
        for symbol in symbols if plan.native else ():
            try:
                market = sender.exchange.market(symbol)
            except UsageError:
                continue
            check_native_market(plan, market)

    async def protect(self, position: Position, *, deadline: float, plan: TrailPlan | None = None) -> Outcome:
        """Put a live stop behind one position: a wave of one. See `protect_wave`."""
        report = await self.protect_wave((position,), deadline=deadline, plan=plan)
        return report.outcomes[0]

    async def adopt(
        self,
        symbol: str,
        side: Side,
        *,
        deadline: float,
        plan: TrailPlan | None = None,
        stop_price: Decimal | None = None,
    ) -> Outcome:
        """Take in a position that somebody opened by hand: read it from the exchange, then protect it as `protect` does.

        **It may close the position at once.** Where the price is already beyond the first stop, the plan's
        `on_would_trigger` counts, as in `protect`: with ``"exit"``, the default, the position is closed at market.
        Without a `stop_price` that stop lies `initial_stop` behind the *entry* price, which a loser has often passed.

        A stop that somebody placed by hand is not ours, and is left as it is. One of ours that was left standing there
        becomes the position's, and is moved at once where the first stop would be tighter.

        Args:
            deadline: seconds above 0 for all of it, the reading included; as in `protect_wave`.
            plan: in place of the manager's.
            stop_price: the first stop, in place of the plan's; it may lie beyond the entry price, for a winner, and is
                `Refused` where it is on the wrong side of both the price and the entry price.

        Returns:
            As `protect`; `AlreadyProtected` where it is protected.

        Raises:
            UsageError: the exchange reports no such position, twice; an argument can't be right; the manager has ended.
            ExchangeError: the position can't be read, before the deadline; nothing was sent.

        Cancellation: as `protect_wave`; while the position is being read, nothing was sent.
        """
        check_seconds("deadline", deadline, zero=False)
        supervision, plan = self._supervision, plan or self._plan
        self._check_plan(plan, (symbol,))
        ends_at = supervision.now() + deadline
        with supervision.operation():
            position, standing = await find_position(supervision, symbol, side, plan, stop_price, ends_at=ends_at)
        left = ends_at - supervision.now()
        report = await self._protect((position,), left, plan, standing=standing, is_reported=True)
        return report.outcomes[0]

    async def update(self, symbol: str, side: Side, plan: TrailPlan) -> None:
        """Change the plan of a position while it runs; one that stands without a stop is no exception.

        The plan is replaced as a whole, and its rules are asked at once. The stop never loosens, and `initial_stop`
        counts for nothing any more. It returns when the store holds the change; where the store does not take it within
        `journal_wait`, the change counts all the same, with an alarm, and is saved as soon as it can be. A position that
        is being opened is waited for. One whose rule had failed is no longer frozen.

        Raises:
            UsageError: no such position is protected, or it has ended; the plan has no possible first stop for it, or is
                native where its market can't carry that out; or its `trigger` is another one, while a stop stands, or may stand, with the present one. Nothing has changed.

        Cancellation: ends the waiting; a change that was made by then stays, and is still stored.
        """
        if not isinstance(plan, TrailPlan):
            raise refuse("plan", plan, "a TrailPlan")
        self._supervision.sender.fence.check_plan(plan)
        task = self._supervision.get(symbol, side)
        with self._supervision.operation():
            await change_plan(self._supervision, task, plan)

    async def close(self, symbol: str, side: Side, *, deadline: float) -> Exited | TimedOut | Refused:
        """Close a position at market, reduce-only, then end its stops: the bot's own exit.

        Args:
            deadline: seconds to wait for it, above 0. The manager goes on with it afterwards.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the waiting; the manager goes on with it.
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
        """Give a position back: it is no longer protected by this manager.

        Args:
            cancel_stop: cancel its stop; else the stop is left standing on the exchange, and is nobody's.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the waiting; the manager goes on with it.
        """
        await release_position(self._supervision, symbol, side, cancel_stop=cancel_stop)

    @property
    def recovered(self) -> tuple[Finding, ...]:
        """What the first snapshots of the account found when the manager opened. As text, each is a sentence."""
        return self._supervision.recovered

    def stops(self) -> dict[tuple[str, Side], StopOrder]:
        """The live stop of every protected position, as the exchange acknowledged it."""
        stops = {}
        for task in self._supervision.registry.all():
            stop = task.state.stop
            if stop is not None:
                stops[stop.symbol, stop.side] = stop
        return stops

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Every position without a live stop that somebody wanted protected: being opened or settled, or given up."""
        return self._supervision.unprotected()

    def statistics(self) -> Statistics:
        """Figures over all that this manager has done."""
        return self._supervision.statistics()

    async def wait_closed(self) -> None:
        """Wait until the last position has ended, or was released or given up, and the store holds that."""
        with self._supervision.operation():
            await self._supervision.registry.wait_empty()
            await self._supervision.records.wait_stored(self._plan.journal_wait)

    def subscribe(self, capacity: int = 1000) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Events from now on, over a bounded channel; what finds it full is dropped and counted, never waited for."""
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
) -> AsyncIterator[Manager]:
    """Protect the positions of an exchange's account, until the block ends. Stops stay live on the exchange then.

    Args:
        plan: for every position that brings none of its own.
        ticks: the bot's own prices; else the exchange's stream is used.
        utc_start: the time of day that the present moment stands for; a replay passes its data's.
        take_over: stops that another instance has placed on the account are this manager's from now on. Else a manager
            that finds some when it opens ends before it writes anything: two that move one stop would cancel each
            other's. Wanted where their store is lost, or was in memory only.
        standby: where another manager owns the account in this store, wait until it ends or dies, then go on with its
            positions, as after a restart. Else that is LeaseLost.

    Raises:
        UsageError: `call_seconds` of the plan, or of a stored one, exceed the lease, or `cleanup_seconds` are below a read lag.
        StoreError: the store can't be read.
        LeaseLost: another manager owns the account in this store, or has come to own it while the block ran, which is
            cancelled then; or stops of another instance stand on the account. Stops are left standing.
        AuthenticationFailed: the exchange does not take the credentials.
        BaseException: what the block raised, as itself.
        ExceptionGroup: of a bug in a shared service; of an error of the block and that of a service beside it.

    Cancellation: waves under way clean up, position tasks end what they are at, the state is saved; each within the
        plan's `cleanup_seconds`.
    """
    if not isinstance(plan, TrailPlan):
        raise UsageError(f"plan got {plan!r}, wants a TrailPlan")
    clock, log, ids = Clock(utc_start), EventLog(), OrderIds()
    owning = acquire_lease(store, exchange, mark=ids.mark, standby=standby, clock=clock, log=log)
    async with owning as (lease, waited):
        records, sender = _assemble(exchange, lease, clock, log)
        journal = records.journal
        sender.fence.check_plan(plan)
        if waited is not None:
            records.tell(None, TookOver, waited=waited)
        async with open_service_nursery(LeaseLost, AuthenticationFailed) as books:
            await books.start(journal.run)
            try:
                async with open_service_nursery(LeaseLost, AuthenticationFailed) as tasks:
                    supervision = Supervision(sender, records, ids, plan, tasks, take_over=take_over)
                    supervision.reconciler.marks |= lease.marks
                    await supervision.run(store, ticks)
                    try:
                        yield Manager(plan, supervision)
                    finally:
                        await supervision.close()  # noqa: ASYNC102 - shields itself, with a deadline
            finally:
                with trio.move_on_after(plan.cleanup_seconds, shield=True) as scope:
                    await journal.drain()
                if scope.cancelled_caught:
                    left = journal.statistics().waiting
                    records.alarm(None, "the journal did not drain", f"{left} entries are not written")


async def plan_recovery(
    exchange: Exchange,
    store: Store,
    plan: TrailPlan,
    *,
    utc_start: datetime | None = None,
    take_over: bool = False,
) -> tuple[Finding, ...]:
    """What `open_manager` would find and do if it were opened now. Nothing is written, to the exchange or to the store.

    The account is read until it is known which orders are live, so it takes as long as an absence takes to be believed, at
    most the plan's `call_seconds`. What is not known by then is among the findings.

    Args:
        plan, utc_start, take_over: as for `open_manager`.

    Returns:
        What follows from the store and the account, position by position. As text, each is a sentence.

    Raises:
        StoreError: the store can't be read.
        LeaseLost: stops of another instance stand on the account.
        ExchangeError: the account can't be read now.

    Cancellation: nothing was written.
    """
    lease = ProcessLease(store.commit, f"{exchange.name} {exchange.account}")
    lease.end()  # nothing is owned, so that nothing can be sent or written
    records, sender = _assemble(
        exchange, lease, Clock(utc_start), None
    )  # no task runs the journal: it keeps what comes
    async with open_service_nursery() as tasks:
        supervision = Supervision(sender, records, OrderIds(), plan, tasks, take_over=take_over)
        restore(supervision, await store.load(exchange.name, exchange.account))
        found = await find_settled(supervision, lambda _: None, within=plan.call_seconds)
    if supervision.reader.snapshot is None:
        raise ExchangeUnreachable("the account can't be read now")
    return found


def _assemble(exchange: Exchange, lease: Lease, clock: Clock, log: EventLog | None) -> tuple[Records, RequestSender]:
    """Put together what writes to the store and what sends to the exchange, both for the owner of a lease."""
    journal = Journal(lease)
    publisher = EventPublisher(journal, log, exchange.name, exchange.account)
    records = Records(exchange.name, exchange.account, journal, clock, publisher)
    alarm = partial(records.alarm, None)
    return records, RequestSender(exchange, clock, LeaseFence(lease, clock, exchange), OutageDetector(), alarm)
