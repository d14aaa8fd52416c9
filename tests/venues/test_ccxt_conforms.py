"""The adapter passes `check_exchange` on each venue, and a manager on it loses no peak."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from real_exchange import BTC, VENUES, Desk, open_desk, with_delays
from venue_server import VenueServer

from trailing import Callback, Percent, Position, Protected, TrailPlan, open_manager, open_store
from trailing.core.model import Source
from trailing.events import StreamChanged
from trailing.exchanges.ccxt import websocket
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.testing import check_exchange

SILENCE = 2.0


class Bench:
    """An exchange under test, for `check_exchange`."""

    def __init__(self, desk: Desk) -> None:
        self.exchange: CcxtExchange = desk.exchange
        self._desk = desk

    async def enter(self, position: Position) -> None:
        await self._desk.server.enter(position)

    async def move_price(self, symbol: str, price: D, source: Source) -> None:
        await self._desk.server.move_price(symbol, price, source)


@pytest.mark.slow
async def test_the_adapter_passes_check_exchange_in_one_way_and_hedge_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    # The servers show every write at once, and the checks wait for the lag after each write.
    rows = {name: with_delays(name, orders_read_lag=0.05, positions_read_lag=0.05) for name in VENUES}
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", rows)

    def maker(venue: str, **settings: Any) -> Callable[[], AbstractAsyncContextManager[Bench]]:
        @asynccontextmanager
        async def new_bench() -> AsyncIterator[Bench]:
            async with open_desk(venue, **settings) as desk:
                yield Bench(desk)

        return new_bench

    async with trio.open_nursery() as nursery:  # the checks mostly wait
        for venue in VENUES:
            for hedged in (False, True):
                nursery.start_soon(check_exchange, maker(venue, hedged=hedged))
        for hedged in (False, True):
            nursery.start_soon(check_exchange, maker("okx", hedged=hedged, margin_mode="isolated"))


class WallClock:
    """The wall clock of the server, the client and the adapter. A test can set it ahead of the machine's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, self.ahead = self, 0.0

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + timedelta(seconds=clock.ahead)

        monkeypatch.setattr("trailing.exchanges.ccxt.exchange.datetime", Shifted)

    def configure(self, client: Any) -> None:
        client.milliseconds = lambda: int((time.time() + self.ahead) * 1000)

    def set_ahead(self, server: VenueServer, seconds: float) -> None:
        self.ahead = server.clock.skew = seconds


@pytest.mark.parametrize("venue", VENUES)
async def test_a_peak_during_a_frozen_connection_is_backfilled_from_candles(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert websocket.SILENCE_SECONDS == 10.0
    monkeypatch.setattr(websocket, "SILENCE_SECONDS", SILENCE)
    wall = WallClock(monkeypatch)
    plan = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1)),))
    opened_at = datetime.now(UTC) - timedelta(minutes=5)
    async with (
        open_desk(venue, configure=wall.configure) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, plan) as manager,
        manager.subscribe() as events,
    ):
        await desk.enter()
        position = Position(BTC, "long", D("0.8"), D(1000), opened_at)
        outcome = await manager.protect(position, deadline=10)
        assert isinstance(outcome, Protected)
        await desk.until_subscribed(BTC)
        desk.server.sockets.freeze()
        frozen_at = trio.current_time()
        await desk.server.move_price(BTC, D(1050), "last")
        await desk.server.move_price(BTC, D(1045), "last")
        wall.set_ahead(desk.server, 60.0)  # the candle of the peak must be closed before it can be read
        with trio.fail_after(SILENCE + 10.0):
            async for event in events:
                if isinstance(event, StreamChanged) and not event.connected:
                    break
        assert trio.current_time() - frozen_at < SILENCE + 5.0
        with trio.fail_after(60):
            while manager.stops()[BTC, "long"].price != D("1039.5"):
                await trio.sleep(0.1)
            while len(desk.server.market.live_stops()) > 1:  # a person may have changed the earlier one meanwhile
                await trio.sleep(0.1)
