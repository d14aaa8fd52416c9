"""A small world for tests of protection: a paper exchange, a store and a manager, each of them to be made faulty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import trio
from inspection import Claim, Inspection, Key
from inspection.paper import silence_updates, updates_silenced

import trailing
from trailing import (
    AuthenticationFailed,
    Callback,
    Market,
    Percent,
    Position,
    Protected,
    StopOrder,
    StopRecord,
    Tick,
    TrailPlan,
)
from trailing.core.evidence import Timing
from trailing.core.model import Side, Source
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import save_position
from trailing.events import Alarm, Event
from trailing.exchanges.paper import PaperExchange
from trailing.protection.order_ids import is_ours
from trailing.protection.waves.entry_limits import NO_LIMITS, EntryLimits
from trailing.stores import MemoryStore
from trailing.stores.port import Loaded
from trailing.testing import Fails, FaultyExchange, FaultyStore, Snapshot, check_invariants
from trailing.testing.faults import Fault, Faults

START = datetime(2026, 1, 1, tzinfo=UTC)

SYMBOL = "BTC/USDT:USDT"
BTC: Key = (SYMBOL, "long")
"""The position that most tests protect."""

PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))


def a_position(symbol: str = SYMBOL, side: Side = "long", **changes: Any) -> Position:
    """A position of 1.5 at 100."""
    fields: dict[str, Any] = {"quantity": Decimal("1.5"), "entry_price": Decimal(100), "opened_at": START} | changes
    return Position(symbol=symbol, side=side, **fields)


def some_positions(count: int) -> tuple[Position, ...]:
    """So many positions, each of a symbol of its own."""
    return tuple(a_position(f"COIN{number}/USDT:USDT") for number in range(count))


def a_record(position: Position | None = None, plan: TrailPlan = PLAN) -> StopRecord:
    """The record of a position before anything was sent for it."""
    position = position or a_position()
    state = PositionState(Ratchet(position, plan, Market(position.symbol)), Timing(), 0.0)
    return save_position(state, 0.0)


def slow_but(fast: str, cases: Iterable[str]) -> list[Any]:
    """Test parameters that are all marked slow but one."""
    return [case if case == fast else pytest.param(case, marks=pytest.mark.slow) for case in cases]


@dataclass
class World:
    """What a test looks at. `manager` is None where the test opens its own; `started`: when the exchange was opened."""

    paper: PaperExchange
    exchange: FaultyExchange
    memory: MemoryStore
    store: FaultyStore
    plan: TrailPlan
    manager: trailing.Manager | None = None
    entry_limits: EntryLimits = NO_LIMITS
    events: list[Event] = field(default_factory=list)
    started: float = field(default_factory=trio.current_time)

    @property
    def running(self) -> trailing.Manager:
        """The manager, which has to be there."""
        assert self.manager is not None
        return self.manager

    # What a test makes happen.

    def feed(self, price: str, symbol: str = SYMBOL, source: Source = "last") -> None:
        """Move the market."""
        self.paper.feed(Tick(symbol, Decimal(price), trio.current_time(), source))

    async def enter(self, *positions: Position) -> None:
        """Book filled entries."""
        for position in positions:
            await self.paper.enter(position)

    async def protect(
        self, *positions: Position, plan: TrailPlan | None = None, deadline: float = 5.0, settle: float = 5.0
    ) -> tuple[StopOrder, ...]:
        """Enter positions and protect them as one wave. Returns their stops.

        Args:
            positions: by default one, that of `BTC`.
            settle: seconds to wait afterwards, so that their prices are subscribed.
        """
        positions = positions or (a_position(),)
        await self.enter(*positions)
        report = await self.running.protect_wave(positions, deadline=deadline, plan=plan)
        stops = tuple(outcome.stop for outcome in report.outcomes if isinstance(outcome, Protected))
        assert len(stops) == len(positions), report.outcomes
        await trio.sleep(settle)
        return stops

    async def protect_and_end(self, *positions: Position) -> None:
        """Have positions protected by a manager that has ended by now."""
        async with open_listened(self):
            await self.protect(*positions, deadline=10.0, settle=0.0)

    def inject(self, faults: Faults) -> None:
        """Put other faults between the manager and the exchange. The calls are counted from here on."""
        self.exchange.__init__(self.paper, faults)  # type: ignore[misc]

    def silence_updates(self) -> None:
        """Push no more ticks and no more updates of orders and positions."""
        silence_updates(self.paper)

    def updates_silenced(self) -> AbstractContextManager[None]:
        """Push no ticks and no updates of orders and positions within the block; they are lost."""
        return updates_silenced(self.paper)

    # What a test looks at.

    @property
    def inside(self) -> Inspection:
        """The manager's claims and everything else that its public face does not show."""
        return Inspection(self.running)

    def claim(self, symbol: str = SYMBOL, side: Side = "long") -> Claim:
        """The claim of a position, which has to be there."""
        claim = self.inside.claim(symbol, side)
        assert claim is not None, f"no {side} {symbol} is claimed"
        return claim

    def unlisted(self) -> set[Key]:
        """The claimed positions that are in no list of the manager although something is left of them: none, at every moment."""
        return set() if self.manager is None else self.inside.claimed() - self.inside.listed() - self.inside.closing()

    def calls(self, operation: str) -> int:
        """How many requests of a kind the manager has made."""
        return sum(call.operation == operation for call in self.exchange.calls)

    async def load(self) -> Loaded:
        """What the store holds of the account."""
        return await self.memory.load("paper", self.paper.account)

    async def record(self) -> StopRecord:
        """The only record that the store holds open."""
        (record,) = (await self.load()).stops
        return record

    async def stored_alarms(self) -> list[str]:
        """What every alarm in the store was about, those before a manager was open included."""
        return [record.event.what async for record in self.memory.events() if isinstance(record.event, Alarm)]

    async def live(self) -> Sequence[StopOrder]:
        """The stops that the exchange holds."""
        return await self.paper.open_stops()

    def alarms(self) -> list[str]:
        """What every alarm so far was about."""
        return [event.what for event in self.events if isinstance(event, Alarm)]

    async def snapshot(self, entered: Sequence[Position], *, handed_in: bool = False) -> Snapshot:
        """What all sides hold now; without a manager, the store answers for what is remembered and held.

        Args:
            handed_in: what was entered was handed in as well.
        """
        loaded = await self.load()
        unprotected, closing, listed_beside = None, set[Key](), set[Key]()
        if self.manager is not None:
            inside = self.inside
            claims, held, moving = inside.claimed(), inside.with_task(), inside.with_unknown_request()
            native, remembered = inside.natives(), self.manager.stops()
            unprotected, closing, listed_beside = (
                self.manager.unprotected().keys(),
                inside.closing(),
                inside.listed_beside(),
            )
        else:
            stored = {(record.position.symbol, record.position.side): record for record in loaded.stops}
            claims = held = set(stored)
            moving = {(intent.symbol, intent.side) for intent in loaded.intents}
            moving |= {key for key, record in stored.items() if len(record.orders) > 1}  # it holds the old stop, too
            native = {key: record.native for key, record in stored.items() if record.native is not None}
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
            unprotected=unprotected,
            handed_in={(position.symbol, position.side) for position in entered} if handed_in else set(),
            closing=closing,
            listed_beside=listed_beside,
        )

    async def check(self, *entered: Position, handed_in: bool = False) -> None:
        """Assert that no invariant is broken. `handed_in`: what was entered was handed in as well."""
        check_invariants(await self.snapshot(entered, handed_in=handed_in))


def refuse_credentials(operation: str, error: AuthenticationFailed, *, first: int = 1) -> Callable[..., Fault | None]:
    """Refuse the credentials from a call of an operation on, then for the list of positions, too, which confirms it.

    Args:
        first: the number of the first call that is refused.
    """
    count = 0

    def refuse(called: str, *_: object) -> Fault | None:
        nonlocal count
        count += called == operation
        is_refused = count >= first and called in {operation, "positions"}
        return Fails(error) if is_refused else None

    return refuse


@asynccontextmanager
async def open_world(
    *,
    plan: TrailPlan = PLAN,
    latency: Any = 0.0,
    exchange_faults: Faults | None = None,
    store_faults: Faults | None = None,
    with_manager: bool = True,
    markets: Sequence[Market] = (),
    entry_limits: EntryLimits = NO_LIMITS,
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
            entry_limits=entry_limits,
        )
        if not with_manager:
            yield world
            return
        async with open_listened(world):
            opened = True
            world.inject(exchange_faults or {})
            yield world


@asynccontextmanager
async def open_listened(world: World) -> AsyncIterator[trailing.Manager]:
    """The world's manager, its events kept in the world; afterwards the world has none."""
    now = START + timedelta(seconds=trio.current_time() - world.started)
    async with trailing.open_manager(
        world.exchange, world.store, world.plan, utc_start=now, entry_limits=world.entry_limits
    ) as manager:
        Inspection(manager).record_events(world.events)
        world.manager = manager
        try:
            yield manager
        finally:
            world.manager = None
