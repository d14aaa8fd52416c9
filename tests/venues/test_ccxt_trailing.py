"""The life of a position with the real ccxt client: protected, trailed, stopped out, without leftovers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import structlog
import trio
from real_exchange import BTC, ETH, Desk, open_desk, with_delays

from trailing import Callback, Pacing, Percent, Position, Protected, TrailPlan, open_manager, open_store
from trailing.events import PositionClosed, StopFilled

# The frames with which the venue reports a triggered stop.
WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "binance": ("binanceusdm", {}),
    "binance, the position first and the trigger last": ("binanceusdm", {"positions_first": True, "fills_first": True}),
    "binance, hedged": ("binanceusdm", {"hedged": True}),
    "bybit": ("bybit", {}),
    "bybit, in parts and the position first": ("bybit", {"positions_first": True, "parts": 2}),
    "bybit, hedged": ("bybit", {"hedged": True}),
    "okx": ("okx", {}),
    "okx, in parts, and the position first and the trigger last": (
        "okx",
        {"positions_first": True, "fills_first": True, "parts": 2},
    ),
    "okx, hedged": ("okx", {"hedged": True}),
    "okx, isolated margin": ("okx", {"margin_mode": "isolated"}),
}
PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(Callback(Percent("1")),),
    pacing=Pacing(min_interval=0.2, min_improvement=Percent("0.1")),
    trigger="mark",
)


def on_the_venue(desk: Desk) -> dict[str, tuple[str, Decimal]]:
    """Return client order id and trigger price of the live stops, by symbol."""
    stops = desk.server.market.live_stops()
    return {
        order.wanted.symbol: (order.wanted.client_order_id, order.wanted.trigger.price)
        for order in stops
        if order.wanted.trigger is not None
    }


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not holds():
            await trio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_a_wave_is_protected_trailed_and_stopped_out_without_leftovers(way: str) -> None:
    venue, settings = WAYS[way]
    wave = [Position(symbol, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for symbol in (BTC, ETH)]
    with structlog.testing.capture_logs():
        async with (
            open_desk(venue, **settings) as desk,
            open_store("memory:") as store,
            open_manager(desk.exchange, store, PLAN) as manager,
            manager.subscribe() as events,
        ):
            for position in wave:
                await desk.server.enter(position)
            report = await manager.protect_wave(wave, deadline=10)
            assert [type(outcome) for outcome in report.outcomes] == [Protected, Protected]

            await desk.server.move_price(BTC, Decimal(1050), "mark")
            await desk.server.move_price(ETH, Decimal(1010), "mark")
            wanted = {BTC: Decimal("1039.5"), ETH: Decimal("999.9")}
            await until(lambda: {symbol: price for symbol, (_, price) in on_the_venue(desk).items()} == wanted)
            await until(lambda: {stop.price for stop in manager.stops().values()} == set(wanted.values()))
            known = {symbol: (stop.client_order_id, stop.price) for (symbol, _), stop in manager.stops().items()}
            assert known == on_the_venue(desk)

            for symbol in (BTC, ETH):
                await desk.server.move_price(symbol, Decimal(990), "last")
                await desk.server.move_price(symbol, Decimal(990), "mark")
            with trio.fail_after(10):
                await manager.wait_closed()
            assert (manager.stops(), manager.unprotected(), on_the_venue(desk)) == ({}, {}, {})
            filled: dict[str | None, Decimal] = {}
            closed = []
            with trio.move_on_after(0.1):
                async for event in events:
                    if isinstance(event, StopFilled):
                        filled[event.symbol] = filled.get(event.symbol, Decimal(0)) + event.quantity
                    elif isinstance(event, PositionClosed):
                        closed.append((event.symbol, event.profit))
            assert filled == {BTC: Decimal("0.8"), ETH: Decimal("0.8")}
            assert sorted(closed) == [(BTC, Decimal("-8")), (ETH, Decimal("-8"))]


async def test_stops_trail_and_their_fills_are_noticed_on_a_venue_without_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.connecting.STREAM_PROTOCOLS", {})
    monkeypatch.setattr("trailing.exchanges.ccxt.polling.POLL_SECONDS", 0.1)
    monkeypatch.setattr("trailing.exchanges.ccxt.polling.SPACING_SECONDS", 0.05)
    bybit = with_delays("bybit", orders_read_lag=0.1, positions_read_lag=0.1, request_validity=0.5)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {"bybit": bybit})
    plan = msgspec.structs.replace(PLAN, reconcile_every=0.5)
    with structlog.testing.capture_logs():
        async with (
            open_desk("bybit") as desk,
            open_store("memory:") as store,
            open_manager(desk.exchange, store, plan) as manager,
        ):
            position = Position(BTC, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC))
            await desk.server.enter(position)
            assert isinstance(await manager.protect(position, deadline=5), Protected)
            await desk.server.move_price(BTC, Decimal(1050), "mark")
            await until(lambda: [price for _, price in on_the_venue(desk).values()] == [Decimal("1039.5")])
            await desk.server.move_price(BTC, Decimal(990), "last")
            await desk.server.move_price(BTC, Decimal(990), "mark")
            with trio.fail_after(30):
                await manager.wait_closed()
            assert (manager.stops(), manager.unprotected(), on_the_venue(desk)) == ({}, {}, {})
            assert desk.server.sockets.opened == 0
