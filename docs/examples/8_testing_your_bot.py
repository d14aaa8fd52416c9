"""Tests of a bot: an exchange that loses a reply, and a cancellation at every step of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import trio
import trio.testing

import trailing
from trailing import Exchange, Percent, Position, Store, TrailPlan
from trailing.testing import At, FaultyExchange, ReplyLost, cancel_everywhere

PLAN = TrailPlan(initial_stop=Percent("2"))
NOW = datetime.now(UTC)
WAVE = [Position(f"{coin}/USDT:USDT", "long", Decimal(1), Decimal(100), NOW) for coin in ("BTC", "ETH", "SOL")]


async def bot(exchange: Exchange, store: Store) -> trailing.WaveReport:
    """The bot under test."""
    async with trailing.open_manager(exchange, store, PLAN) as manager:
        return await manager.protect_wave(WAVE, deadline=10.0)


@asynccontextmanager
async def open_world() -> AsyncIterator[tuple[Exchange, Store]]:
    """Open an exchange with the wave's positions that loses the first reply to the placing of ETH's stop."""
    faults = {At("place_stop", "ETH/USDT:USDT", call=1): ReplyLost()}
    async with trailing.open_paper(latency=0.5) as paper, trailing.open_store("memory:") as store:
        for position in WAVE:
            await paper.enter(position)
        yield FaultyExchange(paper, faults), store


async def test_a_lost_reply_leaves_one_stop_for_each_position() -> None:
    async with open_world() as (exchange, store):
        report = await bot(exchange, store)
        assert len(report.protected) == len(await exchange.open_stops()) == len(WAVE)
        print("a lost reply: protected after", *(f"{outcome.elapsed:.1f} s" for outcome in report.outcomes))


async def test_after_a_cancellation_the_store_knows_every_live_stop() -> None:
    async def act(world: tuple[Exchange, Store]) -> None:
        await bot(*world)

    async def check(world: tuple[Exchange, Store], cancelled: bool) -> None:  # noqa: FBT001
        exchange, store = world
        await trio.sleep(60)
        loaded = await store.load(exchange.name, exchange.account)
        known = {order.client_order_id for record in loaded.stops for order in record.orders}
        known |= {intent.client_order_id for intent in loaded.intents}
        live = {order.client_order_id for order in await exchange.open_stops()}
        assert live <= known
        assert cancelled or len(live) == len(WAVE)

    print(await cancel_everywhere(open_world, act, check), "cancellations, and the store knows every live stop")


trailing.configure_logging("error")
for test in (
    test_a_lost_reply_leaves_one_stop_for_each_position,
    test_after_a_cancellation_the_store_knows_every_live_stop,
):
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))
