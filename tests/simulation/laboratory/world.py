"""A simulated world: an exchange with prices that move, a bot that dies and comes back, and somebody who watches."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from decimal import Decimal

import trio
from inspection import Inspection

from simulation.laboratory.books import Books, open_books
from simulation.laboratory.bot import START, Bot, time_of_day
from simulation.laboratory.bugs import is_ours_to_mend, leaves
from simulation.laboratory.clock import PatientClock
from simulation.laboratory.determinism import run_deterministically
from simulation.laboratory.hands import Hands
from simulation.laboratory.harsh import HarshWorld, exchange_options
from simulation.laboratory.harsh_rates import COARSE_TICKS, HarshRates
from simulation.laboratory.natives import trails_behind_ours
from simulation.laboratory.process import MortalExchange, MortalStore, Process
from simulation.laboratory.report import WorldReport
from simulation.laboratory.scenario import TICK, Scenario
from simulation.laboratory.settled import check_settled
from simulation.laboratory.weather import Weather
from simulation.laboratory.witness import PATIENCE, Key, Witness
from trailing.core.model import Side, Tick
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import Exchange
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import StoreWrite

_READ_BY = 130.0
"""Seconds after its end by which a minute's candle must have been read: a minute to be closed, one to be asked for."""

_COUNT_EVERY = 2 * 3600.0 + 7.0


def run_world(scenario: Scenario, *, store: str | None = None, keep_events: bool = False) -> WorldReport:
    """Let a world happen, the same way every time.

    Args:
        scenario: what happens in it.
        store: the address of a store in Postgres: the world's stops and intents are kept there, in a schema of its own,
            on a clock that stands still while the server is at work. The order of what happens at the same moment is the
            server's then, so that the same seed gives a world much like the last one, and not quite the same.
        keep_events: keep everything that the exchange booked.

    Raises:
        BaseException: a bug that ended the process, with a note that names the seed. In a harsh world it is what was wrong,
            and the next process goes on, but for a bug of the laboratory.
    """
    try:
        world = World(scenario, store=store, keep_events=keep_events)
        return run_deterministically(world.run, scenario.seed, clock=None if store is None else PatientClock())
    except BaseException as error:
        error.add_note(f"in the world of seed {scenario.seed}")
        raise


class World:
    """Everything of one world."""

    def __init__(self, scenario: Scenario, *, store: str | None, keep_events: bool) -> None:
        self._scenario = scenario
        self._weather = Weather(scenario)
        self._witness = Witness(self._weather, self._hears, self._tells, self._had_to_close, keep_events=keep_events)
        self._draw = random.Random(f"{scenario.seed} world")
        self._hands = Hands(scenario, self._weather, self._witness, self._draw)
        self._harsh: HarshWorld | None = None
        self._store = store
        self._books: Books
        self._process = Process()
        self._line: MortalExchange | None = None
        self._manager: Manager | None = None
        self._deaths = 0
        self._objects: list[int] = []

    async def run(self) -> WorldReport:
        """From the first price to the last check."""
        scenario, witness = self._scenario, self._witness
        async with (
            open_books(self._store, scenario.seed) as self._books,
            open_paper(
                latency=self._latency,
                markets=scenario.markets,
                orders_read_lag=scenario.read_lag,
                positions_read_lag=scenario.read_lag,
                utc_start=START,
                record=self._note_booking,
                **exchange_options(scenario.harsh),
            ) as exchange,
        ):
            witness.watch(exchange)
            if scenario.harsh is not None:
                self._harsh = self._harsh_world(exchange, scenario.harsh)
            self._feed_all(exchange, [10_000] * scenario.symbols)
            async with trio.open_nursery() as nursery:
                for happens in (self._move_prices, self._hands.lend, self._live):
                    nursery.start_soon(happens, exchange)
                nursery.start_soon(self._weather.play)
                nursery.start_soon(self._kill)
                nursery.start_soon(self._count_objects)
                if self._harsh is not None:
                    self._harsh.start(nursery)
                await trio.sleep(scenario.duration)
                self._weather.is_over = True
                self._weather.disturb()
                await trio.sleep(scenario.calm + 1.0)  # not at the moment of a price
                await self._check_all(exchange)
                nursery.cancel_scope.cancel()
        witness.close_books()
        return WorldReport(
            seed=scenario.seed,
            broken=tuple(witness.broken),
            deaths=self._deaths,
            steps=witness.steps,
            open_seconds=witness.open_seconds,
            bare_seconds=dict(witness.bare_seconds),
            objects=tuple(self._objects),
            events=tuple(witness.events),
            strikes={} if self._harsh is None else self._harsh.strikes,
        )

    def _harsh_world(self, exchange: PaperExchange, rates: HarshRates) -> HarshWorld:
        return HarshWorld(
            self._scenario,
            rates,
            exchange,
            self._weather,
            lambda tick: self._take(exchange, tick),
            self._witness.complain,
            lambda: self._manager,
        )

    # What happens.

    def _feed_all(self, exchange: PaperExchange, prices: list[int]) -> None:
        for market, price in zip(self._scenario.markets, prices, strict=True):
            self._feed(exchange, market.symbol, price)

    def _feed(self, exchange: PaperExchange, symbol: str, price: int) -> None:
        self._take(exchange, Tick(symbol, price * TICK, trio.current_time()))

    def _take(self, exchange: PaperExchange, tick: Tick) -> None:
        if self._harsh is not None:
            self._harsh.note_price(tick)
        exchange.feed(tick)
        self._witness.take_price(tick)
        if self._harsh is not None:
            self._harsh.look(tick.symbol)

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
                        self._check_peaks(exchange)  # before the next price: the last one has been taken in
                change = draw.gauss(0, scenario.volatility)
                if draw.random() < scenario.jumps:
                    change = draw.uniform(-0.04, 0.04)
                # It comes back to where it began: a market of days stays one in which positions are opened.
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

    async def _live(self, exchange: PaperExchange) -> None:
        bot = Bot(self._scenario, exchange, self._note_handed_in)
        async with trio.open_nursery() as zombies:
            while True:
                process = self._process
                life = trio.CancelScope()
                zombies.start_soon(self._run_bot, bot, exchange, process, life)
                await process.died.wait()
                life.cancel()
                self._deaths += 1
                self._manager, self._line = None, None
                self._witness.process_died()
                if self._harsh is not None:
                    self._harsh.process_died()
                self._weather.disturb()
                self._process = Process()
                if process.lease is not None:
                    await self._books.bury(process.lease)
                await trio.sleep(self._draw.choice((0.5, 5.0, 40.0)))

    async def _run_bot(self, bot: Bot, exchange: PaperExchange, process: Process, life: trio.CancelScope) -> None:
        with life:
            try:
                await self._run_process(bot, exchange, process)
            except Exception as error:
                if self._harsh is None or is_ours_to_mend(error):
                    raise
                # A supervisor starts the next one, so that the world shows what else is wrong.
                self._witness.complain("9. the manager ended", ", ".join(map(repr, leaves(error))))
                process.die()

    async def _run_process(self, bot: Bot, exchange: PaperExchange, process: Process) -> None:
        scenario, books = self._scenario, self._books
        async with books.open() as inner:
            line: MortalExchange
            seen: Exchange
            if self._harsh is None:
                line = seen = MortalExchange(exchange, process, self._weather)
            else:
                line, seen = self._harsh.connect(process)
            latency, far = scenario.store_latency, books.is_far
            store = MortalStore(inner, process, latency, self._draw, self._note_commit, is_far=far)
            async with open_manager(seen, store, scenario.plan, utc_start=time_of_day()) as manager:
                if process.alive:
                    self._manager, self._line = manager, line
                    self._witness.why_down = None
                    self._weather.disturb()
                await bot.run(manager)

    def _latency(self, operation: str, symbol: str | None) -> float:
        if self._harsh is not None:
            self._harsh.note_sent(operation, symbol)
        return self._weather.latency(operation, symbol)

    def _note_booking(self, booking: LogEntry) -> None:
        if self._harsh is not None:
            self._harsh.note_booking(booking)
        self._witness.note_booking(booking)

    def _note_commit(self, entries: Sequence[StoreWrite]) -> None:
        if self._harsh is not None:
            self._harsh.note_commit(entries)
        self._witness.note_commit(entries)

    def _note_handed_in(self, symbol: str, side: Side) -> None:
        if self._harsh is not None:
            self._harsh.note_handed_in(symbol, side)

    # What is looked at.

    def _hears(self, symbol: str) -> bool:
        if self._manager is None or self._line is None or not self._line.hears(symbol) or not self._process.alive:
            return False
        return any(claim.is_opened for claim in Inspection(self._manager).claims_of(symbol))

    def _tells(self, key: Key) -> Exception | bool:
        if self._manager is None:
            return True  # there is nobody to tell, and that is no calm
        unprotected = self._manager.unprotected().get(key)
        return False if unprotected is None else unprotected.error or True

    def _had_to_close(self, key: Key) -> bool:
        return self._harsh is not None and self._harsh.had_to_close(*key)

    @property
    def _rounding(self) -> Decimal:
        """By how much a market may round a trigger price, at the most."""
        rates = self._scenario.harsh
        return TICK * COARSE_TICKS if rates is not None and rates.rounded_acknowledgements else Decimal(0)

    def _check_peaks(self, exchange: PaperExchange) -> None:
        if self._manager is None:
            return
        for claim in Inspection(self._manager).claims():
            symbol, side = claim.key
            life = self._witness.lives.get(claim.key)
            if life is None or not claim.is_opened or self._weather.calm_for(symbol) < PATIENCE:
                continue
            life.have_read(trio.current_time() - _READ_BY)
            if life.knows_better_than(claim.peak):
                about = f"{side} {symbol} keeps {claim.peak}, not {life.heard}"
                self._witness.complain("8. a peak was lost", about)
            if self._harsh is not None:
                self._harsh.check_peak(claim)
            if (wrong := trails_behind_ours(exchange, claim, rounding=self._rounding)) is not None:
                self._witness.complain("1. the exchange trails behind our stop", wrong)

    async def _check_all(self, exchange: PaperExchange) -> None:
        if self._manager is None:
            self._witness.complain("9. there is no process at the end")
            return
        self._check_peaks(exchange)
        async with self._books.open() as store:
            loaded = await store.load(exchange.name, exchange.account)
        check_settled(exchange, self._manager, loaded, self._scenario.markets, self._witness.complain)
