"""A simulated world: an exchange with moving prices, a bot that is killed and restarted, and monitors."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from decimal import Decimal

import trio
from inspection import Inspection

from simulation.laboratory.bot import START, Bot, time_of_day
from simulation.laboratory.bugs import is_laboratory_bug, leaves
from simulation.laboratory.clock import IOAwareClock
from simulation.laboratory.determinism import run_deterministically
from simulation.laboratory.entry_bookings import EntryBookings
from simulation.laboratory.entry_bot import EntryBot
from simulation.laboratory.entry_monitor import EntryMonitor
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.harsh import HarshWorld, exchange_options
from simulation.laboratory.harsh_rates import COARSE_TICKS, HarshRates
from simulation.laboratory.invariant_monitor import SETTLED_AFTER, InvariantMonitor
from simulation.laboratory.manual_changes import ManualChanges
from simulation.laboratory.natives import trails_behind_ours
from simulation.laboratory.position_history import Key
from simulation.laboratory.process import KillableExchange, KillableStore, Process
from simulation.laboratory.report import WorldReport
from simulation.laboratory.scenario import TICK, Scenario
from simulation.laboratory.settled import check_settled, unprotected_at_rest, wait_settled
from simulation.laboratory.world_store import WorldStore, open_world_store
from trailing.core.model import Side, Tick
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import Exchange
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import StoreWrite

_READ_BY = 130.0
"""Seconds after a minute's end by which its candle must have been read: one minute to close, one to be requested."""

_COUNT_EVERY = 2 * 3600.0 + 7.0


def run_world(scenario: Scenario, *, store: str | None = None, keep_events: bool = False) -> WorldReport:
    """Run a world, in the same way every time.

    Args:
        scenario: the parameters of the world.
        store: the address of a Postgres server for the world's records, in a schema of its own. The virtual clock stops
            while the server works. The server decides the order of things that happen at the same moment, so that the
            same seed gives a similar world, and not an identical one.
        keep_events: whether the report has all bookings of the exchange.

    Raises:
        BaseException: a bug that ended the process, with a note that names the seed. In a harsh world a bug of the library
            is reported as a violation instead, and the next process starts.
    """
    try:
        world = World(scenario, store=store, keep_events=keep_events)
        return run_deterministically(world.run, scenario.seed, clock=None if store is None else IOAwareClock())
    except BaseException as error:
        error.add_note(f"in the world of seed {scenario.seed}")
        raise


class World:
    """The parts of one world."""

    def __init__(self, scenario: Scenario, *, store: str | None, keep_events: bool) -> None:
        self._scenario = scenario
        self._fault_schedule = FaultSchedule(scenario)
        self._invariant_monitor = InvariantMonitor(
            self._fault_schedule,
            self._receives_prices,
            self._unprotected_error,
            self._had_to_close,
            self._explains,
            keep_events=keep_events,
        )
        self._draw = random.Random(f"{scenario.seed} world")
        self._manual_changes = ManualChanges(scenario, self._fault_schedule, self._invariant_monitor, self._draw)
        self._entry_monitor = EntryMonitor(
            self._fault_schedule,
            lambda: self._manager,
            self._invariant_monitor.was_added_to,
            self._invariant_monitor.report_violation,
        )
        self._harsh: HarshWorld | None = None
        self._store = store
        self._world_store: WorldStore
        self._process = Process()
        self._connection: KillableExchange | None = None
        self._manager: Manager | None = None
        self._deaths = 0
        self._objects: list[int] = []

    async def run(self) -> WorldReport:
        """Run the world from the first price to the last check."""
        scenario, invariant_monitor = self._scenario, self._invariant_monitor
        async with (
            open_world_store(self._store, scenario.seed) as self._world_store,
            open_paper(
                latency=self._latency,
                markets=scenario.markets,
                orders_read_lag=scenario.read_lag,
                positions_read_lag=scenario.read_lag,
                utc_start=START,
                record=self._note_booking,
                partial_entries=scenario.entries.filled,
                **exchange_options(scenario.harsh),
            ) as exchange,
        ):
            invariant_monitor.set_exchange(exchange)
            self._entry_monitor.set_exchange(exchange)
            EntryBookings(exchange, self._entry_monitor, invariant_monitor, self._note_booking)
            if scenario.harsh is not None:
                self._harsh = self._harsh_world(exchange, scenario.harsh)
            self._feed_all(exchange, [10_000] * scenario.symbols)
            async with trio.open_nursery() as nursery:
                for happens in (self._move_prices, self._manual_changes.lend, self._run_processes):
                    nursery.start_soon(happens, exchange)
                nursery.start_soon(self._fault_schedule.play)
                nursery.start_soon(self._kill)
                nursery.start_soon(self._count_objects)
                if self._harsh is not None:
                    self._harsh.start(nursery)
                await trio.sleep(scenario.duration)
                self._fault_schedule.is_over = True
                self._fault_schedule.disturb()
                await trio.sleep(scenario.calm_seconds + 1.0)  # not at the time of a price
                await wait_settled(lambda: self._manager is None or not unprotected_at_rest(exchange, self._manager))
                await self._check_all(exchange)
                nursery.cancel_scope.cancel()
        invariant_monitor.finish()
        return WorldReport(
            seed=scenario.seed,
            broken=tuple(invariant_monitor.broken),
            deaths=self._deaths,
            steps=invariant_monitor.steps,
            open_seconds=invariant_monitor.open_seconds,
            unprotected_seconds=dict(invariant_monitor.unprotected_seconds),
            objects=tuple(self._objects),
            events=tuple(invariant_monitor.events),
            strikes={} if self._harsh is None else self._harsh.strikes,
        )

    def _harsh_world(self, exchange: PaperExchange, rates: HarshRates) -> HarshWorld:
        return HarshWorld(
            self._scenario,
            rates,
            exchange,
            self._fault_schedule,
            lambda tick: self._feed_tick(exchange, tick),
            self._invariant_monitor.report_violation,
            lambda: self._manager,
            self._entry_monitor.was_cancelled,
        )

    # The events of the world.

    def _feed_all(self, exchange: PaperExchange, prices: list[int]) -> None:
        for market, price in zip(self._scenario.markets, prices, strict=True):
            self._feed(exchange, market.symbol, price)

    def _feed(self, exchange: PaperExchange, symbol: str, price: int) -> None:
        self._feed_tick(exchange, Tick(symbol, price * TICK, trio.current_time()))

    def _feed_tick(self, exchange: PaperExchange, tick: Tick) -> None:
        if self._harsh is not None:
            self._harsh.note_price(tick)
        exchange.feed(tick)
        self._invariant_monitor.take_price(tick)
        if self._harsh is not None:
            self._harsh.check(tick.symbol)
        self._entry_monitor.check(tick.symbol)

    async def _move_prices(self, exchange: PaperExchange) -> None:
        scenario, draw = self._scenario, random.Random(f"{self._scenario.seed} prices")
        prices = [10_000] * scenario.symbols
        rounds = 0
        while True:
            for number, market in enumerate(scenario.markets):
                if scenario.staggered or not number:
                    await trio.sleep(scenario.tick_every / (scenario.symbols if scenario.staggered else 1))
                if not number:
                    rounds += 1
                    if rounds % 20 == 0:
                        self._check_peaks(exchange)  # before the next price, when the last one has been processed
                change = draw.gauss(0, scenario.volatility)
                if draw.random() < scenario.jumps:
                    change = draw.uniform(-0.04, 0.04)
                # The price returns to its beginning, so that positions are opened for days.
                prices[number] += round(prices[number] * change + (10_000 - prices[number]) * 0.0005)
                self._feed(exchange, market.symbol, prices[number])

    async def _kill(self) -> None:
        for at in self._scenario.deaths:
            await trio.sleep_until(at)
            self._process.steps_left = self._draw.choice((0, 0, 1, 2, 3, 5, 8))
            await self._process.died.wait()

    async def _count_objects(self) -> None:
        while True:
            await trio.sleep(_COUNT_EVERY)
            gc.collect()
            kinds = (type(one).__module__ for one in gc.get_objects())
            self._objects.append(sum(kind.startswith("trailing.protection") for kind in kinds))

    async def _run_processes(self, exchange: PaperExchange) -> None:
        bot = Bot(
            self._scenario,
            exchange,
            self._note_handed_in,
            EntryBot(self._scenario, exchange, self._entry_monitor),
        )
        async with trio.open_nursery() as old_processes:
            while True:
                process = self._process
                process_scope = trio.CancelScope()
                old_processes.start_soon(self._run_bot, bot, exchange, process, process_scope)
                await process.died.wait()
                process_scope.cancel()
                self._deaths += 1
                self._manager, self._connection = None, None
                self._invariant_monitor.process_died()
                self._entry_monitor.process_died()
                if self._harsh is not None:
                    self._harsh.process_died()
                self._fault_schedule.disturb()
                self._process = Process()
                if process.lease is not None:
                    await self._world_store.end_lease(process.lease)
                await trio.sleep(self._draw.choice((0.5, 5.0, 40.0)))

    async def _run_bot(
        self, bot: Bot, exchange: PaperExchange, process: Process, process_scope: trio.CancelScope
    ) -> None:
        with process_scope:
            try:
                await self._run_process(bot, exchange, process)
            except Exception as error:
                if self._harsh is None or is_laboratory_bug(error):
                    raise
                # The next process starts, so that the world can show further violations.
                self._invariant_monitor.report_violation("9. the manager ended", ", ".join(map(repr, leaves(error))))
                process.die()

    async def _run_process(self, bot: Bot, exchange: PaperExchange, process: Process) -> None:
        scenario, world_store = self._scenario, self._world_store
        async with world_store.open() as inner:
            connection: KillableExchange
            exchange_port: Exchange
            if self._harsh is None:
                connection = exchange_port = KillableExchange(exchange, process, self._fault_schedule)
            else:
                connection, exchange_port = self._harsh.connect(process)
            latency, is_remote = scenario.store_latency, world_store.is_remote
            store = KillableStore(
                inner,
                process,
                latency,
                self._draw,
                self._note_commit,
                is_remote=is_remote,
                fails=self._fault_schedule.store_fails,
            )
            async with open_manager(
                exchange_port,
                store,
                scenario.plan,
                utc_start=time_of_day(),
                entry_limits=scenario.entries.limits,
            ) as manager:
                if process.alive:
                    self._manager, self._connection = manager, connection
                    self._invariant_monitor.why_down = None
                    self._fault_schedule.disturb()
                await bot.run(manager)

    def _latency(self, operation: str, symbol: str | None) -> float:
        self._invariant_monitor.note_sent(operation, symbol)
        if self._harsh is not None:
            self._harsh.note_sent(operation, symbol)
        return self._fault_schedule.latency(operation, symbol)

    def _note_booking(self, booking: LogEntry) -> None:
        if self._harsh is not None:
            self._harsh.note_booking(booking)
        self._entry_monitor.note_booking(booking)
        self._invariant_monitor.note_booking(booking)

    def _note_commit(self, entries: Sequence[StoreWrite]) -> None:
        if self._harsh is not None:
            self._harsh.note_commit(entries)
        self._entry_monitor.note_commit(entries)
        self._invariant_monitor.note_commit(entries)

    def _note_handed_in(self, symbol: str, side: Side) -> None:
        if self._harsh is not None:
            self._harsh.note_handed_in(symbol, side)

    # The checks.

    def _receives_prices(self, symbol: str) -> bool:
        if (
            self._manager is None
            or self._connection is None
            or not self._connection.receives_prices(symbol)
            or not self._process.alive
        ):
            return False
        return any(claim.is_opened for claim in Inspection(self._manager).claims_of(symbol))

    def _unprotected_error(self, key: Key) -> Exception | bool:
        if self._manager is None:
            return True  # no process runs, which counts as a disturbance
        unprotected = self._manager.unprotected().get(key)
        return False if unprotected is None else unprotected.error or True

    def _had_to_close(self, key: Key) -> bool:
        return self._harsh is not None and self._harsh.had_to_close(*key)

    def _explains(self, key: Key, at: float) -> str | None:
        return None if self._harsh is None else self._harsh.explains(*key, at)

    @property
    def _rounding(self) -> Decimal:
        """The largest difference by which a market may round a trigger price."""
        rates = self._scenario.harsh
        return TICK * COARSE_TICKS if rates is not None and rates.rounded_acknowledgements else Decimal(0)

    def _check_peaks(self, exchange: PaperExchange) -> None:
        if self._manager is None:
            return
        for claim in Inspection(self._manager).claims():
            symbol, side = claim.key
            process_scope = self._invariant_monitor.histories.get(claim.key)
            if (
                process_scope is None
                or not claim.is_opened
                or self._fault_schedule.undisturbed_seconds(symbol) < SETTLED_AFTER
            ):
                continue
            process_scope.note_candles_read(trio.current_time() - _READ_BY)
            if process_scope.expects_better_than(claim.peak):
                about = f"{side} {symbol} stores {claim.peak}, not {process_scope.expected_peak}"
                self._invariant_monitor.report_violation("8. a peak was lost", about)
            if self._harsh is not None:
                self._harsh.check_peak(claim)
            if (wrong := trails_behind_ours(exchange, claim, rounding=self._rounding)) is not None:
                self._invariant_monitor.report_violation("1. the exchange trails behind our stop", wrong)

    async def _check_all(self, exchange: PaperExchange) -> None:
        if self._manager is None:
            self._invariant_monitor.report_violation("9. there is no process at the end")
            return
        self._check_peaks(exchange)
        async with self._world_store.open() as store:
            loaded = await store.load(exchange.name, exchange.account)
        check_settled(exchange, self._manager, loaded, self._scenario.markets, self._invariant_monitor.report_violation)
        symbols = [market.symbol for market in self._scenario.markets]
        self._entry_monitor.check_at_rest(symbols, self._manager)
