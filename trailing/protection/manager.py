"""The manager: puts exchange, store and protection together, and keeps their tasks alive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from decimal import Decimal

import trio

from trailing.core.actions import Action
from trailing.core.model import Position, Side, StopOrder, Tick, check_seconds, refuse
from trailing.core.plan import TrailPlan
from trailing.errors import AuthenticationFailed, LeaseLost, UsageError
from trailing.events import Event, TookOver
from trailing.exchanges.port import Exchange
from trailing.protection.adoption import find_position
from trailing.protection.announcer import Announcer, EventLog
from trailing.protection.changes import change_plan
from trailing.protection.clock import Clock
from trailing.protection.closing import close_position
from trailing.protection.gate import Gate
from trailing.protection.journal import Journal
from trailing.protection.native import check_plan
from trailing.protection.order_ids import OrderIds
from trailing.protection.orders import Orders
from trailing.protection.outcomes import Exited, Outcome, Refused, TimedOut, WaveReport
from trailing.protection.ownership import own_account
from trailing.protection.protection import Protection
from trailing.protection.reach import Reach
from trailing.protection.statistics import Statistics
from trailing.protection.supervision import Supervision, Unprotected
from trailing.protection.wave import Wave
from trailing.services import open_services
from trailing.stores.port import Store


class Manager:
    """Protects the positions of one account. Made by `open_manager`."""

    def __init__(self, orders: Orders, plan: TrailPlan, supervision: Supervision) -> None:
        self._orders, self._plan, self._supervision = orders, plan, supervision

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
        self, positions: Sequence[Position], deadline: float, plan: TrailPlan, standing: StopOrder | None = None
    ) -> WaveReport:
        check_seconds("deadline", deadline, zero=False)
        check_plan(self._orders, plan, (position.symbol for position in positions))
        with self._supervision.operation():
            wave = Wave(
                self._orders,
                self._supervision.registry,
                self._supervision.feed,
                plan,
                deadline,
                self._supervision.hand_over,
                standing=standing,
            )
            try:
                report = await wave.run(positions)
            finally:
                for refused in wave.never_claimed:
                    self._supervision.note_never_claimed(refused)
        self._supervision.tally.count_wave(report)
        return report

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
        orders, supervision, plan = self._orders, self._supervision, plan or self._plan
        check_plan(orders, plan, (symbol,))
        ends_at = orders.clock.now() + deadline
        with supervision.operation():
            position, standing = await find_position(
                orders, supervision, symbol, side, plan, stop_price, ends_at=ends_at
            )
        try:
            report = await self._protect((position,), ends_at - orders.clock.now(), plan, standing)
        finally:
            supervision.reconciliation.ask()  # where more than one stop of ours was left standing, all but one go
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
        self._orders.gate.check_plan(plan)
        protection = self._supervision.get(symbol, side)
        with self._supervision.operation():
            await change_plan(self._orders, protection, plan)

    async def close(self, symbol: str, side: Side, *, deadline: float) -> Exited | TimedOut | Refused:
        """Close a position at market, reduce-only, then end its stops: the bot's own exit.

        Args:
            deadline: seconds to wait for it, above 0. The manager goes on with it afterwards.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the waiting; the manager goes on with it.
        """
        check_seconds("deadline", deadline, zero=False)
        protection = self._supervision.get(symbol, side)
        with self._supervision.operation():
            return await close_position(self._orders.clock, protection, deadline)

    async def close_all(self, *, deadline: float) -> tuple[Exited | TimedOut | Refused, ...]:
        """Close every protected position, all in parallel. See `close`."""
        results: dict[int, Exited | TimedOut | Refused] = {}

        async def close_one(index: int, protection: Protection) -> None:
            results[index] = await close_position(self._orders.clock, protection, deadline)

        check_seconds("deadline", deadline, zero=False)
        with self._supervision.operation():
            async with trio.open_nursery() as nursery:
                for index, protection in enumerate(self._supervision.registry.all()):
                    nursery.start_soon(close_one, index, protection)
        return tuple(results[index] for index in sorted(results))

    async def release(self, symbol: str, side: Side, *, cancel_stop: bool) -> None:
        """Give a position back: it is no longer protected by this manager.

        Args:
            cancel_stop: cancel its stop; else the stop is left standing on the exchange, and is nobody's.

        Raises:
            UsageError: no such position is protected.

        Cancellation: ends the waiting; the manager goes on with it.
        """
        if self._supervision.given_up.pop((symbol, side), None) is not None:
            await trio.lowlevel.checkpoint()
            return
        protection = self._supervision.get(symbol, side)
        with self._supervision.operation():
            await protection.wait_opened()
            protection.release_wanted = cancel_stop
            protection.hurry()
            while not protection.closed:
                await protection.wait_changed()

    @property
    def recovered(self) -> tuple[Action, ...]:
        """What the reading of the account found when the manager opened. As text, each is a sentence."""
        return self._supervision.recovered

    def stops(self) -> dict[tuple[str, Side], StopOrder]:
        """The live stop of every protected position, as the exchange acknowledged it."""
        return {
            (protection.position.symbol, protection.position.side): protection.live
            for protection in self._supervision.registry.all()
            if protection.live is not None
        }

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Every position without a live stop that somebody wanted protected: being opened or settled, or given up."""
        return self._supervision.unprotected()

    def statistics(self) -> Statistics:
        """Figures over all that this manager has done."""
        held, tally = self._supervision.registry.all(), self._supervision.tally
        now = self._orders.clock.now()
        journal = self._orders.journal.statistics()
        confirmed_at = [tally.confirmed_at, *(protection.confirmed_at for protection in held)]
        confirmed = [at for at in confirmed_at if at is not None]
        return Statistics(
            waves=tally.waves,
            outcomes=dict(tally.outcomes),
            opening_times=tally.opening_times,
            protected=len(self.stops()),
            unprotected=len(self.unprotected()),
            moves=tally.moves + sum(protection.moves for protection in held),
            closed=tally.closed,
            exposure_by=sum((protection.exposure_at(now) for protection in held), tally.exposure),
            since_confirmed=now - max(confirmed) if confirmed else None,
            ticks=self._supervision.feed.ticks,
            foreign_ticks=tally.foreign_ticks + sum(protection.stop.foreign_ticks for protection in held),
            commits=journal.commits,
            dropped=journal.dropped + self._orders.announcer.dropped,
        )

    async def wait_closed(self) -> None:
        """Wait until the last position has ended, or was released or given up."""
        with self._supervision.operation():
            await self._supervision.registry.wait_empty()

    def subscribe(self, capacity: int = 1000) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """Events from now on, over a bounded channel; what finds it full is dropped and counted, never waited for."""
        return self._orders.announcer.subscribe(capacity)


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
    owning = own_account(store, exchange, mark=ids.mark, standby=standby, clock=clock, log=log)
    async with owning as (lease, waited):
        journal = Journal(lease)
        announcer = Announcer(journal, log, exchange.name, exchange.account)
        gate = Gate(lease, clock, exchange)
        gate.check_plan(plan)
        orders = Orders(exchange, journal, clock, announcer, ids, Reach(), gate)
        if waited is not None:
            orders.tell(None, TookOver, waited=waited)
        async with open_services() as books:
            await books.start(journal.run)
            try:
                async with open_services(LeaseLost, AuthenticationFailed) as tasks:
                    supervision = Supervision(orders, plan, tasks, take_over=take_over)
                    supervision.reconciliation.marks |= lease.marks
                    await supervision.run(store, ticks)
                    try:
                        yield Manager(orders, plan, supervision)
                    finally:
                        await supervision.close()  # noqa: ASYNC102 - shields itself, with a deadline
            finally:
                with trio.move_on_after(plan.cleanup_seconds, shield=True) as scope:
                    await journal.drain()
                if scope.cancelled_caught:
                    left = journal.statistics().waiting
                    orders.alarm(None, "the journal did not drain", f"{left} entries are not written")
