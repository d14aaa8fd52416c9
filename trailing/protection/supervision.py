"""What a manager runs: the tasks that keep positions, the feed, and everything that has to have ended before it does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
import trio

from trailing.core.account import Orphan, PositionReport
from trailing.core.actions import Action
from trailing.core.model import Position, Side, Tick
from trailing.core.plan import TrailPlan
from trailing.core.states import State
from trailing.errors import ExchangeError, UsageError
from trailing.protection.feed import Feed
from trailing.protection.following import Follower
from trailing.protection.orders import Orders
from trailing.protection.outcomes import Refused
from trailing.protection.protection import Protection
from trailing.protection.reconciliation import Reconciliation
from trailing.protection.recovery import recover, restore
from trailing.protection.registry import Registry
from trailing.protection.statistics import Tally
from trailing.protection.stream import Stream
from trailing.protection.trailing import Keeper, wakes_at
from trailing.stores.port import Store

NOT_OURS = "not ours"
"""The id of an open position that took the place of one of ours, and that nobody has asked us to protect."""


class Unprotected(msgspec.Struct, frozen=True):
    """A position without a live stop.

    Args:
        state: its state, in the table's words; ``"closed"`` where nobody works on it any more.
        error: why, as far as is known.
    """

    position: Position
    state: str
    error: Exception | None


class Supervision:
    """The positions that are kept, each by a task of its own while there is something to do, and who waits for one.

    Args:
        plan: the manager's, for what concerns no single position.
        tasks: the service nursery that everything runs in.
        take_over: orders of another instance that stand on the account are ours from now on.

    Attributes:
        reconciliation: compares with what the exchange reports.
        recovered: what the reading of the exchange found when the manager opened.
        kept: the positions that a task works on whenever there is something to do.
        given_up: those that nobody works on any more although they may be open, by symbol and side.
    """

    def __init__(self, orders: Orders, plan: TrailPlan, tasks: trio.Nursery, *, take_over: bool) -> None:
        self._orders, self._plan, self._tasks = orders, plan, tasks
        exchange = orders.exchange
        self.registry: Registry = Registry(exchange.name, exchange.account, hedged=exchange.hedged)
        self.tally: Tally = Tally()
        self.kept: set[Protection] = set()
        self.given_up: dict[tuple[str, Side], Unprotected] = {}
        self.recovered: tuple[Action, ...] = ()
        self._orphans = orphans = dict[str, Orphan]()
        self._follower = Follower(orders, self.registry, orphans, call_seconds=plan.call_seconds)
        self.reconciliation: Reconciliation = Reconciliation(
            orders,
            self.registry,
            self._follower,
            orphans,
            call_seconds=plan.call_seconds,
            every=plan.reconcile_every,
            take_over=take_over,
        )
        orders.reach.on_return = self.reconciliation.ask
        self.feed: Feed = Feed(orders, self.registry, self.reconciliation.ask)
        self._at_work: set[Protection] = set()
        self._operations: set[trio.CancelScope] = set()
        self._all_ended = trio.Event()
        self._closing = False

    def check_open(self) -> None:
        """Raises UsageError where the manager has ended."""
        if self._closing:
            raise UsageError("the manager has ended")

    @contextmanager
    def operation(self) -> Iterator[None]:
        """What somebody waits for, perhaps in a task outside the manager's block: it ends with the manager.

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

    def _note_end(self) -> None:
        if self._closing and not self.kept and not self._operations:
            self._all_ended.set()

    def get(self, symbol: str, side: Side) -> Protection:
        """The protection of a position. Raises UsageError where there is none, or the manager has ended."""
        self.check_open()
        protection = self.registry.get(symbol, side)
        if protection is None:
            raise UsageError(f"{symbol} {side} is not protected")
        return protection

    def unprotected(self) -> dict[tuple[str, Side], Unprotected]:
        """Every position without a live stop: being opened or settled, or given up. One that is being closed has its end."""
        return self.given_up | {
            (protection.position.symbol, protection.position.side): Unprotected(
                protection.position, protection.stop.state.value, protection.error
            )
            for protection in self.registry.all()
            if protection.live is None and protection.stop.state is not State.EXITING
        }

    def note_never_claimed(self, refused: Refused) -> None:
        """A position was refused before it could be claimed, so that no task knows of it."""
        key = (refused.position.symbol, refused.position.side)
        if self.registry.get(*key) is None:
            self.given_up[key] = Unprotected(refused.position, State.CLOSED.value, refused.error)

    def _note_stranger(self, report: PositionReport) -> None:
        error = ExchangeError("it was opened while nobody looked, and has no plan")
        position = Position(
            report.symbol, report.side, report.quantity, report.entry_price, self._orders.clock.utc(), id=NOT_OURS
        )
        self.given_up[report.symbol, report.side] = Unprotected(position, State.CLOSED.value, error)

    def hand_over(self, protection: Protection) -> None:
        """A position's opening has ended: from now on its own task works on it, or nobody does."""
        self.given_up.pop((protection.position.symbol, protection.position.side), None)
        if protection.closed:
            self._ended(protection)
        else:
            self.keep(protection)

    def keep(self, protection: Protection) -> None:
        """From now on a task works on this position whenever it has something to do."""
        self.kept.add(protection)
        protection.wake = self._wake
        self._wake(protection)

    def _wake(self, protection: Protection) -> None:
        if self._tasks.cancel_scope.cancel_called:
            # A service has failed: nobody works on anything any more, and the stops stand.
            self.kept.discard(protection)
            return
        if protection not in self._at_work and (self._closing or protection.closed or wakes_at(protection) < math.inf):
            self._at_work.add(protection)
            self._tasks.start_soon(self._work_on, protection)

    async def _work_on(self, protection: Protection) -> None:
        over = True
        try:
            over = await Keeper(self._orders, protection, closing=lambda: self._closing).run()
        finally:
            self._at_work.discard(protection)
            if over:
                protection.wake = None
                if protection.closed:
                    self._ended(protection)
                self.kept.discard(protection)
                self._note_end()

    def _ended(self, protection: Protection) -> None:
        tally, now = self.tally, self._orders.clock.now()
        tally.closed += not protection.stop.quantity
        tally.moves += protection.moves
        tally.exposure += protection.exposure_at(now)
        tally.foreign_ticks += protection.stop.foreign_ticks
        if protection.confirmed_at is not None:
            tally.confirmed_at = max(protection.confirmed_at, tally.confirmed_at or protection.confirmed_at)
        if protection.stop.given_up:
            position = protection.position
            unprotected = Unprotected(position, protection.stop.state.value, protection.error)
            self.given_up[position.symbol, position.side] = unprotected
        if protection.replaced_by is not None:
            self._note_stranger(protection.replaced_by)
        key = (protection.position.symbol, protection.position.side)
        self.reconciliation.left.update(dict.fromkeys(protection.stop.orders, key))
        if protection.stop.native is not None:
            self.reconciliation.left[protection.stop.native.client_order_id] = key
        self.registry.remove(protection)

    async def run(self, store: Store, ticks: trio.abc.ReceiveChannel[Tick] | None) -> None:
        """Start what has to run while the manager is open, and resume what the store holds."""
        exchange = self._orders.exchange
        self._tasks.start_soon(self._orders.gate.watch, partial(self._orders.alarm, None), self._go_on)
        stream = Stream(
            self._orders,
            self.registry,
            self.feed,
            silence=self._plan.stale_after,
            call_seconds=self._plan.call_seconds,
            prices=ticks is None,
        )
        self._tasks.start_soon(stream.run)
        await stream.opened.wait()
        loaded = await store.load(exchange.name, exchange.account)
        for record in restore(self._orders, self.registry, self.reconciliation, self._orphans, loaded):
            position = record.position
            error = ExchangeError("it was given up before the process ended")
            self.given_up[position.symbol, position.side] = Unprotected(position, record.state, error)
        for protection in self.registry.all():
            try:
                self._orders.gate.check_plan(protection.plan)
            except UsageError as error:
                raise UsageError(f"{protection.position.symbol} {protection.position.side}, stored: {error}") from None
        self.recovered = await recover(
            self._orders,
            self.registry,
            self.reconciliation,
            self._follower,
            self.keep,
            within=self._plan.call_seconds,
        )
        self._tasks.start_soon(self.reconciliation.run)
        self._tasks.start_soon(self.feed.notice_silence)
        if ticks is not None:
            self._tasks.start_soon(self.feed.run_ticks, ticks)

    def _go_on(self) -> None:
        """Something may be sent again: everybody tries now, and what was missed is read."""
        self.reconciliation.ask()
        for protection in self.registry.all():
            protection.hurry()

    async def close(self) -> None:
        """No new operations; those under way are cleaned up or settled, within the plan's `cleanup_seconds`."""
        self._closing = True
        for operation in tuple(self._operations):
            operation.cancel()
        for protection in self.registry.all():
            protection.hurry()
        if not self.kept and not self._operations:
            return
        with trio.move_on_after(self._plan.cleanup_seconds, shield=True) as scope:
            await self._all_ended.wait()
        if scope.cancelled_caught:
            for protection in self.registry.all():
                if protection.pending:
                    self._orders.alarm(protection, "left unresolved at the end; it is in the store")
