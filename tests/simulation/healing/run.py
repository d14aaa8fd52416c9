"""Run a hostile world: its programs one after the other, then the healing, then the checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio
from inspection import Inspection, Key

from simulation.healing.bot import Bot
from simulation.healing.checks import SETTLES_WITHIN, check_healed, check_stops_kept
from simulation.healing.faults import StreamOutages
from simulation.healing.measuring import Measurements
from simulation.healing.scenario import SYMBOLS, HostileScenario
from simulation.healing.steps import do_steps
from simulation.healing.world import KEYS, World
from simulation.laboratory.bot import START, time_of_day
from simulation.laboratory.bugs import is_laboratory_bug, leaves
from simulation.laboratory.determinism import run_deterministically
from simulation.laboratory.process import KillableExchange, KillableStore, Process
from simulation.laboratory.report import WorldReport
from simulation.laboratory.world_store import WorldStore, open_world_store
from trailing.core.model import StopOrder, Tick
from trailing.errors import LeaseLost, TrailingError, UsageError
from trailing.exchanges.paper import open_paper
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.manager import open_manager
from trailing.stores.port import AppendEvent, SettleIntent, StoreWrite
from trailing.testing.faulty_store import FaultyStore

QUIET_SECONDS: Final = 500
"""The time after the healing before anything is checked. The longest policy of a plan for a position without a stop ends in it."""

RECORDED_WITHIN: Final = 30.0
"""Seconds after which everything is in a store that does not fail."""

_MOST_OPENINGS: Final = 100
"""How often a program opens its manager. Each time takes two seconds, and no fault lasts that long."""

_WAYS_TO_END: Final = ("orderly", "cancelled", "killed", "killed")


def run_world(
    scenario: HostileScenario, *, plant: Callable[[World], Awaitable[object]] | None = None, keep_events: bool = False
) -> WorldReport:
    """Run a world, in the same way every time.

    Args:
        scenario: the parameters of the world.
        plant: called when everything has healed and before the checks, to plant a fault.
        keep_events: whether the report has the bookings of the exchange and the events of the manager, beside the steps.

    Raises:
        BaseException: a bug of the simulation, with a note that names the seed.
    """
    try:
        return run_deterministically(Run(scenario, plant, keep_events=keep_events).run, scenario.seed)
    except BaseException as error:
        error.add_note(f"in the world of seed {scenario.seed}")
        raise


class Run:
    """One world, from its first program to the checks."""

    def __init__(
        self,
        scenario: HostileScenario,
        plant: Callable[[World], Awaitable[object]] | None,
        *,
        keep_events: bool,
    ) -> None:
        self._scenario, self._plant, self._keep_events = scenario, plant, keep_events
        self._world = World(scenario)
        self._store: WorldStore
        self._kills = 0
        self._stops_before: dict[Key, list[StopOrder]] = {}
        self._recorded: set[str] = set()

    async def run(self) -> WorldReport:
        """Run it, and return its report."""
        world, scenario = self._world, self._scenario
        async with (
            open_world_store(None, scenario.seed) as self._store,
            open_paper(latency=world.latency, utc_start=START, record=self._note_booking, **scenario.venue) as exchange,
        ):
            world.exchange, world.stream = exchange, StreamOutages(exchange)
            world.bot = Bot(exchange, world.note, world.report_violation)
            measured = Measurements(world)
            for symbol in SYMBOLS:
                exchange.feed(Tick(symbol, scenario.price, trio.current_time()))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(measured.run)
                for _ in range(scenario.programs):
                    await self._run_program(nursery, self._be_hostile, world.draw.choice(_WAYS_TO_END))
                await self._run_program(nursery, self._heal, "orderly")
                nursery.cancel_scope.cancel()
        return WorldReport(
            seed=scenario.seed,
            broken=tuple(world.broken),
            deaths=self._kills,
            steps=world.steps.total(),
            open_seconds=measured.open_seconds,
            unprotected_seconds=measured.unprotected_seconds,
            objects=(),
            events=tuple(world.log),
            strikes=dict(world.steps),
        )

    # The programs.

    async def _run_program(self, nursery: trio.Nursery, act: Callable[[], Awaitable[None]], end: str) -> None:
        """Run a program until it ends. If it is killed, its tasks may go on for a while, and reach nothing."""
        world, process, scope = self._world, Process(), trio.CancelScope()
        nursery.start_soon(self._run_in, process, scope, act, end)
        if end == "killed":
            nursery.start_soon(self._kill, process)
        await process.died.wait()
        world.manager = world.program = None
        if process.steps_left is not None:
            self._kills += 1
            world.note("the program is killed")
        self._note_lost_writes(killed=process.steps_left is not None)
        scope.cancel()
        if process.lease is not None:
            await self._store.end_lease(process.lease)
        await trio.sleep(world.draw.choice((0.5, 5.0, 40.0)))

    async def _kill(self, process: Process) -> None:
        """Kill a program at a random moment, at one of its next requests or commits."""
        await trio.sleep(self._world.draw.uniform(0.0, 60.0))
        self._world.note("the program is killed soon")
        process.steps_left = self._world.draw.choice((0, 0, 1, 2, 3, 5, 8))
        with trio.move_on_after(10.0):
            await process.died.wait()
        process.die()

    async def _run_in(
        self, process: Process, scope: trio.CancelScope, act: Callable[[], Awaitable[None]], end: str
    ) -> None:
        with scope:
            for _ in range(_MOST_OPENINGS):  # a store that fails may end the first ones
                if not process.alive:
                    break
                try:
                    await self._run_manager(process, act, end)
                    break
                except Exception as error:
                    if is_laboratory_bug(error):
                        raise
                    self._note_end(error)
                    await trio.sleep(2.0)
        process.die()

    def _note_end(self, error: Exception) -> None:
        """Note an error that ended a manager. An exchange or a store that fails may end it while it opens."""
        world, ends = self._world, leaves(error)
        world.note(f"the manager ended, {ends!r}")
        expected = all(isinstance(one, TrailingError) and not isinstance(one, (LeaseLost, UsageError)) for one in ends)
        if not expected or world.manager is not None or world.healed_at is not None:
            world.report_violation("9. the manager ended", ", ".join(map(repr, ends)))
        world.manager = world.program = None

    async def _run_manager(self, process: Process, act: Callable[[], Awaitable[None]], end: str) -> None:
        world = self._world
        async with self._store.open() as inner:
            latency, draw = self._scenario.store_latency, world.draw
            killable = KillableStore(inner, process, latency, draw, self._note_commit, is_remote=False)
            store = FaultyStore(killable, world.calls.store_fault)
            connection = KillableExchange(world.exchange, process, world.calls)
            loaded = await inner.load(world.exchange.name, world.exchange.account)
            self._recorded = {order.client_order_id for record in loaded.stops for order in record.orders}
            self._stops_before = {key: world.stops(key) for key in KEYS}
            with trio.CancelScope() as program:
                async with open_manager(connection, store, self._scenario.plan, utc_start=time_of_day()) as manager:
                    Inspection(manager).call_with_events(partial(self._note_event, process))
                    world.manager = manager
                    world.note("a manager is open", *(f"{finding};" for finding in manager.recovered))
                    async with trio.open_nursery() as calls:
                        world.program = calls
                        await act()
                        world.note(f"the program ends, {end}")
                        (program if end == "cancelled" else calls.cancel_scope).cancel()
                    world.program = None

    # What they do.

    async def _be_hostile(self) -> None:
        await self._world.bot.hand_in_missing(self._world.running)
        await do_steps(self._world, self._world.draw.randint(10, 40))

    async def _heal(self) -> None:
        world = self._world
        world.calls.end()
        world.stream.end_silence()
        world.healed_at = trio.current_time()
        world.note("everything heals")
        world.feed_again()
        await trio.sleep(SETTLES_WITHIN)
        check_stops_kept(world, self._stops_before, self._recorded)
        await world.bot.hand_in_missing(world.running)
        for _ in range(QUIET_SECONDS // 20):
            await trio.sleep(20)
            world.feed_again()
            await world.bot.hand_in_unattended(world.running)
        if self._plant is not None:
            await self._plant(world)
        async with self._store.open() as store:
            loaded = await store.load(world.exchange.name, world.exchange.account)
        await check_healed(world, loaded)

    # What is noted of them.

    def _note_lost_writes(self, *, killed: bool) -> None:
        """Note which positions the store may not hold, because the program that ended just now may have lost writes."""
        now = trio.current_time()
        if now - self._world.calls.store_failed_at < RECORDED_WITHIN:
            self._world.bot.note_lost_writes(now - 3 * RECORDED_WITHIN)  # the store may have failed for so long
        elif killed:
            self._world.bot.note_lost_writes(now - RECORDED_WITHIN)

    def _note_booking(self, booking: LogEntry) -> None:
        if self._keep_events:
            self._world.note(booking.operation, booking.symbol, booking.client_order_id, booking.result)

    def _note_commit(self, entries: Sequence[StoreWrite]) -> None:
        if self._keep_events:
            written = [one for one in entries if not isinstance(one, (AppendEvent, SettleIntent))]
            settled = sorted(one.client_order_id for one in entries if isinstance(one, SettleIntent))
            for what in (
                *written,
                *(f"settled {one}" for one in settled),
            ):  # the order of these differs between processes
                self._world.note("commit", what)

    def _note_event(self, process: Process, event: object) -> None:
        if self._keep_events and process.alive:
            self._world.note("event", event)
