"""A simulated world: an exchange with prices that move, a bot that dies and comes back, and somebody who watches."""

from __future__ import annotations

import gc
import random
from decimal import Decimal

import msgspec
import trio
from inspection import Inspection

from simulation.laboratory.books import Books, open_books
from simulation.laboratory.bot import START, Bot, time_of_day
from simulation.laboratory.clock import PatientClock
from simulation.laboratory.determinism import run_deterministically
from simulation.laboratory.natives import trails_behind_ours
from simulation.laboratory.process import MortalExchange, MortalStore, Process
from simulation.laboratory.scenario import TICK, Scenario
from simulation.laboratory.weather import Weather
from simulation.laboratory.witness import PATIENCE, Key, Witness
from trailing.core.model import Position, StopOrder, Tick
from trailing.errors import TrailingError, WouldTrigger
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.port import StopRequest
from trailing.protection.manager import Manager, open_manager
from trailing.protection.order_ids import is_ours
from trailing.testing.invariants import Snapshot, broken_invariants

_READ_BY = 130.0
"""Seconds after its end by which a minute's candle must have been read: a minute to be closed, one to be asked for."""

_COUNT_EVERY = 2 * 3600.0 + 7.0


class WorldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a world.

    Args:
        broken: what was wrong; empty: nothing.
        deaths: of its process.
        steps: looks that the witness took.
        open_seconds: of all positions; `bare_seconds`: those without a live stop, by why.
        objects: how many objects of protection were alive every so often, for who looks whether that grows.
        events: everything that the exchange booked, where it was to be kept.
    """

    seed: int
    broken: tuple[str, ...]
    deaths: int
    steps: int
    open_seconds: float
    bare_seconds: dict[str, float]
    objects: tuple[int, ...]
    events: tuple[tuple[object, ...], ...] = ()

    @property
    def coverage(self) -> float:
        """The share of the position-seconds with a live stop."""
        return 1.0 - sum(self.bare_seconds.values()) / self.open_seconds if self.open_seconds else 1.0


def run_world(scenario: Scenario, *, store: str | None = None, keep_events: bool = False) -> WorldReport:
    """Let a world happen, the same way every time.

    Args:
        scenario: what happens in it.
        store: the address of a store in Postgres: the world's stops and intents are kept there, in a schema of its own,
            on a clock that stands still while the server is at work. The order of what happens at the same moment is the
            server's then, so that the same seed gives a world much like the last one, and not quite the same.
        keep_events: keep everything that the exchange booked.

    Raises:
        BaseException: a bug that ended the process, with a note that names the seed.
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
        self._witness = Witness(self._weather, self._hears, self._tells, keep_events=keep_events)
        self._draw = random.Random(f"{scenario.seed} world")
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
                latency=self._weather.latency,
                markets=scenario.markets,
                read_lag=scenario.read_lag,
                utc_start=START,
                record=witness.note_booking,
            ) as exchange,
        ):
            witness.watch(exchange)
            self._feed_all(exchange, [10_000] * scenario.symbols)
            async with trio.open_nursery() as nursery:
                for happens in (self._move_prices, self._lend_hands, self._live):
                    nursery.start_soon(happens, exchange)
                nursery.start_soon(self._weather.play)
                nursery.start_soon(self._kill)
                nursery.start_soon(self._count_objects)
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
        )

    # What happens.

    def _feed_all(self, exchange: PaperExchange, prices: list[int]) -> None:
        for market, price in zip(self._scenario.markets, prices, strict=True):
            self._feed(exchange, market.symbol, price)

    def _feed(self, exchange: PaperExchange, symbol: str, price: int) -> None:
        tick = Tick(symbol, price * TICK, trio.current_time())
        exchange.feed(tick)
        self._witness.take_price(tick)

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

    async def _lend_hands(self, exchange: PaperExchange) -> None:
        for at in self._scenario.hands:
            await trio.sleep_until(at)
            symbol = self._draw.choice(self._scenario.markets).symbol
            self._weather.disturb(symbol)
            try:
                await self._do_by_hand(exchange, symbol)
            except TrailingError:
                continue  # the venue does not take it

    async def _do_by_hand(self, exchange: PaperExchange, symbol: str) -> None:
        stops, held = exchange.actual(symbol)
        what = self._draw.choice(("close", "reduce", "increase", "cancel", "place"))
        if not held:
            return
        ((side, quantity),) = held.items()
        price = exchange.actual_price(symbol)
        if what == "close":
            exchange.reduce(symbol, side, quantity)
        elif what == "reduce" and quantity > 1:
            exchange.reduce(symbol, side, Decimal(1))
        elif what == "increase":
            await exchange.enter(Position(symbol, side, Decimal(1), price, time_of_day()))
            self._witness.lives[symbol, side].was_added_to = True
        elif what == "cancel" and stops:
            exchange.cancel_by_hand(stops[-1].client_order_id)
        elif what == "place" and exchange.market(symbol).two_stops:  # else it would take our stop's place
            far = (price * Decimal("0.9" if side == "long" else "1.1")).quantize(TICK)
            exchange.place_by_hand(StopRequest(symbol, side, quantity, far, f"by hand {trio.current_time()}", "last"))

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
        bot = Bot(self._scenario, exchange)
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
                self._weather.disturb()
                self._process = Process()
                if process.lease is not None:
                    await self._books.bury(process.lease)
                await trio.sleep(self._draw.choice((0.5, 5.0, 40.0)))

    async def _run_bot(self, bot: Bot, exchange: PaperExchange, process: Process, life: trio.CancelScope) -> None:
        scenario, books, note_commit = self._scenario, self._books, self._witness.note_commit
        with life:
            async with books.open() as inner:
                line = MortalExchange(exchange, process, self._weather)
                latency, far = scenario.store_latency, books.is_far
                store = MortalStore(inner, process, latency, self._draw, note_commit, is_far=far)
                async with open_manager(line, store, scenario.plan, utc_start=time_of_day()) as manager:
                    if process.alive:
                        self._manager, self._line = manager, line
                        self._witness.why_down = None
                        self._weather.disturb()
                    await bot.run(manager)

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
                self._witness.complain(f"8. the {side} {symbol} keeps {claim.peak} as its peak, not {life.heard}")
            if (wrong := trails_behind_ours(exchange, claim)) is not None:
                self._witness.complain(f"1. {wrong}")

    async def _check_all(self, exchange: PaperExchange) -> None:
        witness, manager = self._witness, self._manager
        if manager is None:
            witness.complain("there is no process at the end")
            return
        self._check_peaks(exchange)
        inside = Inspection(manager)
        live, positions = list[StopOrder](), dict[Key, Decimal]()
        for market in self._scenario.markets:
            stops, held = exchange.actual(market.symbol)
            live += stops
            positions |= {(market.symbol, side): quantity for side, quantity in held.items()}
        async with self._books.open() as store:
            loaded = await store.load(exchange.name, exchange.account)
        snapshot = Snapshot(
            live=live,
            positions=positions,
            entered=positions,
            remembered=manager.stops(),
            claims=inside.claimed(),
            held=inside.with_task(),
            native=inside.natives(),
            loaded=loaded,
            is_ours=is_ours,
            moving=inside.with_work(),
        )
        for broken in broken_invariants(snapshot):
            witness.complain(broken)
        for key in snapshot.claims - positions.keys() - snapshot.moving:
            witness.complain(f"19. {key[1]} {key[0]} is claimed, and long closed")
        for key, unprotected in manager.unprotected().items():
            market = exchange.market(key[0])
            # Where only one stop may stand, a move that goes on right now has taken the old one away.
            in_between = key in snapshot.moving and not market.two_stops and not market.can_amend
            if key in positions and not in_between and not isinstance(unprotected.error, WouldTrigger):
                witness.complain(f"{key[1]} {key[0]} is unprotected after all that calm: {unprotected}")
