"""A replay of a wave on the paper exchange, with prices from files, on the data's time.

It gives the same result each time, although trio runs tasks in random order. At each moment of the data, first all due work
is done until every task waits. Then come the closes of the bars that end, then positions are entered and protected, then the
other prices come. Before each of these steps, every task waits again.

The prices are the exchange's own, so a price further than `max_jump` from the one before is confirmed at once. The replay feeds
it twice: the second one agrees with the first, and the manager then reads the same price from the exchange.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Final

import trio
from msgspec.structs import replace

from trailing.cli.practice.replay_clock import ReplayClock
from trailing.core.model import Position, Tick
from trailing.core.paths import CLOSE_AHEAD
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_within
from trailing.events import Event, OpeningFailed
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.exchanges.prices import PricePoint
from trailing.protection.manager import Manager
from trailing.protection.waves.outcomes import Refused

_MOST_WAITING_EVENTS = 100_000
"""Events that may wait for `on_event`. Few ever wait, because their task does nothing else."""

_NEVER: Final = 1e9
"""Seconds between two snapshots that no event asks for. It is longer than any data."""


def manager_plan(plan: TrailPlan) -> TrailPlan:
    """Return the plan of a replay's manager, which takes no snapshot of the account unless an event asks for one.

    The paper account changes only by events. So further snapshots would show nothing new.

    Args:
        plan: of the positions.
    """
    return replace(plan, reconcile_every=_NEVER)


class Replay:
    """Enters positions at their times, protects them, and feeds prices.

    Args:
        positions: the positions to enter.
        plan: their plan.
        enters_at: when a position is entered, in seconds on the data's clock. Prices before that do not count for it.
        entered: positions that are already open on the exchange; they are protected first.
        points: the prices, by time on the data's clock.
        deadline: seconds that each position has to be protected.
        settle_seconds: seconds on the data's clock that requests may take after the last price.
        prices: gets the last price of each symbol.
        on_event: called with every event; it must not block.
        fed: the number of ticks that were fed before.
        on_fed: called after each tick with the number of ticks fed.

    Attributes:
        fed: the number of ticks fed.
        ended: how the replay ended.
        refusals: an event for each position that the manager refused without publishing one.
    """

    def __init__(
        self,
        positions: Sequence[Position],
        points: Iterable[PricePoint],
        clock: ReplayClock,
        *,
        plan: TrailPlan,
        enters_at: Callable[[Position], float],
        deadline: float,
        settle_seconds: float,
        prices: dict[str, Tick],
        on_event: Callable[[Event], None],
        entered: Sequence[Position] = (),
        fed: int = 0,
        on_fed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.fed: int = fed
        self.ended: str = "it did not reach its end"
        self.refusals: list[OpeningFailed] = []
        self._failed = set[tuple[str | None, str | None]]()  # the positions with an event of a failed opening
        self._positions, self._entered, self._points, self._clock = positions, entered, points, clock
        self._plan, self._enters_at = plan, enters_at
        self._fresh = {position.symbol for position in entered}  # symbols with a position that no price has reached yet
        self._deadline, self._settle_seconds = deadline, settle_seconds
        self._prices, self._on_event, self._on_fed = prices, on_event, on_fed
        self._count = self._unprotected = len(positions) + len(entered)
        self._all_protected = trio.Event()
        self._note_protected(0)

    async def run(
        self,
        exchange: PaperExchange,
        manager: Manager,
        *,
        until: Callable[[Manager], Awaitable[None]] | None = None,
    ) -> None:
        """Replay until the last position has ended or the data has.

        Args:
            until: the replay ends when this returns; None: it ends when every position has ended.

        Raises:
            ExceptionGroup: with a UsageError if a price file can't be read any more, or with bugs.

        Cancellation: as `Manager.protect_wave`.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._forward_events, manager)
            if self._entered:
                nursery.start_soon(self._protect, manager, self._entered)
            with trio.CancelScope() as feeding:
                # The task may outlive the scope; cancelling a scope that has ended does nothing.
                nursery.start_soon(self._end_early, manager, until or self._wait_over, feeding)  # noqa: ASYNC111
                await self._feed(exchange, manager, nursery)
            data_ended = False
            if not feeding.cancelled_caught:
                await self._all_protected.wait()
                with trio.move_on_after(self._settle_seconds) as settling:
                    await manager.wait_closed()
                data_ended = settling.cancelled_caught
            await self._clock.settle()
            self.ended = "the data ended" if data_ended else self._describe_end(manager)
            nursery.cancel_scope.cancel()

    async def _feed(self, exchange: PaperExchange, manager: Manager, nursery: trio.Nursery) -> None:
        for at, entries, points in self._moments():
            await self._clock.advance_to(at)
            closes = [point for point in points if point.ends_bar]
            if closes:
                await self._feed_points(exchange, closes)
                await self._clock.settle()
            if entries:
                for position in entries:
                    await exchange.enter(position)
                    self._fresh.add(position.symbol)
                nursery.start_soon(self._protect, manager, entries)
                await self._clock.settle()
            await self._feed_points(exchange, [point for point in points if not point.ends_bar])

    async def _feed_points(self, exchange: PaperExchange, points: Iterable[PricePoint]) -> None:
        fed = set[str]()
        for point in points:
            symbol = point.tick.symbol
            if symbol in fed:  # two prices of one moment: each one is acted on
                await self._clock.settle()
                fed.clear()
            fed.add(symbol)
            self._feed_point(exchange, point)

    def _feed_point(self, exchange: PaperExchange, point: PricePoint) -> None:
        tick = point.tick
        symbol, before = tick.symbol, self._prices.get(tick.symbol)
        if point.ends_bar:  # a candle that is built from the prices has to contain its own close
            tick = replace(tick, at=tick.at - CLOSE_AHEAD)
        self._prices[symbol] = tick
        self.fed += 1
        if point.continuous:
            exchange.move_to(tick)
        else:
            exchange.feed(tick)
        if (
            symbol in self._fresh or before is None or not is_within(tick.price, before.price, self._plan.max_jump)
        ):  # it may be a jump
            exchange.feed(tick)
            self._fresh.discard(symbol)
        self._on_fed(self.fed)

    def _moments(self) -> Iterator[tuple[float, Sequence[Position], Sequence[PricePoint]]]:
        """Yield each time once, with the positions to enter and the prices to feed."""
        by_time = sorted(self._positions, key=self._enters_at)  # stable: the wave's order within a time
        waves = [(at, tuple(wave)) for at, wave in groupby(by_time, self._enters_at)]
        for at, points in groupby(self._points, attrgetter("tick.at")):
            while waves and waves[0][0] < at:
                yield *waves.pop(0), ()
            entries = waves.pop(0)[1] if waves and waves[0][0] == at else ()
            yield at, entries, tuple(points)
        for at, entries in waves:
            yield at, entries, ()

    async def _protect(self, manager: Manager, positions: Sequence[Position]) -> None:
        report = await manager.protect_wave(positions, deadline=self._deadline, plan=self._plan)
        refused = [outcome for outcome in report.outcomes if isinstance(outcome, Refused)]
        if refused:
            await self._clock.settle()  # so that the events of these positions have come
        for outcome in refused:
            if (outcome.symbol, outcome.side) not in self._failed:
                self._note_refusal(outcome)
        self._note_protected(len(positions))

    def _note_refusal(self, outcome: Refused) -> None:
        event = OpeningFailed(
            at=datetime.fromtimestamp(trio.current_time(), UTC),  # it is the data's clock
            symbol=outcome.symbol,
            side=outcome.side,
            error=f"{type(outcome.error).__name__}: {outcome.error}",
            unresolved=False,
            given_up=True,
        )
        self.refusals.append(event)
        self._on_event(event)

    def _describe_end(self, manager: Manager) -> str:
        """Return how a replay ended in which nothing is left to be done for any position."""
        given_up = len(manager.unprotected())
        if not given_up:
            return "every position has ended"
        were = "1 position was" if given_up == 1 else f"{given_up} positions were"
        rest = "; every other position has ended" if given_up < self._count else ""
        return f"{were} given up without a stop{rest}"

    def _note_protected(self, count: int) -> None:
        self._unprotected -= count
        if not self._unprotected:
            self._all_protected.set()

    @staticmethod
    async def _end_early(
        manager: Manager, until: Callable[[Manager], Awaitable[None]], feeding: trio.CancelScope
    ) -> None:
        await until(manager)
        feeding.cancel()

    async def _wait_over(self, manager: Manager) -> None:
        await self._all_protected.wait()
        await manager.wait_closed()

    async def _forward_events(self, manager: Manager, task_status: trio.TaskStatus[None]) -> None:
        async with manager.subscribe(_MOST_WAITING_EVENTS) as events:
            task_status.started()
            async for event in events:
                if isinstance(event, OpeningFailed):
                    self._failed.add((event.symbol, event.side))
                self._on_event(event)
