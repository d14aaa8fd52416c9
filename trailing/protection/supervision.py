"""Run the position tasks of a manager, the services that they share, and the operations that end with the manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import chain, islice

import trio

from trailing.core.account import Orphan
from trailing.core.entries import EntryFacts
from trailing.core.evidence import Timing
from trailing.core.findings import Finding
from trailing.core.inputs import CheckWanted, Input, RetryNow
from trailing.core.model import Position, Side, StopOrder, Tick
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.refusals import is_doubtful, trouble
from trailing.errors import UsageError
from trailing.protection.account_reader import AT_ONCE, AccountReader, step_in_turns
from trailing.protection.effects import EffectPublisher
from trailing.protection.feed import Feed
from trailing.protection.given_up import GivenUp
from trailing.protection.order_ids import OrderIds
from trailing.protection.position_task import PositionTask
from trailing.protection.reconciler import Reconciler
from trailing.protection.records import Records
from trailing.protection.recovery import recover, restore
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender
from trailing.protection.statistics import Statistics, Tally
from trailing.protection.stream import Stream
from trailing.protection.waves.entry_limits import NO_LIMITS, EntryLimits, SettingsCheck
from trailing.protection.waves.entry_outcomes import WorkingEntry, working_entry
from trailing.protection.waves.outcomes import Unprotected
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
        entry_limits: the most that is entered; `entries_paused`: whether nothing is entered; `settings_check`: checks what
            the exchange has set for entries.
        given_up: the positions that no task works on although they may be open.
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
        self.given_up: GivenUp = GivenUp(records, exchange, self.timing)
        self.recovered: tuple[Finding, ...] = ()
        self.orphans: dict[str, Orphan] = {}
        self.reconciler: Reconciler = Reconciler(
            sender,
            records,
            self.registry,
            self.given_up,
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
        self.entry_limits: EntryLimits = NO_LIMITS
        self.entries_paused: bool = False
        self.settings_check: SettingsCheck = SettingsCheck(sender, plan.call_seconds)
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

    def new_entering_task(self, position: Position, plan: TrailPlan, entry: EntryFacts) -> PositionTask:
        """Return a new task for a position that is to be entered.

        Args:
            position: as the whole entry would open it at its reference price.

        Raises:
            UsageError: the plan can't be carried out there for the position.
        """
        now, market = self.now(), self.sender.exchange.market(position.symbol)
        check_native_market(plan, market)
        return PositionTask(self, PositionState(Ratchet(position, plan, market), self.timing, now, now, entry=entry))

    def seconds_since(self, time: datetime) -> float:
        """Return the seconds since a time of day."""
        return (self.records.clock.utc() - time).total_seconds()

    # What is where.

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Return every position without a live stop: being opened, settled or closed, waiting for its key, or given up.

        A position that the exchange reports and refuses to reduce is listed even if its stop is live, because the stop would be
        refused, too, when it triggers. So is one whose stop neither lists nor look-ups show, and an untracked position in the place
        of one of ours.
        """
        listed = dict(self.given_up.listed)
        for task in (*self.registry.all(), *self.registry.waiting()):
            state = task.state
            if task.is_waiting or _is_bare(state) or is_doubtful(state):
                position = state.position
                listed[position.symbol, position.side] = Unprotected(position, state.state.value, trouble(state))
            elif state.replaced_by is not None:  # while its own last orders are still being cancelled
                other = state.replaced_by
                listed[other.symbol, other.side] = self.given_up.untracked(other)
        return listed

    def entries(self) -> dict[tuple[str, Side], WorkingEntry]:
        """Return every entry of which more may be filled."""
        working = (task.state for task in self.registry.all() if task.state.is_entering)
        return {(state.position.symbol, state.position.side): working_entry(state) for state in working}

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
        self.given_up.make_way(task.state)
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
        if state.entry is not None and not state.entry.entered:
            self.feed.note_not_entered(state.entry.id)
        self.given_up.drop(position)
        if state.is_given_up:
            self.given_up.add(task)
        if state.replaced_by is not None:
            self.given_up.add_untracked(state.replaced_by)
        self.reconciler.released_stops.update(dict.fromkeys(state.orders, key))
        task.is_watched = False
        following = self.registry.release(task)
        task.poke()
        if following is not None:
            following.poke()
            if not following.state.is_opening:
                following.step(CheckWanted(is_resumed=True))  # its caller is gone, and the position may be flat by now
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
        given_up = restore(self, loaded)
        for task in self.registry.all():
            position = task.state.position
            try:
                self.sender.fence.check_plan(task.state.plan)
            except UsageError as error:
                raise UsageError(f"{position.symbol} {position.side}, stored: {error}") from None
        self.recovered = await recover(self, within=self._plan.call_seconds)
        for record, reason in given_up:
            self.given_up.add_stored(record.position, reason)
        self._tasks.start_soon(self.reader.run)
        self._tasks.start_soon(self.feed.notice_silence)
        if ticks is not None:
            self._tasks.start_soon(self.feed.run_ticks, ticks)

    async def close(self) -> None:
        """End all operations and position tasks, within the plan's `cleanup_seconds`.

        Operations are cancelled and clean up. A task ends when nothing of it is unfinished. If the time is over first, an alarm
        names each position with a request of unknown outcome. The wait is shielded. The records that the store has refused are
        handed in once more, before and after the wait.
        """
        self.is_ending = True
        for operation in tuple(self._operations):
            operation.cancel()
        self._save_all()
        for task in self.registry.all():
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
        self._save_all()

    def _save_all(self) -> None:
        """Hand in each record that the store does not hold. A caller that waits for a key hands its own in when it is cancelled."""
        for task in (*self.registry.all(), *self.registry.waiting()):
            if not (task.is_waiting and task.state.is_opening):
                task.save_if_changed()
        self.records.store_again()

    def _note_end(self) -> None:
        if self.is_ending and not self._running and not self._operations:
            self._all_ended.set()


def _is_bare(state: PositionState) -> bool:
    """Return whether a position may be open without a live stop. An entry that rests is no position yet."""
    if state.is_entering and not state.quantity:
        return state.entry is not None and state.entry.is_over
    return state.live is None and state.may_be_open
