"""Protect a wave, which is a batch of positions handed in at the same moment.

Each position has its own task and deadline, all in one nursery. The failure of a position is its own outcome.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from trailing.core.endings import protects_all
from trailing.core.entry_checks import check_side, check_size
from trailing.core.inputs import CheckWanted, DeadlineStruck, EntryRefused, EntryUnreported, OpeningEnded, StopFound
from trailing.core.model import Position, StopOrder
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.prices import floor_quantity
from trailing.errors import (
    NothingToReduce,
    TrailingError,
    UsageError,
)
from trailing.protection.position_task import PositionTask
from trailing.protection.requests import RequestSender
from trailing.protection.supervision import Supervision
from trailing.protection.waves.opening import clean_up, fresh_price, go_on, is_decided, settling_seconds
from trailing.protection.waves.outcomes import (
    Attempt,
    OpeningTimes,
    Outcome,
    Refused,
    WaveReport,
)

T = TypeVar("T")

REPORT_WAIT: Final = 1.0
"""The most seconds that an opening waits for the wave's snapshot once its stop is live. The snapshot is requested when the stop
is, so that it has mostly come by then. The opening goes on without it if the lists take longer than the order and this wait."""


class Wave:
    """One call that protects a batch of positions.

    Args:
        plan: of all positions of the wave.
        deadline: seconds for each position, above 0.
        is_reported: whether a snapshot has just shown the positions, so that no snapshot has to check their entries.

    Attributes:
        bugs: errors other than a `TrailingError`. They are raised after every position has its outcome.
    """

    def __init__(
        self, supervision: Supervision, plan: TrailPlan, deadline: float, *, is_reported: bool = False
    ) -> None:
        self._supervision, self._plan, self._is_reported = supervision, plan, is_reported
        self._deadline, self._started = deadline, supervision.now()
        self._opening_times: list[float] = []
        self._was_unreported = False
        self._never_claimed: list[Refused] = []
        self.bugs: list[Exception] = []

    @property
    def elapsed(self) -> float:
        """Return the seconds since the wave began."""
        return self._supervision.now() - self._started

    @property
    def opening_times(self) -> OpeningTimes:
        """Return the opening times of the stops that the wave placed."""
        return OpeningTimes.over(self._opening_times)

    def note_opened(self, seconds: float) -> None:
        """Note that a stop was opened, so many seconds after its position began."""
        self._opening_times.append(seconds)

    async def run(self, positions: Sequence[Position]) -> WaveReport:
        """Protect all positions, each in its own task and within the deadline. Raises as `run_each`."""
        outcomes = await self.run_each([partial(self.protect, position) for position in positions])
        return WaveReport(outcomes, self.elapsed, self.opening_times)

    async def run_each(self, openings: Sequence[Callable[[], Awaitable[T]]]) -> tuple[T, ...]:
        """Call each opening in its own task, and return their outcomes in the same order.

        Raises:
            ExceptionGroup: of bugs, which are errors other than a `TrailingError`, after every position has its outcome.

        Cancellation: every partial order is cleaned up. Then the cancellation passes on.
        """
        outcomes: dict[int, T] = {}

        async def run_one(index: int, opening: Callable[[], Awaitable[T]]) -> None:
            outcomes[index] = await opening()

        try:
            async with trio.open_nursery() as nursery:
                for index, opening in enumerate(openings):
                    nursery.start_soon(run_one, index, opening)
        finally:
            for refused in self._never_claimed:
                if self._supervision.registry.get(refused.symbol, refused.side) is None:
                    self._supervision.given_up.add_refused(refused)
            within = min(self._plan.journal_wait, self._plan.cleanup_seconds)
            await self._supervision.records.wait_stored(within, shield=True)  # noqa: ASYNC102 - with a deadline
        if self.bugs:
            raise ExceptionGroup("bugs while a wave was protected; its positions have their outcomes", self.bugs)
        return tuple(outcomes[index] for index in range(len(openings)))

    async def protect(
        self, position: Position, *, standing: StopOrder | None = None, ends_at: float | None = None
    ) -> Outcome:
        """Protect one position of the wave within its deadline.

        Args:
            standing: our live stop behind the position; None: it gets a new stop.
            ends_at: the deadline, in seconds on the running clock; None: the wave's, from now on.
        """
        attempt = Attempt(position, self._supervision, standing)
        with trio.move_on_at(trio.current_time() + self._deadline if ends_at is None else ends_at) as scope:
            try:
                outcome = await self._protect(attempt, scope)
            except TrailingError as error:
                outcome = attempt.refused(error)
            except Exception as bug:  # the other positions go on; it is raised after all of them have ended
                self.bugs.append(bug)
                outcome = attempt.refused(bug)
        if scope.cancelled_caught:
            outcome = attempt.cut_short()
        if attempt.task is None and isinstance(outcome, Refused) and not isinstance(outcome.error, NothingToReduce):
            self._never_claimed.append(outcome)
        if attempt.acknowledged_after is not None:
            self.note_opened(attempt.acknowledged_after)
        return outcome

    async def _protect(self, attempt: Attempt, scope: trio.CancelScope) -> Outcome:
        supervision = self._supervision
        while True:
            new = supervision.new_task(attempt.position, self._plan, attempt.unclaimed_time)
            held = supervision.registry.claim(new)
            if held is new:
                return await self._open(attempt, new, scope)
            attempt.standing = None  # it was read before, and the other claim may have changed it since
            outcome = await self._join(attempt, held, new, scope)
            if outcome is not None:
                return outcome

    # Another claim holds the key.

    async def _join(
        self, attempt: Attempt, held: PositionTask, new: PositionTask, scope: trio.CancelScope
    ) -> Outcome | None:
        """Wait for the claim that holds the key, and return the outcome; None: the key can be claimed.

        A position other than the one that holds the key waits in the queue. It is listed at once and gets the key when it is free.

        Raises:
            UsageError, NothingToReduce: as `_wait_covered`.

        Cancellation: the position stays in the queue and the manager protects it later, or it is withdrawn, as the plan says.
        """
        registry, position = self._supervision.registry, attempt.position
        if not _is_same(held, position):
            registry.wait_for(new)
            attempt.task = new
        try:
            while True:
                if attempt.task is not None and not new.is_waiting:
                    return await self._open(attempt, new, scope)
                if registry.holder(position.symbol, position.side) is not held:
                    following = registry.holder(position.symbol, position.side)
                    if following is None or attempt.task is None:
                        return None
                    held = following
                stop = await self._wait_covered(attempt, held)
                if stop is not None:
                    attempt.task = None
                    return attempt.already_protected(stop, held)
        except trio.Cancelled:
            if attempt.task is new:
                self._leave_waiting(new, final=not scope.cancel_called)
            raise
        finally:
            if new.is_waiting and attempt.task is None:
                registry.drop(new)

    async def _wait_covered(self, attempt: Attempt, held: PositionTask) -> StopOrder | None:
        """Return the stop of a claim as soon as it covers a position; None: the key has another holder, or none.

        Raises:
            UsageError: the claim is for the other side, and a snapshot shows that position as open.
            NothingToReduce: the position was being closed when it was handed in.
        """
        registry, position, state = self._supervision.registry, attempt.position, held.state
        wanted = floor_quantity(position.quantity, state.market.quantity_step)
        asked_from: float | None = None
        while registry.holder(position.symbol, position.side) is held:
            is_listed = asked_from is not None and state.listed_at >= asked_from
            if is_listed and state.position.side != position.side:
                attempt.task = None
                raise UsageError(
                    f"{position.symbol} got a {position.side} position while its {state.position.side} position is open"
                )
            stop, same = state.stop, _is_same(held, position)
            is_shown = (
                asked_from is not None and state.shown_at >= asked_from
            )  # and not only that some position is listed
            if stop is not None and protects_all(state) and (is_shown or (same and stop.quantity >= wanted)):
                return stop
            if asked_from is None and not state.is_opening:
                asked_from = self._supervision.now() + self._supervision.timing.positions_read_lag
                held.step(CheckWanted(None if same else position))
                continue
            await held.wait_changed()
        if _is_same(held, position) and not state.quantity and state.replaced_by is None and attempt.task is None:
            raise NothingToReduce(f"{position.symbol} {position.side} was being closed when it was handed in")
        return None

    def _leave_waiting(self, task: PositionTask, *, final: bool) -> None:
        """Have the manager go on with a position whose caller is gone, or list it as given up.

        Args:
            task: waits for its key, or has just got it.
            final: whether the wave was cancelled from outside. If so, `on_wave_cancelled` applies.
        """
        task.step(DeadlineStruck(final))
        task.step(OpeningEnded())
        if not task.is_waiting:
            self._supervision.watch(task)
            return
        if task.state.is_given_up:
            self._supervision.registry.drop(task)
            self._supervision.given_up.add(task)
        self._supervision.records.hand_in(task)

    # It is claimed.

    async def _open(self, attempt: Attempt, task: PositionTask, scope: trio.CancelScope) -> Outcome:
        attempt.task, state = task, task.state
        self._supervision.reader.want(self._supervision.now(), is_waited_for=True)
        try:
            self._check(task)
            if self._is_reported:
                task.step(EntryUnreported(None))
            if attempt.standing is not None:
                task.step(StopFound(attempt.standing))
            await task.work(until=lambda: is_decided(state, scope.deadline, self._supervision.now()))
            if state.live is not None and attempt.standing is None:
                attempt.acknowledged_after = self._supervision.now() - state.claimed_at
            if state.live is not None:
                self._supervision.watch(task)  # the stop trails while the entry is checked
                await self._wait_entry_checked(task)
            if state.is_given_up:
                await go_on(task, lambda: state.ended)
        except BaseException as error:
            await clean_up(self._supervision, task, error, scope)  # noqa: ASYNC102 - shields itself, with a deadline
            raise
        finally:
            task.step(OpeningEnded())
            if not task.is_watched:
                self._supervision.watch(task)
        return attempt.opened()

    def _check(self, task: PositionTask) -> None:
        """Refuse a position whose figures can't be right by its plan, its market and the last known price.

        Nothing was sent.
        """
        state = task.state
        price = fresh_price(self._supervision, state.position.symbol, state.plan)
        try:
            check_size(state.position, state.plan, state.market, state.ratchet.first_stop, price)
            if price is not None:
                check_side(state.position, price)
        except UsageError as wrong:
            task.step(EntryRefused(wrong))

    async def _wait_entry_checked(self, task: PositionTask) -> None:
        """Wait until a snapshot has confirmed the entry, at most `REPORT_WAIT` and at most as long as a clean-up.

        The wait is shielded, because the position has its stop. Without a snapshot, the last known price checks the entry, and one
        alarm says so for the whole wave.
        """
        state = task.state
        if state.is_entry_checked:
            return
        seconds = min(REPORT_WAIT, settling_seconds(state.plan))
        with trio.move_on_after(seconds, shield=True) as scope:
            while not (state.is_entry_checked or state.ended):
                await task.wait_changed()
        if scope.cancelled_caught:
            task.step(EntryUnreported(fresh_price(self._supervision, state.position.symbol, state.plan)))
            if not self._was_unreported:
                self._was_unreported = True
                detail = f"no snapshot within {seconds} s"
                self._supervision.records.alarm(None, "the positions were not read beside the wave", detail)


def check_wave_plan(sender: RequestSender, plan: TrailPlan, symbols: Iterable[str]) -> None:
    """Refuse a plan that can't be carried out here, or natively on one of the markets. Raises UsageError.

    A symbol that the exchange does not know is its own position's failure.
    """
    sender.fence.check_plan(plan)
    for symbol in symbols if plan.native else ():
        try:
            market = sender.exchange.market(symbol)
        except UsageError:
            continue
        check_native_market(plan, market)


def _is_same(held: PositionTask, position: Position) -> bool:
    other = held.state.position
    return (other.identity, other.side) == (position.identity, position.side)
