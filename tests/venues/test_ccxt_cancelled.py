"""A program that is cancelled in the middle of a wave leaves no order without a record."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from real_exchange import KEYS, VENUES, open_server
from venue_faults import Fault, every
from venue_market import instrument
from venue_server import VenueServer

import trailing
from trailing import Percent, Position, TrailPlan

COINS = tuple(instrument(f"C{number:02}", "0.1", "0.001", "5") for number in range(50))
PLAN = TrailPlan(initial_stop=Percent("2"), trigger="mark")
NAMES = {"binanceusdm": {}, "bybit": {"order_limit": 1000}, "okx": {}}


async def a_wave(venue: str, server: VenueServer, store_url: str, began: trio.Event) -> None:
    positions = [Position(coin.symbol, "long", Decimal(1), Decimal(1000), datetime.now(UTC)) for coin in COINS]
    async with (
        trailing.open_ccxt(venue, credentials=KEYS, configure=server.configure) as exchange,
        trailing.open_store(store_url) as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        server.faults.latency = 0.2
        server.faults.add(Fault(on="place_stop", when=every(10), drop="after"))
        began.set()
        await manager.protect_wave(positions, deadline=40.0)
        await trio.sleep_forever()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.6, 1.1])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_wave_cancelled_from_outside_leaves_no_order_without_a_record(
    venue: str, share: float, tmp_path: Path
) -> None:
    """`share`: the part of the latency after which it is cancelled: before execution, after it, after the first replies."""
    store_url = f"sqlite:///{tmp_path}/wave.db"
    async with open_server(venue, instruments=COINS, **NAMES[venue]) as server:
        for coin in COINS:
            await server.enter(Position(coin.symbol, "long", Decimal(1), Decimal(1000), datetime.now(UTC)))
        began = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a_wave, venue, server, store_url, began)
            await began.wait()
            while not server.seen("place_stop"):
                await trio.sleep(0.005)
            await trio.sleep(0.2 * share)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.5)  # for requests that are still in flight
        live = {order.wanted.client_order_id for order in server.market.live_stops()}
        async with trailing.open_store(store_url) as store:
            loaded = await store.load(venue, "default")
        known = {intent.client_order_id for intent in loaded.intents}
        known |= {order.client_order_id for record in loaded.stops for order in record.orders}
        assert live <= known
        assert server.seen("place_stop")
