"""The whole program cancelled from outside, the exchange with it: the store knows every order that is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest
import trio
from worlds import PLAN, START, some_positions

import trailing
from trailing.exchanges.paper import PaperExchange
from trailing.protection.order_ids import is_ours
from trailing.stores import MemoryStore
from trailing.testing import At, FaultyExchange, Hangs, ReplyLost, Snapshot, cancel_everywhere, check_invariants
from trailing.testing.faults import Fault

POSITIONS = some_positions(3)


@dataclass
class Remains:
    """What is left of a program: its store, and the exchange's book as it was at the end."""

    store: MemoryStore
    paper: PaperExchange | None = None


@pytest.mark.parametrize(
    "faults",
    [{}, {At("place_stop", None, 2): ReplyLost()}, {At("place_stop", None, 2): Hangs(booked=True)}],
    ids=["no-fault", "lost-reply", "hang"],
)
async def test_a_program_cancelled_anywhere_leaves_no_order_that_its_store_does_not_know(
    faults: dict[At, Fault], autojump_clock: trio.testing.MockClock
) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[Remains]:
        yield Remains(MemoryStore())

    async def program(remains: Remains) -> None:
        async with trailing.open_paper(latency=0.5, utc_start=START) as paper:
            remains.paper = paper
            for position in POSITIONS:
                await paper.enter(position)
            exchange = FaultyExchange(paper, faults)
            async with trailing.open_manager(exchange, remains.store, PLAN, utc_start=START) as manager:
                await manager.protect_wave(POSITIONS, deadline=4.0)
                paper.feed(trailing.Tick(POSITIONS[0].symbol, Decimal(105), trio.current_time()))
                await trio.sleep(5)

    async def check(remains: Remains, _cancelled: bool) -> None:
        if remains.paper is None:
            return
        held = {position.symbol: remains.paper.actual(position.symbol) for position in POSITIONS}
        loaded = await remains.store.load("paper", "default")
        stored = {(record.position.symbol, record.position.side): record for record in loaded.stops}
        check_invariants(
            Snapshot(
                live=[order for stops, _ in held.values() for order in stops],
                positions={
                    (symbol, side): quantity
                    for symbol, (_, quantities) in held.items()
                    for side, quantity in quantities.items()
                },
                entered={(position.symbol, position.side): position.quantity for position in POSITIONS},
                remembered={key: record.orders[-1] for key, record in stored.items() if record.orders},
                claims=set(stored),
                held=set(stored),
                loaded=loaded,
                is_ours=is_ours,
                moving={(intent.symbol, intent.side) for intent in loaded.intents},
            )
        )

    assert await cancel_everywhere(world, program, check) > 50  # about a hundred: the scheduler is random
