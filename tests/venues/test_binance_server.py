"""Features of the Binance server only: a list of conditional orders, listen keys, categories of streams, bans."""

from __future__ import annotations

from decimal import Decimal

import pytest
import trio
from ccxt import BadRequest, DDoSProtection, ExchangeError, OrderNotFound
from ccxt_client import BTC, ask, open_trader
from trio.testing import wait_all_tasks_blocked

BINANCE = "binanceusdm"


async def test_conditional_orders_are_in_a_separate_list() -> None:
    async with open_trader(BINANCE) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine")
        for method in (trader.client.cancel_order, trader.client.fetch_order):
            with pytest.raises(OrderNotFound):
                await ask(method, placed["id"], BTC)
        assert await ask(trader.client.fetch_open_orders, BTC) == []
        assert len(await trader.open_stops()) == 1


@pytest.mark.parametrize("named", [False, True])
async def test_a_triggered_stop_becomes_another_order(named: bool) -> None:
    async with open_trader(BINANCE, executions_named=named) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine")
        await trader.server.move_price(BTC, Decimal("980"), "last")
        found = await trader.find_stop("mine")
        actual = found["info"]["actualOrderId"]
        assert (found["status"], found["info"]["algoStatus"]) == ("closed", "FINISHED")
        assert actual not in {"", placed["id"]}
        executed = await ask(trader.client.fetch_order, actual, BTC)
        assert (executed["status"], executed["average"], executed["filled"]) == ("closed", 980, 0.8)
        assert (executed["clientOrderId"] == "mine") is not named
        trades = await ask(trader.client.fetch_my_trades, BTC, None, None, {"orderId": actual})
        assert [(trade["price"], trade["amount"]) for trade in trades] == [(980, 0.8)]


@pytest.mark.parametrize("fills_first", [False, True])
async def test_a_trigger_is_pushed_before_or_after_the_fills(fills_first: bool) -> None:
    async with open_trader(BINANCE, fills_first=fills_first) as trader:
        await trader.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, trader.client.watch_orders)
            await wait_all_tasks_blocked(0.1)
            await trader.place_stop("mine")
            await trader.server.move_price(BTC, Decimal("980"), "last")
            await wait_all_tasks_blocked(0.1)
            nursery.cancel_scope.cancel()
        told = [message["o"]["X"] for message in trader.client.pushed if "o" in message]
        first, after = ["NEW", "TRIGGERING", "NEW", "TRIGGERED", "FILLED"], ["NEW", "NEW", "FILLED", "TRIGGERED"]
        assert told == [*(after if fills_first else first), "FINISHED"]


async def test_the_endpoint_of_plain_orders_accepts_no_conditional_order() -> None:
    async with open_trader(BINANCE) as trader:
        await trader.enter()
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "0.8"}
        with pytest.raises(ExchangeError, match="-4120"):
            await ask(trader.client.fapiPrivatePostOrder, order)


async def test_an_order_is_acknowledged_before_it_is_matched_unless_the_result_is_requested() -> None:
    async with open_trader(BINANCE) as trader:
        await trader.enter()
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.4", "reduceOnly": "true"}
        answer = await ask(trader.client.fapiPrivatePostOrder, order)
        assert (answer["status"], answer["executedQty"]) == ("NEW", "0")
        answer = await ask(trader.client.fapiPrivatePostOrder, {**order, "newOrderRespType": "RESULT"})
        assert (answer["status"], answer["executedQty"], answer["avgPrice"]) == ("FILLED", "0.4", "1000")


async def test_a_client_that_continues_beyond_the_limit_is_banned() -> None:
    async with open_trader(BINANCE, weight_limit=80) as trader:
        trader.server.clock.stopped_at = 1_800_000_309_000  # the ban ends 120 s later, and its text contains 429 too
        with pytest.raises(DDoSProtection, match=r"^binanceusdm 429 "):
            for _ in range(90):
                await ask(trader.client.fetch_time)
        with pytest.raises(DDoSProtection, match=r"^binanceusdm 418 ") as caught:
            for _ in range(90):
                try:
                    await ask(trader.client.fetch_time)
                except DDoSProtection as error:
                    if not str(error).startswith("binanceusdm 429 "):
                        raise
        assert "banned until" in str(caught.value)
        assert int(trader.client.last_response_headers["Retry-After"]) == 121


async def test_a_list_of_the_whole_account_weighs_40() -> None:
    async with open_trader(BINANCE) as trader:
        used: list[int] = []
        for params in ({"symbol": "BTCUSDT"}, {}):
            await ask(trader.client.fapiPrivateGetOpenAlgoOrders, params)
            used.append(int(trader.client.last_response_headers["X-MBX-USED-WEIGHT-1M"]))
        assert used[1] - used[0] in {40, 40 - used[0]}  # or a new minute has begun


async def test_a_stream_is_only_served_in_its_category() -> None:
    async with open_trader(BINANCE) as trader:
        for category, topic in (("public", "btcusdt@markPrice@1s"), ("market", "btcusdt@trade")):
            url = f"ws://{trader.server.host}/{category}/ws/0"
            request = {"method": "SUBSCRIBE", "params": [topic], "id": 7}
            with pytest.raises(ExchangeError, match="invalid stream"):
                await ask(trader.client.watch, url, topic, request, topic, {"id": 7})


async def test_an_expired_listen_key_gives_no_connection_and_no_updates() -> None:
    async with open_trader(BINANCE) as trader:
        await trader.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, trader.client.watch_orders)
            await wait_all_tasks_blocked(0.1)
            key = trader.client.options["linear"]["listenKey"]
            trader.server.expire_listen_key()  # type: ignore[attr-defined]
            await trader.place_stop("mine")
            await wait_all_tasks_blocked(0.1)
            nursery.cancel_scope.cancel()
        assert [message["e"] for message in trader.client.pushed] == ["listenKeyExpired"]
        assert (await ask(trader.client.fapiPrivatePostListenKey))["listenKey"] != key


async def test_an_unknown_endpoint_is_an_error() -> None:
    async with open_trader(BINANCE) as trader:
        with pytest.raises(ExchangeError, match="-5000"):
            await ask(trader.client.fapiPrivateGetIncome)
        with pytest.raises(BadRequest, match="-1121"):
            await ask(trader.client.fapiPublicGetPremiumIndex, {"symbol": "XYZ"})
