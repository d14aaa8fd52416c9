"""A wave: a nursery, a deadline per position, a report. One position's failure is its own outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal

import trio

from trailing.core.model import Fill, Position, StopOrder
from trailing.core.plan import TrailPlan
from trailing.core.prices import floor_quantity
from trailing.core.stop import TrailingStop
from trailing.errors import NothingToReduce, TrailingError, UsageError
from trailing.exposure import Exposure
from trailing.protection.clock import Clock
from trailing.protection.feed import Feed
from trailing.protection.opening import Opening
from trailing.protection.orders import Orders
from trailing.protection.outcomes import (
    AlreadyProtected,
    Exited,
    OpeningTimes,
    Outcome,
    Protected,
    Refused,
    TimedOut,
    WaveReport,
)
from trailing.protection.protection import Protection
from trailing.protection.registry import Registry
from trailing.protection.sanity import Door


class Wave:
    """One call of `protect_wave`.

    Args:
        deadline: seconds that each position has.
        hand_over: takes a claimed position over, once its opening has ended, whatever came of it.
        standing: a stop of ours that was left behind the position, which takes it over; None: it gets a new one.

    Attributes:
        never_claimed: the refusals of positions that may be open, and that nobody took over.
    """

    def __init__(
        self,
        orders: Orders,
        registry: Registry,
        feed: Feed,
        plan: TrailPlan,
        deadline: float,
        hand_over: Callable[[Protection], None],
        *,
        standing: StopOrder | None = None,
    ) -> None:
        self._orders, self._registry, self._plan = orders, registry, plan
        self._deadline, self._hand_over, self._standing = deadline, hand_over, standing
        self._door = Door(feed.known_price, orders.clock.utc() - timedelta(seconds=orders.exchange.positions_read_lag))
        self._outcomes: dict[int, Outcome] = {}
        self._opening_times: list[float] = []
        self._bugs: list[Exception] = []
        self.never_claimed: list[Refused] = []

    async def run(self, positions: Sequence[Position]) -> WaveReport:
        """Protect all of them, each in a task and within the deadline.

        Raises:
            ExceptionGroup: of what is not a `TrailingError`, a bug, once every position has its outcome.

        Cancellation: every partial order is cleaned up; then it passes.
        """
        started = self._orders.clock.now()
        async with trio.open_nursery() as wave:
            async with trio.open_nursery() as openings:
                for index, position in enumerate(positions):
                    openings.start_soon(self._protect_one, index, position)
                wave.start_soon(self._door.read, self._orders.exchange)
            if self._door.error is not None:
                self._orders.alarm(None, "the positions were not read beside the wave", str(self._door.error))
            # The report may still be on its way, or hang: everybody who wanted it has gone on without it.
            wave.cancel_scope.cancel()
        if self._bugs:
            raise ExceptionGroup("bugs while a wave was protected; its positions have their outcomes", self._bugs)
        return WaveReport(
            tuple(self._outcomes[index] for index in range(len(positions))),
            self._orders.clock.now() - started,
            OpeningTimes.over(self._opening_times),
        )

    async def _protect_one(self, index: int, position: Position) -> None:
        attempt = _Attempt(position, self._orders.clock)
        with trio.move_on_after(self._deadline) as scope:
            try:
                outcome = await self._protect(attempt, scope)
            except TrailingError as error:
                outcome = attempt.refused(error)
            except Exception as bug:  # the siblings go on; it is raised when they are through
                self._bugs.append(bug)
                outcome = attempt.refused(bug)
        if scope.cancelled_caught:
            outcome = attempt.cut_short()
        self._outcomes[index] = outcome
        if attempt.opening is None and isinstance(outcome, Refused) and not isinstance(outcome.error, NothingToReduce):
            self.never_claimed.append(outcome)
        if attempt.opening is not None and attempt.opening.acknowledged_after is not None:
            self._opening_times.append(attempt.opening.acknowledged_after)

    async def _protect(self, attempt: _Attempt, scope: trio.CancelScope) -> Outcome:
        position, clock = attempt.position, self._orders.clock
        market = self._orders.exchange.market(position.symbol)
        while True:
            now = clock.now()
            stop = TrailingStop(position, self._plan, market, now)
            new = Protection(position, stop, claimed_at=now, exposure=attempt.unclaimed_exposure)
            held = self._registry.claim(position, new)
            if held is new:
                return await self._open(attempt, new, scope)
            self._standing = None  # what stood there was read before: the claim may have changed it
            live = await self._join(held, position)
            if live is not None:
                return attempt.already_protected(live, held)
            same = held.position.identity == position.identity
            if same and not held.stop.quantity and held.replaced_by is None:
                raise NothingToReduce(f"{position.symbol} {position.side} was being closed when it was handed in")

    async def _open(self, attempt: _Attempt, protection: Protection, scope: trio.CancelScope) -> Outcome:
        attempt.protection = protection
        attempt.opening = Opening(self._orders, protection, self._door, scope, standing=self._standing)
        try:
            result = await attempt.opening.run()
        finally:
            self._hand_over(protection)
        return attempt.exited(result) if isinstance(result, Fill) else attempt.protected(result)

    async def _join(self, held: Protection, position: Position) -> StopOrder | None:
        """Wait for what became of somebody else's claim: its live stop, or None: it has ended, one can claim."""
        await held.wait_opened()
        same = (held.position.identity, held.position.side) == (position.identity, position.side)
        wanted = floor_quantity(position.quantity, held.stop.market.quantity_step)
        asked: int | None = None
        while not held.closed:
            read = asked is not None and held.checked >= asked
            if read and held.position.side != position.side:
                raise UsageError(
                    f"{position.symbol} got a {position.side} position while its {held.position.side} stands"
                )
            live = held.live
            covered = live is not None and live.quantity >= held.stop.coverable
            if live is not None and covered and (read or (same and live.quantity >= wanted)):
                return live
            if asked is None:  # once: those who wait would keep waking each other
                asked = held.ask_check()
            await held.wait_changed()
        while self._registry.get(held.position.symbol, held.position.side) is held:
            await held.wait_changed()  # its last record is being written: until then the claim is its own
        return None


class _Attempt:
    """One position on its way through a wave, and the outcome that it comes to."""

    def __init__(self, position: Position, clock: Clock) -> None:
        self.position = position
        self.protection: Protection | None = None
        self.opening: Opening | None = None
        self._clock, self._started = clock, clock.now()

    @property
    def _elapsed(self) -> float:
        return self._clock.now() - self._started

    @property
    def unclaimed_exposure(self) -> Exposure:
        """Its bare seconds until now, where nobody has measured them."""
        return Exposure(opening=max(0.0, (self._clock.utc() - self.position.opened_at).total_seconds()))

    @property
    def _exposure(self) -> Exposure:
        if self.protection is None:
            return self.unclaimed_exposure
        return self.protection.exposure_at(self._clock.now())

    def protected(self, stop: StopOrder) -> Protected:
        return Protected(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - stop.quantity,
            exposure_by=self._exposure,
            stop=stop,
        )

    def already_protected(self, stop: StopOrder, held: Protection) -> AlreadyProtected:
        same = held.position.identity == self.position.identity
        return AlreadyProtected(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=max(Decimal(0), self.position.quantity - stop.quantity),
            exposure_by=held.exposure if same else self.unclaimed_exposure,
            stop=stop,
        )

    def exited(self, fill: Fill) -> Exited:
        return Exited(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - min(self.position.quantity, fill.quantity),
            exposure_by=self._exposure,
            fill=fill,
        )

    def refused(self, error: Exception) -> Refused:
        return Refused(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity,
            exposure_by=self._exposure,
            error=error,
        )

    def cut_short(self) -> Protected | TimedOut:
        """The deadline struck; where the stop stood by then, only its record was still on its way."""
        if self.opening is not None and self.opening.protected is not None:
            return self.protected(self.opening.protected)
        late = self.opening.late if self.opening is not None else None
        return TimedOut(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - (late.quantity if late is not None else Decimal(0)),
            exposure_by=self._exposure,
            stop=late,
        )
