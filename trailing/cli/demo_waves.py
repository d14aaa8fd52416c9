"""The two waves of the demo, measured: under one lock, and as `trailing` protects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec
import trio

from trailing.cli.baseline import LockedManager
from trailing.core.model import Position
from trailing.core.plan import TrailPlan
from trailing.events import Event, StopOpened
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.protection.manager import Manager
from trailing.stores.port import Store

LaneState: TypeAlias = Literal["waits", "is placed", "protected", "timed out"]


class Lane:
    """One position on its way to its stop.

    Attributes:
        state: where it is.
        began_at: when it came there, in seconds from the wave's start.
        protected_after: seconds from the wave's start until its stop was acknowledged; None: it was not, in time.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.state: LaneState = "waits"
        self.began_at: float = 0.0
        self.protected_after: float | None = None


class MeasuredLane(msgspec.Struct, frozen=True):
    """See `Lane`."""

    symbol: str
    side: str
    protected_after: float | None


class MeasuredWave(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a wave.

    Args:
        elapsed: seconds until the last position was protected or given up.
        protected: positions with a stop when their deadline struck.
        bare_seconds: of all positions, until they were protected or given up.
        untracked: stops on the exchange that nobody keeps track of.
    """

    name: str
    deadline: float
    elapsed: float
    protected: int
    bare_seconds: float
    untracked: int
    positions: tuple[MeasuredLane, ...]


class DemoWave:
    """A wave that is watched and measured.

    Args:
        deadline: seconds that each position has.
        changed: called when a lane got into another state; it must not wait.
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
        """Since it started."""
        return 0.0 if self.started_at is None else trio.current_time() - self.started_at

    async def run_locked(self, exchange: PaperExchange, store: Store, plan: TrailPlan) -> None:
        """Under one lock."""

        def began(position: Position) -> None:
            self._mark(position.symbol, "is placed")

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
        """As `trailing` does it. `take` has to be told its events meanwhile."""
        await self._enter(exchange)
        for lane in self.lanes:
            self._mark(lane.position.symbol, "is placed")
        report = await manager.protect_wave([lane.position for lane in self.lanes], deadline=self.deadline)
        for outcome in report.unprotected:
            self._mark(outcome.position.symbol, "timed out")
        await self._measure(exchange, len(manager.stops()))

    def take(self, event: Event) -> None:
        """An event of `trailing`."""
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
        standing = len(await exchange.open_stops())
        in_time = [lane.protected_after for lane in self.lanes if lane.protected_after is not None]
        self.measured = MeasuredWave(
            name=self.name,
            deadline=self.deadline,
            elapsed=round(elapsed, 3),
            protected=len(in_time),
            bare_seconds=round(sum(in_time) + elapsed * (len(self.lanes) - len(in_time)), 3),
            untracked=standing - tracked,
            positions=tuple(
                MeasuredLane(
                    lane.position.symbol,
                    lane.position.side,
                    None if lane.protected_after is None else round(lane.protected_after, 3),
                )
                for lane in self.lanes
            ),
        )
