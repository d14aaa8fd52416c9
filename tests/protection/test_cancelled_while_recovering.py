"""A recovery cancelled anywhere, and one whose process dies anywhere: the next one finds everything as it is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from each_step import cancel_steps, in_fifths_but
from simulation.laboratory import Scenario
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.process import KillableExchange, KillableStore, Process
from worlds import PLAN, START, World, a_position, open_listened, open_world

import trailing
from trailing.exchanges.port import StopRequest
from trailing.stores.port import AddIntent, Intent
from trailing.testing import At, ReplyLost, Slow, Unreachable

SETTLED = 150.0  # seconds: two readings of the account, the validity of a request, and some tries

STANDS, VANISHED, CLOSED, SENT, NOT_SENT, SILENT = (
    a_position(f"{name}/USDT:USDT") for name in ("STANDS", "VANISHED", "CLOSED", "SENT", "NOTSENT", "SILENT")
)
STORED = (STANDS, VANISHED, CLOSED, SENT, NOT_SENT, SILENT)
LEFTOVER = "LEFTOVER/USDT:USDT"
BY_HAND = StopRequest(STANDS.symbol, "long", D(1), D(50), "another-bots", "last")

FAULTS: dict[str, dict[str, Any]] = {
    "no-fault": {},
    "unreachable": {"exchange_faults": {At("open_stops", None, 1): Unreachable()}},
    "lost-reply": {"exchange_faults": {At("positions", None, 1): ReplyLost()}},
    "no-candles": {"exchange_faults": {At("candles", None, 1): Unreachable()}},
    "store-slow": {"store_faults": {At("commit", None, 1): Slow(3.0)}},
}


async def leave_a_mess(world: World) -> None:
    """What a process finds that comes back after a while, of every kind."""
    await world.enter(*STORED, a_position(LEFTOVER))
    async with open_listened(world) as manager:
        report = await manager.protect_wave(STORED, deadline=10.0)
        assert len(report.protected) == len(STORED)
        stops = manager.stops()
    world.paper.place_by_hand(StopRequest(LEFTOVER, "long", D("1.5"), D(98), "traaaa" + "c" * 16, "last"))
    world.paper.cancel_by_hand(stops[VANISHED.symbol, "long"].client_order_id)
    world.paper.reduce(CLOSED.symbol, "long", CLOSED.quantity)
    world.paper.reduce(LEFTOVER, "long", D("1.5"))
    world.paper.place_by_hand(BY_HAND)
    for position, price in ((SENT, D(99)), (NOT_SENT, D(99))):
        own = "tr" + ("a" if position is SENT else "b") * 20
        intent = Intent(
            "paper", "default", position.symbol, "long", position.identity, own, "stop", D("1.5"), price, START
        )
        await world.memory.commit([AddIntent(intent)])
        if position is SENT:
            world.paper.place_by_hand(StopRequest(position.symbol, "long", D("1.5"), price, own, "last"))
    await trio.sleep(60)
    world.feed("105", SILENT.symbol)
    await trio.sleep(1)
    world.feed("104.5", SILENT.symbol)
    await trio.sleep(120)


async def check_settled(world: World) -> None:
    """A fresh manager brings everything in order, and touches nothing of others."""
    async with open_listened(world) as manager:
        await trio.sleep(SETTLED)
        open_now = [position for position in STORED if position is not CLOSED]
        assert {symbol for symbol, _ in manager.stops()} == {position.symbol for position in open_now}
        prices = {symbol: stop.price for (symbol, _), stop in manager.stops().items()}
        assert prices == {
            STANDS.symbol: D(98),
            VANISHED.symbol: D(98),
            SENT.symbol: D(99),
            NOT_SENT.symbol: D(98),
            SILENT.symbol: D("103.95"),
        }
        live = await world.live()
        assert sorted(order.symbol for order in live if order.client_order_id != "another-bots") == sorted(prices)
        assert "another-bots" in {order.client_order_id for order in live}
        loaded = await world.load()
        assert loaded.intents == ()
        await world.check(*STORED, a_position(LEFTOVER))


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
async def test_a_recovery_cancelled_anywhere_leaves_what_stands_standing_and_the_next_one_ends_it(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with open_world(latency=0.1, with_manager=False) as world:
            await leave_a_mess(world)
            async with open_world(latency=0.1, with_manager=False, **FAULTS[fault]) as faulty:
                world.exchange = faulty.exchange
                world.exchange.inner = world.paper
                world.store = faulty.store
                world.store.inner = world.memory
                yield world

    async def act(world: World) -> None:
        async with open_listened(world):
            await trio.sleep(10)

    async def check(world: World, cancelled: bool) -> None:
        standing = {order.client_order_id for order in await world.live()}
        assert {"another-bots", "tr" + "a" * 20} <= standing
        assert sum(order.symbol == STANDS.symbol for order in await world.live()) == 2
        await check_settled(world)

    assert await cancel_steps(fault, world, act, check) > 10


async def test_a_recovery_whose_process_dies_at_any_step_is_ended_by_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scenario = msgspec.structs.replace(
        Scenario.from_seed(0), lost_replies=0.0, unreachable=0.0, refusals=0.0, outages=(), spikes=0.0
    )
    steps, died = 0, True
    while died:
        async with open_world(latency=0.1, with_manager=False) as world:
            await leave_a_mess(world)
            process, fault_schedule = Process(), FaultSchedule(scenario)
            process.steps_left = steps
            exchange = KillableExchange(world.paper, process, fault_schedule)
            store = KillableStore(world.memory, process, 0.01, random.Random(0), lambda _: None, is_remote=False)
            now = START + timedelta(seconds=trio.current_time() - world.started)
            with trio.move_on_after(100.0) as life:
                async with trailing.open_manager(exchange, store, PLAN, utc_start=now):
                    await trio.sleep(30)
            assert not life.cancelled_caught or not process.alive
            died = not process.alive
            await check_settled(world)
        steps += 1
    assert steps > 20
