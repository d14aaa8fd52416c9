"""Enter a wave: place the orders that open positions, and protect each from its first fill on.

Each entry has its own task and deadline, all in one nursery. Its claim comes first, so that nothing else works on its symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import trio

from trailing.core.entries import Entry, EntryFacts, check_prices, position_of
from trailing.core.goals import End
from trailing.core.inputs import OpeningEnded
from trailing.core.model import Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.prices import round_stop
from trailing.core.refusals import trouble
from trailing.errors import (
    EntryRejected,
    ExchangeError,
    ExchangeUnreachable,
    StoreError,
    TrailingError,
    UsageError,
)
from trailing.protection.position_task import PositionTask
from trailing.protection.supervision import Supervision
from trailing.protection.waves.entry_limits import LimitReached
from trailing.protection.waves.entry_outcomes import EntryOutcome, EntryReport, NotEntered, NotEnteredReason
from trailing.protection.waves.opening import clean_up, fresh_price, is_decided
from trailing.protection.waves.outcomes import Exited, Protected, TimedOut
from trailing.protection.waves.wave import Wave


class _Paused(UsageError):
    """Entries are paused. Nothing was sent."""


class _Claimed(UsageError):
    """The symbol has a position already. Nothing was sent."""


class EntryWave:
    """One call that enters a batch of positions.

    Args:
        plan: of all positions of the wave.
        deadline: seconds for each entry, above 0.
    """

    def __init__(self, supervision: Supervision, plan: TrailPlan, deadline: float) -> None:
        self._supervision, self._plan, self._deadline = supervision, plan, deadline
        self._wave = Wave(supervision, plan, deadline)
        self._notional = Decimal(0)
        self._opening_times: list[float] = []

    async def run(self, entries: Sequence[Entry]) -> EntryReport:
        """Enter all, each in its own task and within the deadline. Raises as `Wave.run_each`."""
        outcomes = await self._wave.run_each([partial(self._enter, entry) for entry in entries])
        return EntryReport(outcomes, self._wave.elapsed, self._wave.opening_times)

    async def _enter(self, entry: Entry) -> EntryOutcome:
        """Enter one position of the wave within its deadline."""
        attempt = _Attempt(entry, self._supervision, self._deadline)
        outcome: EntryOutcome
        with trio.move_on_after(self._deadline) as scope:
            try:
                outcome = await self._claim_and_open(attempt, scope)
            except TrailingError as error:
                outcome = attempt.failed(error)
            except Exception as bug:  # the other entries go on; it is raised after all of them have ended
                self._wave.bugs.append(bug)
                outcome = attempt.failed(bug)
        if scope.cancelled_caught:
            outcome = attempt.outcome()
        if isinstance(outcome, Protected):
            self._wave.note_opened(outcome.unprotected_time.total)
        return outcome

    async def _claim_and_open(self, attempt: _Attempt, scope: trio.CancelScope) -> EntryOutcome:
        supervision, entry, plan = self._supervision, attempt.entry, self._plan
        self._check_allowed(entry)
        price = fresh_price(supervision, entry.symbol, plan)
        if price is None and entry.limit is None:
            reading = partial(supervision.sender.exchange.price, entry.symbol, plan.trigger)
            price = (await supervision.sender.read("price", reading, plan.call_seconds)).price
        check_prices(entry, price, plan.max_entry_gap)
        await self._check_flat(entry)
        await supervision.settings_check.check(entry.symbol, entry.side, supervision.entry_limits)
        task = self._new_task(entry, price)
        self._check_allowed(entry)
        held = supervision.registry.claim(task)
        if held is not task:
            raise _Claimed(_why_claimed(entry, held))
        attempt.task = task
        self._notional += _worth(task.state.position)
        return await self._open(attempt, task, scope)

    def _check_allowed(self, entry: Entry) -> None:
        """Raise if entries are paused, or another position would be too many."""
        if self._supervision.entries_paused:
            raise _Paused(f"{entry.symbol}: entries are paused")
        most, claimed = self._supervision.entry_limits.max_positions, len(self._supervision.registry.all())
        if most is not None and claimed >= most:
            raise LimitReached(f"{entry.symbol}: {claimed} positions are open, and EntryLimits.max_positions is {most}")

    async def _check_flat(self, entry: Entry) -> None:
        """Refuse a symbol with a position that no task works on: one that was given up, or that the last snapshot shows.

        Raises:
            UsageError: such a position is open. Nothing was sent.
            ExchangeError: a new snapshot could not be taken.
        """
        supervision = self._supervision
        sides: tuple[Side, ...] = (entry.side,) if supervision.timing.hedged else ("long", "short")
        if supervision.registry.holder(entry.symbol, entry.side) is not None:
            return  # the claim fails, and says why
        for side in sides:
            if (entry.symbol, side) in supervision.given_up.listed:
                raise _Claimed(
                    f"{entry.symbol}: its {side} position was given up; adopt it, or release it if it is closed"
                )
        snapshot = supervision.reader.snapshot
        if snapshot is not None and any((entry.symbol, side) in snapshot.reports for side in sides):
            snapshot = await supervision.reader.read()  # the position may have ended since
        for side in sides:
            if snapshot is not None and (entry.symbol, side) in snapshot.reports:
                raise _Claimed(
                    f"{entry.symbol}: a {side} position is open that is not protected; adopt or close it first"
                )

    def _new_task(self, entry: Entry, price: Decimal | None) -> PositionTask:
        """Return the task of an entry.

        Args:
            price: the market price; None: the entry has a limit.

        Raises:
            UsageError: a figure of the entry is impossible, or a limit is reached.
        """
        supervision, plan = self._supervision, self._plan
        exchange, ids, now = supervision.sender.exchange, supervision.ids, supervision.records.clock.utc()
        market = exchange.market(entry.symbol)
        limit, rests = entry.limit, True
        reference = limit if limit is not None else price
        assert reference is not None
        most = supervision.entry_limits.max_slippage
        if limit is None and most is not None:
            worst = reference + most.of(reference) if entry.side == "long" else reference - most.of(reference)
            # rounded so that it is never worse than the worst price
            limit = round_stop("short" if entry.side == "long" else "long", worst, market.price_tick)
            rests = False
        own_id = ids.new()
        position = position_of(entry, market, reference, now, own_id)
        self._check_notional(position)
        stop_id = {"own": ids.new(), "bridge": own_id, None: None}[market.attached_stop]
        facts = EntryFacts(
            own_id,
            position.quantity,
            reference,
            now,
            limit=limit,
            rests=rests,
            stop_id=stop_id,
            stop_price=None if stop_id is None else plan.first_stop(position, market),
        )
        return supervision.new_entering_task(position, plan, facts)

    def _check_notional(self, position: Position) -> None:
        """Raise LimitReached if the wave would be worth too much with this position, beside those that were claimed."""
        most, worth = self._supervision.entry_limits.max_notional_per_wave, self._notional + _worth(position)
        if most is not None and worth > most:
            raise LimitReached(
                f"{position.symbol}: the wave would be worth {worth}, and EntryLimits.max_notional_per_wave is {most}"
            )

    async def _open(self, attempt: _Attempt, task: PositionTask, scope: trio.CancelScope) -> EntryOutcome:
        supervision, state = self._supervision, task.state
        try:
            await task.work(until=lambda: is_decided(state, scope.deadline, supervision.now()))
        except BaseException as error:
            await clean_up(supervision, task, error, scope)  # noqa: ASYNC102 - shields itself, with a deadline
            raise
        finally:
            task.step(OpeningEnded())
            supervision.watch(task)
        return attempt.outcome()


class _Attempt:
    """The attempt to enter one position. Its methods return the outcome.

    Attributes:
        task: the task that works on the entry; None: the entry was not claimed.
    """

    def __init__(self, entry: Entry, supervision: Supervision, deadline: float) -> None:
        self.entry = entry
        self.task: PositionTask | None = None
        self._supervision, self._started, self._deadline = supervision, supervision.now(), deadline

    def outcome(self) -> EntryOutcome:
        """Return the outcome of the entry as it stands now."""
        if self.task is None:
            return self._not_entered("unreachable", ExchangeUnreachable("its price was not read before the deadline"))
        state = self.task.state
        facts = state.entry
        assert facts is not None
        if not state.is_entering and not facts.entered:
            is_late = self._supervision.now() - self._started >= self._deadline
            why = "it was not filled before the deadline" if is_late else "its rest was cancelled before the deadline"
            return self.failed(state.error or ExchangeError(facts.reason or why))
        fields: dict[str, Any] = {
            "position": state.position,
            "elapsed": self._supervision.now() - self._started,
            "unprotected_time": state.unprotected_time_at(self._supervision.now()),
            "entry": self.entry,
            "unfilled": facts.unfilled,
            "slippage": facts.slippage(state.position.side),
        }
        if state.last_fill is not None and not state.quantity and not state.is_entering:
            return Exited(uncovered=Decimal(0), fill=state.last_fill, reason=state.exit_reason, **fields)
        if state.live is not None and state.stop is not None and not state.is_entering:
            return Protected(uncovered=state.uncovered, stop=state.stop, **fields)
        return TimedOut(uncovered=state.uncovered, stop=state.stop, error=trouble(state), **fields)

    def failed(self, error: Exception) -> EntryOutcome:
        """Return the outcome of an entry that an error ended."""
        state = None if self.task is None else self.task.state
        if state is not None and (state.is_entering or (state.entry is not None and state.entry.entered)):
            return self.outcome()
        return self._not_entered(_reason(error, state), error)

    def _not_entered(self, reason: NotEnteredReason, error: Exception) -> NotEntered:
        elapsed = self._supervision.now() - self._started
        return NotEntered(entry=self.entry, elapsed=elapsed, reason=reason, error=error)


def _worth(position: Position) -> Decimal:
    return position.quantity * position.entry_price


def _reason(error: Exception, state: PositionState | None) -> NotEnteredReason:
    match error:
        case _Claimed():
            return "claimed"
        case LimitReached():
            return "limit"
        case _Paused():
            return "paused"
        case EntryRejected():
            return "rejected"
        case UsageError():
            return "invalid"
        case StoreError():
            return "store"
        case ExchangeUnreachable():
            return "unreachable"
        case TrailingError():
            is_immediate = state is not None and state.entry is not None and not state.entry.rests
            return "limit" if is_immediate else "unfilled"
        case _:
            return "bug"


def _why_claimed(entry: Entry, held: PositionTask) -> str:
    """Return why a symbol can't be entered, in words."""
    state = held.state
    side = state.position.side
    if state.is_entering and not state.quantity:
        return f"{entry.symbol} is being entered already"
    if isinstance(state.goal, End) or not state.quantity:
        return f"{entry.symbol}: its earlier position is still ending"
    if side != entry.side:
        return f"{entry.symbol} got a {entry.side} entry while its {side} position is open"
    return f"{entry.symbol} is protected already, and nothing is added to a position"
