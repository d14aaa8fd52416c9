"""A small world for tests of protection: a paper exchange, a store and a manager, each of them to be made faulty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import trio

import trailing
from trailing import Callback, Market, Percent, Position, StopOrder, Tick, TrailPlan
from trailing.core.model import Side, Source
from trailing.events import Alarm, Event
from trailing.exchanges.paper import PaperExchange
from trailing.protection.order_ids import is_ours
from trailing.stores import MemoryStore
from trailing.testing import FaultyExchange, FaultyStore, Snapshot, check_invariants
from trailing.testing.faults import Faults

START = datetime(2026, 1, 1, tzinfo=UTC)

PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))


def a_position(symbol: str = "BTC/USDT:USDT", side: Side = "long", **changes: Any) -> Position:
    """A position of 1.5 at 100."""
    fields: dict[str, Any] = {"quantity": Decimal("1.5"), "entry_price": Decimal(100), "opened_at": START} | changes
    return Position(symbol=symbol, side=side, **fields)


def some_positions(count: int) -> tuple[Position, ...]:
    """So many positions, each of a symbol of its own."""
    return tuple(a_position(f"COIN{number}/USDT:USDT") for number in range(count))


@dataclass
class World:
    """What a test looks at. `manager` is None where the test opens its own; `started`: when the exchange was opened."""

    paper: PaperExchange
    exchange: FaultyExchange
    memory: MemoryStore
    store: FaultyStore
    plan: TrailPlan
    manager: trailing.Manager | None = None
    events: list[Event] = field(default_factory=list)
    started: float = field(default_factory=trio.current_time)

    @property
    def running(self) -> trailing.Manager:
        """The manager, which has to be there."""
        assert self.manager is not None
        return self.manager

    def feed(self, price: str, symbol: str = "BTC/USDT:USDT", source: Source = "last") -> None:
        """Move the market."""
        self.paper.feed(Tick(symbol, Decimal(price), trio.current_time(), source))

    async def enter(self, *positions: Position) -> None:
        """Book filled entries."""
        for position in positions:
            await self.paper.enter(position)

    async def live(self) -> Sequence[StopOrder]:
        """The stops that the exchange holds."""
        return await self.paper.open_stops()

    def alarms(self) -> list[str]:
        """What every alarm so far was about."""
        return [event.what for event in self.events if isinstance(event, Alarm)]

    async def snapshot(self, entered: Sequence[Position]) -> Snapshot:
        """What all sides hold now; without a manager, the store answers for what is remembered and held."""
        loaded = await self.memory.load("paper", self.paper.account)
        stored = {(record.position.symbol, record.position.side): record for record in loaded.stops}
        native = {key: record.native for key, record in stored.items() if record.native is not None}
        if self.manager is not None:
            native = {
                (held.position.symbol, held.position.side): held.stop.native
                for held in self.manager._supervision.registry.all()
                if held.stop.native is not None
            }
            claims = {(held.position.symbol, held.position.side) for held in self.manager._supervision.registry.all()}
            held = {(held.position.symbol, held.position.side) for held in self.manager._supervision.kept}
            remembered = self.manager.stops()
            moving = {
                (held.position.symbol, held.position.side)
                for held in self.manager._supervision.registry.all()
                if held.pending
            }
        else:
            claims = held = set(stored)
            moving = {(intent.symbol, intent.side) for intent in loaded.intents}
            remembered = {key: record.orders[-1] for key, record in stored.items() if record.orders}
        return Snapshot(
            live=await self.paper.open_stops(),
            positions={(report.symbol, report.side): report.quantity for report in await self.paper.positions()},
            entered={(position.symbol, position.side): position.quantity for position in entered},
            remembered=remembered,
            native=native,
            claims=claims,
            held=held,
            loaded=loaded,
            is_ours=is_ours,
            moving=moving,
            alarmed={(e.symbol, e.side) for e in self.events if isinstance(e, Alarm) and e.symbol and e.side},
        )

    async def check(self, *entered: Position) -> None:
        """Assert that no invariant is broken."""
        check_invariants(await self.snapshot(entered))


def keep_silent(world: World) -> None:
    """Let nobody hear of what happens from now on."""
    world.paper._stream.publish = lambda _: None  # type: ignore[method-assign,assignment]


@contextmanager
def unheard(world: World) -> Iterator[None]:
    """Let nobody hear of what happens in the block."""
    publish = world.paper._stream.publish
    keep_silent(world)
    try:
        yield
    finally:
        world.paper._stream.publish = publish  # type: ignore[method-assign]


@asynccontextmanager
async def open_world(
    *,
    plan: TrailPlan = PLAN,
    latency: Any = 0.0,
    exchange_faults: Faults | None = None,
    store_faults: Faults | None = None,
    with_manager: bool = True,
    markets: Sequence[Market] = (),
    **paper: Any,
) -> AsyncIterator[World]:
    """A world whose times of day begin at `START`, and whose alarms are listened to.

    Its manager opens in no time and undisturbed: what it reads then is not counted, and strikes no fault.
    """
    memory = MemoryStore()
    opened = not with_manager

    def takes(operation: str, symbol: str | None) -> float:
        if not opened:
            return 0.0
        return float(latency(operation, symbol) if callable(latency) else latency)

    async with trailing.open_paper(latency=takes, markets=markets, utc_start=START, **paper) as exchange:
        world = World(
            exchange,
            FaultyExchange(exchange, exchange_faults or {} if opened else {}),
            memory,
            FaultyStore(memory, store_faults or {}),
            plan,
        )
        if not with_manager:
            yield world
            return
        async with open_listened(world):
            opened = True
            world.exchange.__init__(exchange, exchange_faults or {})  # type: ignore[misc]  # counts from here on
            yield world


@asynccontextmanager
async def open_listened(world: World) -> AsyncIterator[trailing.Manager]:
    """The world's manager, its events kept in the world; afterwards the world has none."""
    now = START + timedelta(seconds=trio.current_time() - world.started)
    async with trailing.open_manager(world.exchange, world.store, world.plan, utc_start=now) as manager:
        publish = manager._orders.announcer.publish

        def keep(event: Event) -> None:
            world.events.append(event)
            publish(event)

        manager._orders.announcer.publish = keep  # type: ignore[method-assign]
        world.manager = manager
        try:
            yield manager
        finally:
            world.manager = None
