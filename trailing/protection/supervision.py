"""Run the position tasks of a manager, the services that they share, and the operations that end with the manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import chain, islice

import msgspec
import trio

from trailing.core.account import Orphan, PositionReport
from trailing.core.evidence import Timing
from trailing.core.findings import Finding
from trailing.core.inputs import CheckWanted, Input, RetryNow
from trailing.core.model import Position, Side, StopOrder, Tick
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import StopRecord, save_position
from trailing.core.refusals import is_irreducible, trouble
from trailing.core.states import State
from trailing.errors import ExchangeError, UsageError
from trailing.protection.account_reader import AT_ONCE, AccountReader, step_in_turns
from trailing.protection.effects import EffectPublisher
from trailing.protection.feed import Feed
from trailing.protection.order_ids import OrderIds
from trailing.protection.outcomes import UNTRACKED, Refused, Unprotected
from trailing.protection.position_task import PositionTask
from trailing.protection.reconciler import Reconciler
from trailing.protection.records import Records
from trailing.protection.recovery import recover, restore
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender
from trailing.protection.statistics import Statistics, Tally
from trailing.protection.stream import Stream
from trailing.stores.port import Store
from trailing.unprotected import UnprotectedTime


class Supervision:
    """The positions of one account, their tasks, and the services that they share.

    Args:
        plan: the manager's plan, for everything that concerns no single position.
        tasks: the service nursery of all tasks.
        take_over: whether live stops of another instance are ours from now on.

    Attributes:
        is_ending: whether the manager ends.
        recovered: the findings of the recovery when the manager opened.
        given_up: the positions that no task works on although they may be open, by symbol and side.
    """

    def __init__(
        self,
        sender: RequestSender,
        records: Records,
        ids: OrderIds,
        plan: TrailPlan,
        tasks: trio.Nursery,
        *,
        take_over: bool,
    ) -> None:
        exchange = sender.exchange
        self.sender: RequestSender = sender
        self.records: Records = records
        self.ids: OrderIds = ids
        self.now: Callable[[], float] = records.clock.now
        self._plan, self._tasks = plan, tasks
        self.effects: EffectPublisher = EffectPublisher(sender, records, tasks)
        self.timing: Timing = Timing(
            exchange.orders_read_lag, exchange.positions_read_lag, exchange.request_validity, exchange.hedged
        )
        self.registry: Registry = Registry(exchange.name, exchange.account, hedged=exchange.hedged)
        self.tally: Tally = Tally()
        self.given_up: dict[tuple[str, Side], Unprotected] = {}
        self.recovered: tuple[Finding, ...] = ()
        self.orphans: dict[str, Orphan] = {}
        self.reconciler: Reconciler = Reconciler(
            sender,
            records,
            self.registry,
            self.orphans,
            self.timing,
            mark=ids.mark,
            call_seconds=plan.call_seconds,
            take_over=take_over,
            want_snapshot=self._want_snapshot,
            start=self._start_cancelling,
        )
        self.reader: AccountReader = AccountReader(
            sender,
            records.clock,
            self.registry.all,
            self.reconciler.owner_of,
            self._live_stops,
            partial(records.alarm, None),
            call_seconds=plan.call_seconds,
            every=plan.reconcile_every,
        )
        self.reader.on_snapshot = self.reconciler.judge
        sender.outage.on_return = self.check_all
        self.feed: Feed = Feed(records, self.registry, self._step_each, self.check_all, look_every=plan.stale_after / 2)
        self._operations: set[trio.CancelScope] = set()
        self._running = 0
        self._all_ended = trio.Event()
        self.is_ending: bool = False

    # Callers.

    def check_open(self) -> None:
        """Raise UsageError if the manager has ended."""
        if self.is_ending:
            raise UsageError("the manager has ended")

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Cancel a caller's operation when the manager ends. The caller may be a task outside the manager's block.

        Raises:
            UsageError: the manager has ended, before or meanwhile.
        """
        self.check_open()
        with trio.CancelScope() as scope:
            self._operations.add(scope)
            try:
                yield
            finally:
                self._operations.discard(scope)
                self._note_end()
        if scope.cancelled_caught:
            raise UsageError("the manager has ended meanwhile")

    def get(self, symbol: str, side: Side) -> PositionTask:
        """Return the task of a position. Raises UsageError if it is not protected, or the manager has ended."""
        self.check_open()
        task = self.registry.get(symbol, side)
        if task is None:
            raise UsageError(f"{symbol} {side} is not protected")
        return task

    def new_task(self, position: Position, plan: TrailPlan, unprotected_time: UnprotectedTime) -> PositionTask:
        """Return a new task for a position that is to be claimed.

        Args:
            unprotected_time: the unprotected seconds of the position until now, by cause.

        Raises:
            UsageError: the exchange has no such market, or the plan can't be carried out there for the position.
        """
        now, market = self.now(), self.sender.exchange.market(position.symbol)
        check_native_market(plan, market)
        opened_at = now - self.seconds_since(position.opened_at)
        state = PositionState(Ratchet(position, plan, market), self.timing, now, opened_at, unprotected_time)
        return PositionTask(self, state)

    def seconds_since(self, time: datetime) -> float:
        """Return the seconds since a time of day."""
        return (self.records.clock.utc() - time).total_seconds()

    # What is where.

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Return every position without a live stop: being opened, settled or closed, waiting for its key, or given up.

        A position that the exchange reports and refuses to reduce is listed even if its stop is live, because the stop would be
        refused, too, when it triggers. So is an untracked position in the place of one of ours.
        """
        listed = dict(self.given_up)
        for task in (*self.registry.all(), *self.registry.waiting()):
            state = task.state
            if task.is_waiting or (state.live is None and state.may_be_open) or is_irreducible(state):
                position = state.position
                listed[position.symbol, position.side] = Unprotected(position, state.state.value, trouble(state))
            elif state.replaced_by is not None:  # while its own last orders are still being cancelled
                other = state.replaced_by
                listed[other.symbol, other.side] = self._untracked(other)
        return listed

    def note_never_claimed(self, refused: Refused) -> None:
        """List a position that was refused before it could be claimed. No task works on it."""
        position = refused.position
        if self.registry.get(position.symbol, position.side) is None:
            self.given_up[position.symbol, position.side] = Unprotected(position, State.CLOSED.value, refused.error)

    def list_given_up(self, task: PositionTask) -> None:
        """List a position that no task works on any more."""
        self._list_stored(Unprotected(task.state.position, State.CLOSED.value, task.state.error))

    def _list_stored(self, listed: Unprotected) -> None:
        key = (listed.position.symbol, listed.position.side)
        self.forget_given_up(*key, unless=listed.position.identity)  # the store holds one such record for each key
        self.given_up[key] = listed

    def _list_untracked(self, report: PositionReport) -> None:
        """List an untracked position that took the place of one of ours, and store that for after a restart."""
        listed = self._untracked(report)
        self._list_stored(listed)
        self.records.hand_in_record(msgspec.structs.replace(self._bare_record(listed.position), is_abandoned=True))

    def _untracked(self, report: PositionReport) -> Unprotected:
        opened_at, symbol = self.records.clock.utc(), report.symbol
        position = Position(symbol, report.side, report.quantity, report.entry_price, opened_at, id=UNTRACKED)
        why = ExchangeError("it was not handed in, and has no plan")
        return Unprotected(position, State.CLOSED.value, why)

    def forget_given_up(self, symbol: str, side: Side, *, unless: str | None = None) -> bool:
        """Remove an abandoned position from the list, here and in the store. Return whether it was listed.

        Args:
            unless: the identity of a position whose own record replaces the stored one, so that none is written here.
        """
        listed = self.given_up.pop((symbol, side), None)
        if listed is not None and listed.position.identity != unless:
            record = msgspec.structs.replace(self._bare_record(listed.position), quantity=Decimal(0))
            self.records.hand_in_record(record)
        return listed is not None

    def _bare_record(self, position: Position) -> StopRecord:
        """Return the record of a position without a task."""
        market = self.sender.exchange.market(position.symbol)
        state = PositionState(Ratchet(position, self._plan, market), self.timing, self.now())
        record = save_position(state, self.now(), self.records.clock.utc())
        return msgspec.structs.replace(record, state=State.CLOSED.value)

    def statistics(self) -> Statistics:
        """Return the figures of all that was done."""
        journal = self.records.journal.statistics()
        return self.tally.totals(
            [task.state for task in self.registry.all()],
            self.now(),
            unprotected=len(self.unprotected()),
            ticks=self.feed.ticks,
            commits=journal.commits,
            dropped=journal.dropped + self.records.publisher.dropped,
        )

    # Tasks.

    def watch(self, task: PositionTask) -> None:
        """Have the manager work on a position whenever there is work. It is no longer listed as given up."""
        if task.state.ended:
            return
        position = task.state.position
        self.forget_given_up(position.symbol, position.side, unless=position.identity)
        task.is_watched = True
        task.poke()

    def start(self, task: PositionTask) -> None:
        """Start a position's loop. After a service has failed, no loop is started, and the stops stay live."""
        if not self._tasks.cancel_scope.cancel_called:
            task.is_running = True
            self._running += 1
            self._tasks.start_soon(self._run, task)

    async def _run(self, task: PositionTask) -> None:
        try:
            await task.run()
        finally:
            task.is_running = False
            self._running -= 1
            self._note_end()

    def may_rest(self, task: PositionTask) -> bool:
        """Return whether a loop may end although it has work: the manager ends, and nothing is unfinished."""
        return self.is_ending and not task.has_unfinished

    def note_ended(self, task: PositionTask) -> None:
        """Count a position that has ended, and give its key to the next task in the queue.

        A position that was given up, and an untracked one in the place of this one, are listed from now on.
        """
        state, position = task.state, task.state.position
        key = (position.symbol, position.side)
        if self.registry.holder(*key) is not task:
            return
        self.tally.count_ended(state, self.now())
        listed = self.given_up.get(key)
        if listed is not None and listed.position.identity == position.identity:
            del self.given_up[key]
        if state.is_given_up:
            self.list_given_up(task)
        if state.replaced_by is not None:
            self._list_untracked(state.replaced_by)
        self.reconciler.released_stops.update(dict.fromkeys(state.orders, key))
        task.is_watched = False
        following = self.registry.release(task)
        task.poke()
        if following is not None:
            following.poke()
            if not following.state.is_opening:
                following.step(CheckWanted())  # its caller is gone, and the position may be flat by now
                self.watch(following)

    def check_all(self) -> None:
        """Have a new snapshot judge every position, because updates may have been missed."""
        self._step_each((task, CheckWanted()) for task in self.registry.all())
        self.reader.want(self.now() + self.timing.read_lag)

    def _retry_all(self) -> None:
        """Have every position try again now, and have a new snapshot judge it, because requests may be sent again."""
        self._step_each((task, RetryNow()) for task in self.registry.all())
        self.check_all()

    def _step_each(self, inputs: Iterable[tuple[PositionTask, Input]]) -> None:
        """Give each position its input: `AT_ONCE` positions now, the others in a task that lets other tasks run in between."""
        turns = iter(inputs)
        for task, what in islice(turns, AT_ONCE):
            task.step(what)
        following = next(turns, None)
        if following is not None:
            self._tasks.start_soon(step_in_turns, chain((following,), turns))

    def _live_stops(self, asked_at: float) -> Iterator[StopOrder]:
        """Yield the live stops that a list has to show. `asked_at`: when it is requested, on the running clock."""
        for task in self.registry.all():
            live = task.state.live
            if (
                live is not None
                and live.order is not None
                and live.changed_at + self.timing.orders_read_lag <= asked_at
            ):
                yield live.order

    def _want_snapshot(self, at: float) -> None:
        self.reader.want(at)

    def _start_cancelling(self, order: StopOrder) -> None:
        self._tasks.start_soon(self.reconciler.cancel_leftover, order)

    # From the beginning to the end.

    async def run(self, store: Store, ticks: trio.abc.ReceiveChannel[Tick] | None) -> None:
        """Start the services, and resume the stored positions.

        Raises:
            UsageError: the plan of a stored position can't be carried out here.
            StoreError: the store can't be read.
            LeaseLost: stops of another instance are live on the account. Nothing was written.
            AuthenticationFailed: the exchange does not accept the credentials.
        """
        exchange = self.sender.exchange
        self._tasks.start_soon(self.sender.fence.watch, partial(self.records.alarm, None), self._retry_all)
        stream = Stream(
            self.sender,
            self.records,
            self.registry,
            self.feed,
            silence=self._plan.stale_after,
            call_seconds=self._plan.call_seconds,
            prices=ticks is None,
        )
        self._tasks.start_soon(stream.run)
        await stream.opened.wait()
        loaded = await store.load(exchange.name, exchange.account)
        for record in restore(self, loaded):
            given_up, error = record.position, ExchangeError("it was given up before the process ended")
            self.given_up[given_up.symbol, given_up.side] = Unprotected(given_up, State.CLOSED.value, error)
        for task in self.registry.all():
            position = task.state.position
            try:
                self.sender.fence.check_plan(task.state.plan)
            except UsageError as error:
                raise UsageError(f"{position.symbol} {position.side}, stored: {error}") from None
        self.recovered = await recover(self, within=self._plan.call_seconds)
        self._tasks.start_soon(self.reader.run)
        self._tasks.start_soon(self.feed.notice_silence)
        if ticks is not None:
            self._tasks.start_soon(self.feed.run_ticks, ticks)

    async def close(self) -> None:
        """End all operations and position tasks, within the plan's `cleanup_seconds`.

        Operations are cancelled and clean up. A task ends when nothing of it is unfinished. If the time is over first, an alarm
        names each position with a request of unknown outcome. The wait is shielded.
        """
        self.is_ending = True
        for operation in tuple(self._operations):
            operation.cancel()
        for task in self.registry.all():
            task.save_if_changed()
            if task.has_unfinished:
                task.step(RetryNow())
            task.poke()
        self._note_end()
        with trio.move_on_after(self._plan.cleanup_seconds, shield=True) as scope:
            await self._all_ended.wait()
        if scope.cancelled_caught:
            for task in self.registry.all():
                if task.state.has_unknown or task.state.exit_sent:
                    self.records.alarm(task.state.position, "left unresolved at the end; it is in the store")

    def _note_end(self) -> None:
        if self.is_ending and not self._running and not self._operations:
            self._all_ended.set()
