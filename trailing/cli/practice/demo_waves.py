"""The demo's two waves and their measurements: under one lock, and in parallel by `trailing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
import trio

from trailing.cli.practice.demo_baseline import LockedManager
from trailing.core.model import Position
from trailing.core.plan import TrailPlan
from trailing.events import Event, StopOpened
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.protection.manager import Manager
from trailing.stores.port import Store

LaneState: TypeAlias = Literal["waiting", "placing", "protected", "timed out"]


class Lane:
    """The progress of one position towards its stop.

    Attributes:
        state: its present state.
        began_at: when that state began, in seconds from the wave's start.
        protected_after: seconds from the wave's start until its stop was acknowledged; None: not in time.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.state: LaneState = "waiting"
        self.began_at: float = 0.0
        self.protected_after: float | None = None


class MeasuredLane(msgspec.Struct, frozen=True):
    """The measurement of one position; see `Lane`."""

    symbol: str
    side: str
    protected_after: float | None


class MeasuredWave(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of a wave.

    Args:
        deadline: seconds that each position had.
        elapsed: seconds until the last position was protected or had timed out.
        protected: the number of positions with a stop at their deadline.
        unprotected_seconds: the sum over all positions, until each was protected or had timed out.
        untracked: the number of live stops on the exchange that the manager does not track.
    """

    name: str
    deadline: float
    elapsed: float
    protected: int
    unprotected_seconds: float
    untracked: int
    positions: tuple[MeasuredLane, ...]


class DemoWave:
    """Runs a wave and measures it.

    Args:
        deadline: seconds that each position has.
        changed: called after a lane has changed its state; it must not block.
    """

    def __init__(
        self,
        name: str,
        positions: Sequence[Position],
        deadline: float,
        changed: Callable[[DemoWave, Lane], None],
    ) -> None:
        self.name = name
        self.deadline = deadline
        self.lanes: list[Lane] = [Lane(position) for position in positions]
        self.started_at: float | None = None
        self.measured: MeasuredWave | None = None
        self._changed = changed

    @property
    def seconds(self) -> float:
        """Seconds since the wave started."""
        return 0.0 if self.started_at is None else trio.current_time() - self.started_at

    async def run_locked(self, exchange: PaperExchange, store: Store, plan: TrailPlan) -> None:
        """Protect the positions one after the other, under one lock."""

        def began(position: Position) -> None:
            self._mark(position.symbol, "placing")

        def acknowledged(position: Position) -> None:
            self._mark(position.symbol, "protected")

        manager = LockedManager(exchange, store, plan, began=began, acknowledged=acknowledged)

        async def create(lane: Lane) -> None:
            with trio.move_on_after(self.deadline) as scope:
                await manager.create_stop(lane.position)
            if scope.cancelled_caught and lane.protected_after is None:
                self._mark(lane.position.symbol, "timed out")

        await self._enter(exchange)
        async with trio.open_nursery() as nursery:
            for lane in self.lanes:
                nursery.start_soon(create, lane)
        await self._measure(exchange, len(manager.stops))

    async def run_trailing(self, exchange: PaperExchange, manager: Manager) -> None:
        """Protect the positions in parallel. Pass the manager's events to `add_event` meanwhile."""
        await self._enter(exchange)
        for lane in self.lanes:
            self._mark(lane.position.symbol, "placing")
        report = await manager.protect_wave([lane.position for lane in self.lanes], deadline=self.deadline)
        for outcome in report.unprotected:
            self._mark(outcome.position.symbol, "timed out")
        await self._measure(exchange, len(manager.stops()))

    def add_event(self, event: Event) -> None:
        """Mark the position of a `StopOpened` as protected."""
        if isinstance(event, StopOpened) and event.symbol is not None:
            self._mark(event.symbol, "protected")

    async def _enter(self, exchange: PaperExchange) -> None:
        for lane in self.lanes:
            await exchange.enter(lane.position)
        self.started_at = trio.current_time()

    def _mark(self, symbol: str, state: LaneState) -> None:
        lane = next(lane for lane in self.lanes if lane.position.symbol == symbol)
        lane.state, lane.began_at = state, self.seconds
        if state == "protected":
            lane.protected_after = self.seconds
        self._changed(self, lane)

    async def _measure(self, exchange: PaperExchange, tracked: int) -> None:
        elapsed = self.seconds
        live = len(await exchange.open_stops())
        in_time = [lane.protected_after for lane in self.lanes if lane.protected_after is not None]
        self.measured = MeasuredWave(
            name=self.name,
            deadline=self.deadline,
            elapsed=round(elapsed, 3),
            protected=len(in_time),
            unprotected_seconds=round(sum(in_time) + elapsed * (len(self.lanes) - len(in_time)), 3),
            untracked=live - tracked,
            positions=tuple(
                MeasuredLane(
                    lane.position.symbol,
                    lane.position.side,
                    None if lane.protected_after is None else round(lane.protected_after, 3),
                )
                for lane in self.lanes
            ),
        )
