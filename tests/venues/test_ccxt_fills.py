"""A triggered stop's fills are told once each, in whatever order and under whatever ids the venue tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import trio
from real_exchange import BTC, open_desk, stop_request

from trailing.exchanges.port import OrderUpdate, StreamState

WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "binance, as it was seen": ("binanceusdm", {}),
    "binance, the fills before the trigger": ("binanceusdm", {"fills_first": True}),
    "binance, the execution with an id of its own": ("binanceusdm", {"executions_named": True}),
    "binance, both": ("binanceusdm", {"fills_first": True, "executions_named": True}),
    "bybit": ("bybit", {}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_fill_of_a_triggered_stop_is_told_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.binance_dialect._HELD_SECONDS", 0.2)
    monkeypatch.setattr("trailing.exchanges.ccxt.line._OVERDUE_SECONDS", 0.1)
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
        with trio.move_on_after(1):  # longer than anything is kept back
            async for update in updates:
                if isinstance(update, OrderUpdate):
                    filled = None if update.fill is None else update.fill.quantity
                    trades += [] if update.fill is None else [update.fill.trade_id]
                    sums.append(update.filled)
                    told.append((update.client_order_id, update.status, filled))  # what came until the time was over
    part, rest = Decimal("0.266"), Decimal("0.268")
    expected = [("live", None), ("partial", part), ("partial", part), ("filled", rest)]
    assert told == [(own_id, status, filled) for status, filled in expected]
    assert sums[1:] == [part, 2 * part, 2 * part + rest]
    assert None not in trades
    assert len(set(trades)) == len(trades) == 3
