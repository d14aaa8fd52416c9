"""`open_orders` lists every kind of order, and each order that it lists can be cancelled."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal as D
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from captured import open_capture

from trailing.core.account import OpenOrder
from trailing.errors import ExchangeError, UsageError
from trailing.exchanges.ccxt.venues import VENUES

APART = [name for name, row in VENUES.items() if any(params.get("trigger") for params in row.lists.stops)]
"""The venues whose conditional orders are in a list of their own, as their rows say for `open_stops`."""


@pytest.mark.parametrize("venue", [name for name in APART if name != "bybit"])  # Bybit's plain list has them too
async def test_open_orders_reads_the_list_of_conditional_orders(venue: str) -> None:
    async with open_capture(venue, lambda _: [] if venue != "bitget" else {"data": {}}) as capture:
        with suppress(ExchangeError):
            await capture.exchange.open_stops()
        of_stops = {each.path for each in capture.sent}
        del capture.sent[:]
        with suppress(ExchangeError):
            await capture.exchange.open_orders(capture.symbol)
        assert of_stops
        assert of_stops <= {each.path for each in capture.sent}


PLANS = {"normal_plan": "1", "profit_loss": "2", "track_plan": "3"}
"""The kinds of conditional orders on Bitget, each with the id of one."""


async def test_an_order_of_each_kind_on_bitget_is_listed_and_cancelled_as_its_kind() -> None:
    def reply(url: str) -> Any:
        if "orders-plan-pending" not in url:
            return {"code": "00000", "data": {"entrustedList": [], "successList": [{"orderId": "1"}]}}
        (kind,) = parse_qs(urlsplit(url).query)["planType"]
        row = {"symbol": "BTCUSDT", "size": "1", "side": "sell", "planType": kind, "planStatus": "live", "cTime": "1"}
        listed = {**row, "orderId": PLANS[kind], "triggerPrice": "900", "orderType": "market", "reduceOnly": "YES"}
        return {"code": "00000", "data": {"entrustedList": [listed]}}

    async with open_capture("bitget", reply) as capture:
        orders = await capture.exchange.open_orders(capture.symbol)
        assert {order.order_id for order in orders} == set(PLANS.values())
        assert all(order.is_conditional for order in orders)
        del capture.sent[:]
        for order in orders:
            await capture.exchange.cancel_order(order)
        cancelled = {sent.params["planType"]: sent.params["orderIdList"] for sent in capture.sent}
    assert cancelled == {kind: [{"orderId": order_id}] for kind, order_id in PLANS.items()}


CLOID = "0x00000000000000000000000000001234"


async def test_a_foreign_order_with_a_client_order_id_is_cancelled_on_hyperliquid() -> None:
    order = OpenOrder(
        symbol="BTC/USDC:USDC",
        order_id="123",
        client_order_id=CLOID,
        kind="Limit",
        order_side="sell",
        side="long",
        quantity=D(1),
        price=D(100),
        trigger_price=None,
        is_conditional=False,
    )
    accepted = {"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success"]}}}
    async with open_capture("hyperliquid", lambda _: accepted) as capture:
        await capture.exchange.cancel_order(order)
        (sent,) = capture.sent
        assert sent.params["action"] == {"type": "cancel", "cancels": [{"a": 0, "o": 123}]}
        with pytest.raises(UsageError, match="can't represent the client order id 'mine'"):
            await capture.exchange.find_stop(capture.symbol, "mine")
