"""Each fill of a triggered stop is pushed once, in any order and under any ids of the venue's frames."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from real_exchange import BTC, VENUES, open_desk, stop_request

from trailing.exchanges.port import OrderUpdate, StreamState

WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "binance, as it was seen": ("binanceusdm", {}),
    "binance, the fills before the trigger": ("binanceusdm", {"fills_first": True}),
    "binance, the execution with an id of its own": ("binanceusdm", {"executions_named": True}),
    "binance, both": ("binanceusdm", {"fills_first": True, "executions_named": True}),
    "bybit": ("bybit", {}),
    "okx": ("okx", {}),
    "okx, the fills before the trigger": ("okx", {"fills_first": True}),
    "okx, triggered in parts": ("okx", {"in_parts": True}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_fill_of_a_triggered_stop_is_pushed_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.binance_protocol._HELD_SECONDS", 0.2)
    monkeypatch.setattr("trailing.exchanges.ccxt.websocket._OVERDUE_SECONDS", 0.1)
    venue, settings = WAYS[way]
    async with open_desk(venue, parts=3, **settings) as desk, desk.exchange.updates() as updates:
        await desk.enter()
        with trio.fail_after(5):
            async for update in updates:
                if isinstance(update, StreamState) and update.connected:
                    break
        own_id = (await desk.exchange.place_stop(stop_request())).client_order_id
        await desk.server.move_price(BTC, Decimal(979), "last")
        told, trades, sums = [], [], []
        with trio.move_on_after(1):  # longer than an update is held
            async for update in updates:
                if isinstance(update, OrderUpdate):
                    filled = None if update.fill is None else update.fill.quantity
                    trades += [] if update.fill is None else [update.fill.trade_id]
                    sums.append(update.filled)
                    told.append((update.client_order_id, update.status, filled))  # until the time is over
    part, rest = (Decimal("0.2666"), Decimal("0.2668")) if venue == "okx" else (Decimal("0.266"), Decimal("0.268"))
    expected = [("live", None), ("partial", part), ("partial", part), ("filled", rest)]
    triggered = (own_id, "triggered", None)
    first_fill = next(number for number, (_, status, _) in enumerate(told) if status == "partial")
    assert triggered not in told[first_fill:]
    # OKX pushes the order that a stop places also before its fills.
    assert (triggered in told) == (venue == "okx" or "fills_first" not in settings)
    assert [each for each in told if each != triggered] == [(own_id, status, filled) for status, filled in expected]
    # Bybit's executions do not tell the sum, because a stop larger than the position also has nothing left to fill.
    assert sums[first_fill:] == ([None] * 3 if venue == "bybit" else [part, 2 * part, 2 * part + rest])
    assert None not in trades
    assert len(set(trades)) == len(trades) == 3


@pytest.mark.parametrize("venue", VENUES)
async def test_a_triggered_unfilled_stop_is_pushed_and_listed_as_triggered(venue: str) -> None:
    if venue == "okx":
        pytest.skip("OKX ends a stop when it places its order")
    async with open_desk(venue) as desk, desk.exchange.updates() as updates:
        await desk.enter()
        placed = await desk.exchange.place_stop(stop_request())
        desk.server.market.fills_triggered = False
        with trio.fail_after(5):
            async for update in updates:
                if isinstance(update, StreamState) and update.connected:
                    break
            await desk.server.move_price(BTC, Decimal(979), "last")
            async for update in updates:
                if isinstance(update, OrderUpdate) and update.status == "triggered":
                    break
        assert isinstance(update, OrderUpdate)
        assert update.client_order_id == placed.client_order_id
        triggered = msgspec.structs.replace(placed, triggered=True)
        assert [*await desk.exchange.open_stops()] == [triggered]
        assert await desk.exchange.find_stop(BTC, placed.client_order_id) == triggered
        desk.server.market.fills_triggered = True
        await desk.server.move_price(BTC, Decimal(978), "last")
        assert [*await desk.exchange.open_stops()] == []
        assert await desk.exchange.find_stop(BTC, placed.client_order_id) is None
