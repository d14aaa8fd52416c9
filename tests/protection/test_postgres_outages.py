"""The store goes away in the middle of a wave: stops are placed all the same, and afterwards the store knows them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal as D

import pytest
import trio
from loopback import open_network
from postgres_server import OwnServer, a_schema
from worlds import a_position

import trailing
from trailing import Callback, Percent, Position, Protected, Tick, TrailPlan
from trailing.events import StopOpened
from trailing.exchanges.paper import PaperExchange
from trailing.stores.postgres import PostgresStore, open_postgres
from trailing.stores.postgres_server import ServerTiming

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), journal_wait=0.5)
HASTE = ServerTiming(reply=3.0, cleanup=0.2, poll=0.5, longest_pause=0.2)
# A server that is killed closes its sockets, so that no time-out has to notice it.
PATIENT = ServerTiming(reply=20.0, cleanup=0.2, poll=0.5, longest_pause=0.2)
LATENCY = 0.2


def a_wave(name: str, count: int) -> tuple[Position, ...]:
    return tuple(a_position(f"{name}{number}/USDT:USDT") for number in range(count))


async def protect(exchange: PaperExchange, manager: trailing.Manager, positions: Sequence[Position]) -> None:
    for position in positions:
        await exchange.enter(position)
    report = await manager.protect_wave(positions, deadline=10.0)
    assert [outcome for outcome in report.outcomes if not isinstance(outcome, Protected)] == []


async def wait_until_all_is_stored(exchange: PaperExchange, store: PostgresStore, count: int) -> None:
    """The store knows every live stop, and nothing else."""
    stops = await exchange.open_stops()
    assert len(stops) == len({(stop.symbol, stop.side) for stop in stops}) == count
    live = {stop.symbol: (stop.client_order_id, stop.price, stop.quantity) for stop in stops}
    stored: object = None
    with trio.move_on_after(30):
        while True:
            loaded = await store.load("paper", "default")
            last = {record.position.symbol: record.orders[-1] for record in loaded.stops if record.orders}
            stored = {name: (stop.client_order_id, stop.price, stop.quantity) for name, stop in last.items()}
            if stored == live and not loaded.intents:
                return
            await trio.sleep(0.1)
    assert (stored, loaded.intents) == (live, ())


async def wait_until_stops_are_on_their_way(store: PostgresStore) -> None:
    with trio.fail_after(10):
        while not (await store.load("paper", "default")).intents:
            await trio.sleep(LATENCY / 20)


async def told_of(store: PostgresStore) -> Counter[str | None]:
    return Counter([record.event.symbol async for record in store.events() if isinstance(record.event, StopOpened)])


@asynccontextmanager
async def open_bot(
    dsn: str, schema: str, timing: ServerTiming = HASTE
) -> AsyncIterator[tuple[PaperExchange, PostgresStore, trailing.Manager]]:
    async with (
        trailing.open_paper(latency=LATENCY) as exchange,
        open_postgres(dsn, schema=schema, timing=timing) as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        yield exchange, store, manager


async def check_a_later_process_finds_all(dsn: str, schema: str, symbols: set[str]) -> None:
    async with open_postgres(dsn, schema=schema, timing=PATIENT) as store:
        loaded = await store.load("paper", "default")
        assert {record.position.symbol for record in loaded.stops} == symbols
        told = await told_of(store)
        assert set(told) == symbols
        assert set(told.values()) == {1}


async def test_the_server_is_killed_in_the_middle_of_a_wave_and_started_again(own_server: OwnServer) -> None:
    first, second = a_wave("FIRST", 60), a_wave("SECOND", 20)
    with a_schema(own_server.dsn) as schema:
        async with open_bot(own_server.dsn, schema, PATIENT) as (exchange, store, manager):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(protect, exchange, manager, first)
                await wait_until_stops_are_on_their_way(store)
                own_server.kill()
                await protect(exchange, manager, second)
            assert len(await exchange.open_stops()) == 80
            prices: list[D] = []
            exchange.feed(Tick("FIRST0/USDT:USDT", D(110), trio.current_time(), "last"))
            with trio.fail_after(30):
                while prices != [D("108.9")]:  # the old stop goes when the new one is live
                    await trio.sleep(0.05)
                    stops = await exchange.open_stops()
                    prices = [stop.price for stop in stops if stop.symbol == "FIRST0/USDT:USDT"]
            own_server.start()
            await wait_until_all_is_stored(exchange, store, 80)
        await check_a_later_process_finds_all(
            own_server.dsn, schema, {position.symbol for position in (*first, *second)}
        )


@pytest.mark.parametrize("replies", [False, True])
@pytest.mark.parametrize(
    ("seconds", "timing"), [(5.0, HASTE), pytest.param(30.0, ServerTiming(), marks=pytest.mark.repeats)]
)
async def test_the_network_is_cut_in_the_middle_of_a_wave_and_another_wave_comes_meanwhile(
    dsn: str, seconds: float, timing: ServerTiming, replies: bool
) -> None:
    first, second = a_wave("FIRST", 60), a_wave("SECOND", 20)
    with a_schema(dsn) as schema:
        async with open_network(dsn) as network, open_bot(network.dsn, schema, timing) as (exchange, store, manager):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(protect, exchange, manager, first)
                await trio.sleep(LATENCY / 2)
                network.cut(replies=replies)
                cut_at = trio.current_time()
                await protect(exchange, manager, second)
            assert len(await exchange.open_stops()) == 80
            await trio.sleep_until(cut_at + seconds)
            network.heal()
            await wait_until_all_is_stored(exchange, store, 80)
        await check_a_later_process_finds_all(dsn, schema, {position.symbol for position in (*first, *second)})
