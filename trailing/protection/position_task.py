"""The position task has the state of one position and does its requests, one at a time.

It takes every input without an await. Each acknowledgement goes through `PositionTask.step`, so that it is in the state, handed
to the store and published before anything else can happen. The loop of a task runs only while there is work.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import trio

from trailing.core.candles import CandleBuilder
from trailing.core.endings import owes_stop
from trailing.core.inputs import Answered, Begun, CandleClosed, Frozen, Input, PriceSeen, Result, Sent, TimePassed
from trailing.core.model import Tick
from trailing.core.next_request import NEVER, find_unknown, next_request, refresh
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.requests import FindEntry, FindOrder, ReadCandles, ReadFills, Request
from trailing.core.retries import FIRST, MOST
from trailing.errors import AuthenticationFailed, LeaseLost, OutcomeUnknown, TrailingError
from trailing.protection.records import SAVE_AGAIN

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision


class PositionTask:
    """The task of one position.

    Args:
        owner: the supervision that the task belongs to.
        state: of the position.

    Attributes:
        state: all that is known of the position. Only its own `step` changes it.
        is_watched: whether the manager starts the loop when there is work. Otherwise a caller runs it, or none does.
        is_running: whether the loop that the manager started runs.
        is_waiting: whether it waits for its key, which another position holds.
        open_intents: the client order ids whose intents are in the store, or may be.
        settling: those whose deletion was handed to the store, which has not confirmed it yet.
        next: the next request, or the time from which there may be one, as of the last input.
        saved, saved_best: the facts and the best price of the last record handed to the store, at first those of `state`. A None
            for the facts has the record handed in at the next step.
        save_at: when to hand the record in again, because the store did not take it; None: there is no need.
        last_tick_at: when the last price of its symbol came, of any source, in seconds on the running clock; at first when it was
            claimed.
        candles: builds the candles that its rules look at; None: they look at none.
    """

    __slots__ = (
        "_abandonable",
        "_changed",
        "_owner",
        "_sleeps_until",
        "_wake",
        "candles",
        "is_running",
        "is_waiting",
        "is_watched",
        "last_tick_at",
        "next",
        "open_intents",
        "save_at",
        "saved",
        "saved_best",
        "settling",
        "state",
    )

    def __init__(self, owner: Supervision, state: PositionState) -> None:
        self._owner = owner
        self.state: PositionState = state
        self.next: Request | float = next_request(state, state.claimed_at)
        self.is_watched: bool = False
        self.is_running: bool = False
        self.is_waiting: bool = False
        self.open_intents: frozenset[str] = frozenset()
        self.settling: frozenset[str] = frozenset()
        self.saved: tuple[object, ...] | None = state.facts
        self.saved_best: Decimal | None = state.ratchet.best
        self.save_at: float | None = None
        self.last_tick_at: float = state.claimed_at
        self.candles: CandleBuilder | None = None
        self._changed: trio.Event | None = None
        self._wake: trio.Event | None = None
        self._sleeps_until: float = math.inf
        self._abandonable: trio.CancelScope | None = None
        self.build_candles_for(state.plan)

    def build_candles_for(self, plan: TrailPlan) -> None:
        """From now on, build the candles that a plan's rules look at, if they look at any."""
        symbol, seconds = self.state.position.symbol, plan.candle_seconds
        self.candles = CandleBuilder(symbol, plan.trigger, seconds) if plan.candles_needed else None

    # Inputs.

    def take_tick(self, tick: Tick) -> None:
        """Take a price of its symbol. Most prices change nothing and cost two comparisons."""
        self.last_tick_at = tick.at
        state = self.state
        if state.is_frozen:
            return
        if self.candles is not None and tick.source == state.plan.trigger:
            self._take_with_candles(self.candles, tick)
        elif not state.ratchet.take_if_quiet(tick):
            self._take_price(tick)

    def _take_price(self, tick: Tick) -> None:
        self._take(PriceSeen(tick))
        self.poke()

    def _take_with_candles(self, candles: CandleBuilder, tick: Tick) -> None:
        """Take a price for a rule that looks at candles, which are built of the prices that count."""
        ratchet = self.state.ratchet
        candle = candles.advance(self._owner.records.clock.utc_at(tick.at))
        if candle is not None:
            self.step(CandleClosed(candle))
        if not ratchet.take_if_quiet(tick):
            self._take_price(tick)
        if ratchet.suspect is None:
            candles.add(tick.price)

    def step(self, what: Input) -> None:
        """Take an input and do all that follows from it, without waiting.

        It publishes events, hands a changed record to the store, requests a snapshot, reports the end, and starts the loop.

        Raises:
            UsageError: the input is impossible, and has changed nothing.
        """
        self._take(what)
        owner, state = self._owner, self.state
        settles = self.save_at is None and self.open_intents and owner.records.settled(self)
        if (settles or self.saved != state.facts) and not self.is_waiting:
            owner.records.hand_in(self)
        if state.snapshot_at < math.inf:
            owner.reader.want(state.snapshot_at)
        if state.ended:
            owner.note_ended(self)
        self.poke()

    def _take(self, what: Input) -> None:
        owner, state = self._owner, self.state
        now = owner.now()
        effects = state.step(what, now)
        self.next = next_request(state, now)
        if effects:
            owner.effects.publish(state, effects)

    def poke(self) -> None:
        """Wake the tasks that wait for a change, and the loop if there is work.

        A watched position without a running loop gets one. A read of candles is abandoned if something more urgent came, and any
        abandonable read if the position has ended.
        """
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if self._abandonable is not None and (self.state.ended or self._has_urgent_work()):
            self._abandonable.cancel()
        if self._wake is not None:
            # A loop of the manager sleeps on if its wake-up is early enough. A caller's condition may hold by now.
            if not self.is_running or self.wakes_at() < self._sleeps_until or self._owner.may_rest(self):
                self._wake.set()
        elif self.is_watched and not self.is_running and self.wakes_at() < NEVER:
            self._owner.start(self)

    def _has_urgent_work(self) -> bool:
        """Return whether something is more urgent than the present read, such as the manager's end.

        Nothing is while executions are read.
        """
        state = self.state
        if isinstance(state.request, ReadFills):
            return False
        is_at_risk = state.is_unprotected or state.would_trigger or state.goal.rank > 0
        return is_at_risk or self.has_order_in_doubt or self._owner.is_ending

    @property
    def has_order_in_doubt(self) -> bool:
        """Whether an order is to be looked up now. It may be gone, or its outcome is unknown."""
        return self._order_in_doubt() is not None

    def _order_in_doubt(self) -> FindOrder | FindEntry | None:
        request = find_unknown(self.state, self._owner.now())
        return request if isinstance(request, (FindOrder, FindEntry)) and "find" not in self.state.back_offs else None

    def wakes_at(self) -> float:
        """Return the time from which there is work, on the running clock.

        Minus infinity or a past time: there is work now. Infinity: there is none.
        """
        wakes_at = self.next if isinstance(self.next, float) else -math.inf
        return wakes_at if self.save_at is None else min(wakes_at, self.save_at)

    @property
    def has_unfinished(self) -> bool:
        """Whether a request is under way or of unknown outcome, an entry works, or a move has two stops or none."""
        state = self.state
        stops = sum(order.purpose == "stop" and order.exists for order in state.orders.values())
        is_unsettled = state.has_unknown or state.exit_sent or state.is_entering
        return is_unsettled or state.request is not None or stops > 1 or owes_stop(state)

    def save_if_changed(self) -> None:
        """Hand the record in if the store refused the last one, or it lacks the facts, best price or unprotected seconds."""
        state = self.state
        is_changed = self.saved != state.facts or self.saved_best != state.ratchet.best
        if is_changed or state.unprotected_span is not None or self.save_at is not None:
            self._owner.records.hand_in(self)

    async def wait_changed(self) -> None:
        """Wait until something of this position changes."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    # The loop.

    async def work(self, until: Callable[[], bool]) -> None:
        """Do the position's requests, one at a time, until a condition holds or the position has ended.

        Between requests it waits until there is work.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.
            LeaseLost: another process owns the account.
            Exception: a bug. The request under way has an unknown outcome.

        Cancellation: a request that was sent has an unknown outcome, which is in the state.
        """
        while not (self.state.ended or until()):
            now = self._owner.now()
            if isinstance(self.next, float) and self.next <= now:
                self.step(TimePassed())
            if not isinstance(self.next, float):
                await self._carry_out(self.next)
            elif self.save_at is not None and self.save_at <= now:
                self._save_again(now)
            elif not self.state.ended:
                await self._sleep()

    async def _sleep(self) -> None:
        """Wait until there is work, or until the condition of a caller may hold."""
        self._wake, self._sleeps_until = trio.Event(), self.wakes_at()
        try:
            with trio.CancelScope(deadline=self._sleeps_until):
                await self._wake.wait()
        finally:
            self._wake = None

    async def look_up(self) -> None:
        """Look up each of its orders that a snapshot has left in doubt, before its loop runs.

        An order that can't be looked up now stays in doubt.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.

        Cancellation: the orders that were not looked up stay in doubt.
        """
        while (request := self._order_in_doubt()) is not None:
            await self._carry_out(request)

    async def run(self) -> None:
        """Work as long as there is work, or until the manager ends.

        A bug freezes the position. Its stop is no longer moved by its rules, but a missing stop is placed and an exit goes on.

        Raises:
            AuthenticationFailed, LeaseLost: as `work`.

        Cancellation: as `work`.
        """
        pause = FIRST
        while True:
            try:
                await self.work(until=lambda: self._owner.may_rest(self) or self.wakes_at() == NEVER)
                return
            except (AuthenticationFailed, LeaseLost):
                raise
            except Exception as bug:  # a bug in one position must not end the others
                self.step(Frozen(bug))
            await trio.sleep(pause)
            pause = min(2 * pause, MOST)

    def _save_again(self, now: float) -> None:
        """Hand the record in again, unless the journal is behind. More entries would only lengthen its queue."""
        self.save_at = now + SAVE_AGAIN
        if not self._owner.records.journal.is_behind:
            self._owner.records.hand_in(self)

    async def _carry_out(self, request: Request) -> None:
        owner, state = self._owner, self.state
        order_id = owner.ids.new() if request.creates else getattr(request, "id", None)
        self._take(Begun(request, order_id))
        result: Result = None
        error: TrailingError | None = None
        try:
            if request.writes:
                assert order_id is not None
                await owner.records.commit_intent(self, order_id, request)
                fresh = refresh(state, owner.now())
                if fresh is None:
                    return  # no longer wanted, for example because the price moved while the intent was stored
                request = fresh
            self._take(Sent(request))
            if isinstance(request, (ReadCandles, ReadFills)):
                with trio.CancelScope() as self._abandonable:
                    result = await owner.sender.perform(state, request, order_id)
                if self._abandonable.cancelled_caught:
                    error = OutcomeUnknown("something more urgent came")
            else:
                result = await owner.sender.perform(state, request, order_id)
        except TrailingError as failed:
            error = failed
            if isinstance(failed, (AuthenticationFailed, LeaseLost)):
                raise
        except BaseException as cancelled:  # also a bug: what was sent has an unknown outcome
            error = OutcomeUnknown(type(cancelled).__name__)
            raise
        finally:
            self._abandonable = None
            self.step(Answered(result, error, random.uniform(0.5, 1.0)))
            if self.candles is not None and isinstance(result, Tick) and result.source == state.plan.trigger:
                # The exchange's own price counts, at the time of the tick that it confirms.
                self.candles.add(result.price)
