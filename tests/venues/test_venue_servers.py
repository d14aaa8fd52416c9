"""All servers with the real ccxt client: markets, orders, prices, pushes and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import trio
from ccxt import (
    AuthenticationError,
    BadRequest,
    ExchangeError,
    InvalidNonce,
    InvalidOrder,
    OperationRejected,
    OrderImmediatelyFillable,
    OrderNotFound,
)
from ccxt_client import BTC, ETH, VENUES, Trader, ask, open_trader
from real_exchange import open_server
from trio.testing import wait_all_tasks_blocked
from venue_candles import MINUTE
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request

pytestmark = pytest.mark.parametrize("venue", VENUES)

PATHS = {"binanceusdm": "/public/stream", "bybit": "/v5/public/linear", "okx": "/ws/v5/public"}

REFUSED: dict[str, dict[str, tuple[type[Exception], str]]] = {
    "would trigger": {
        "binanceusdm": (OrderImmediatelyFillable, "-2021"),
        "bybit": (InvalidOrder, "110093"),
        "okx": (InvalidOrder, "51280"),
    },
    "increases": {
        "binanceusdm": (InvalidOrder, "-2022"),
        "bybit": (InvalidOrder, "110017"),
        "okx": (ExchangeError, "51170"),
    },
    "nothing to reduce": {
        "binanceusdm": (InvalidOrder, "-2022"),
        "bybit": (InvalidOrder, "110017"),
        "okx": (ExchangeError, "51169"),
    },
    "duplicate": {
        "binanceusdm": (InvalidOrder, "-4116"),
        "bybit": (InvalidOrder, "110072"),
        "okx": (ExchangeError, "51065"),
    },
    "too many": {
        "binanceusdm": (OperationRejected, "-4045"),
        "bybit": (InvalidOrder, "110009"),
        "okx": (ExchangeError, "51261"),
    },
    "notional": {"binanceusdm": (ExchangeError, "-4164"), "bybit": (InvalidOrder, "110094")},
    "foreign parameter": {
        "binanceusdm": (BadRequest, "-1104"),
        "bybit": (BadRequest, "10001"),
        "okx": (BadRequest, "51000"),
    },
    "position side": {
        "binanceusdm": (ExchangeError, "-4061"),
        "bybit": (BadRequest, "10001"),
        "okx": (BadRequest, "51000"),
    },
    "no reduce-only": {"binanceusdm": (BadRequest, "-1106"), "bybit": (BadRequest, ""), "okx": (BadRequest, "51000")},
    "gone": {
        "binanceusdm": (OrderNotFound, "-2011"),
        "bybit": (OrderNotFound, "110001"),
        "okx": (OrderNotFound, "51400"),
    },
    "signature": {
        "binanceusdm": (AuthenticationError, "-1022"),
        "bybit": (AuthenticationError, "10004"),
        "okx": (AuthenticationError, "50113"),
    },
    "key": {
        "binanceusdm": (AuthenticationError, "-2015"),
        "bybit": (AuthenticationError, "10003"),
        "okx": (AuthenticationError, "50111"),
    },
    "clock": {"binanceusdm": (InvalidNonce, "-1021"), "bybit": (InvalidNonce, "10002"), "okx": (InvalidNonce, "50102")},
}


def refused(venue: str, why: str) -> Any:
    error, code = REFUSED[why][venue]
    return pytest.raises(error, match=code)


@asynccontextmanager
async def watching(trader: Trader, *topics: Any) -> AsyncIterator[list[Any]]:
    """Subscribe, and collect the pushed frames."""
    async with trio.open_nursery() as nursery:

        async def watch(method: Any, *args: Any) -> None:
            while True:
                await ask(method, *args)

        for topic in topics:
            nursery.start_soon(watch, *topic)
        await until(lambda: trader.server.sockets.open)
        await wait_all_tasks_blocked(0.1)  # both ends are in this process, so nothing is in flight any more
        yield trader.client.pushed
        nursery.cancel_scope.cancel()


async def until(holds: Any) -> None:
    with trio.fail_after(5):
        while not holds():
            await trio.sleep(0.01)


async def test_markets_are_loaded_with_their_rules(venue: str) -> None:
    async with open_trader(venue) as trader:
        market = trader.client.market(BTC)
        assert set(trader.client.markets) == {BTC, ETH}
        assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.01 if venue == "okx" else 0.001)
        assert market["limits"]["cost"]["min"] == (None if venue == "okx" else 100)
        assert market["contractSize"] == (0.01 if venue == "okx" else 1)


async def test_a_stop_is_placed_listed_found_and_cancelled(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine")
        listed = await trader.open_stops()
        price = "stopLossPrice" if venue == "okx" else "triggerPrice"
        shown = [(order["id"], order["clientOrderId"], order[price], order["amount"]) for order in listed]
        assert shown == [(placed["id"], "mine", 980, float(trader.contracts("0.8")))]
        assert (await trader.find_stop("mine"))["status"] == "open"
        await trader.cancel_stop(placed["id"])
        assert await trader.open_stops() == []
        assert (await trader.find_stop("mine"))["status"] == "canceled"
        with refused(venue, "gone"):
            await trader.cancel_stop(placed["id"])
        assert [seen.booked for seen in trader.server.seen("cancel_stop")] == [True, False]


async def test_a_triggered_stop_is_filled_at_the_last_price_and_pushed(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        await trader.place_stop("mine", source="mark")
        client = trader.client
        async with watching(trader, *account_of(client)) as pushed:
            await trader.server.move_price(BTC, Decimal("979"), "last")
            assert len(await trader.open_stops()) == 1
            await trader.server.move_price(BTC, Decimal("981"), "last")
            await trader.server.move_price(BTC, Decimal("980"), "mark")
            await until(lambda: {"FILLED", "Filled", "filled"} & set(order_statuses(pushed)))
        assert await trader.open_stops() == []
        assert await trader.positions() == []
        assert (await trader.find_stop("mine"))["average"] in {981, None}
        (fill,) = trader.server.market.fills
        assert (fill.price, fill.quantity) == (Decimal("981"), Decimal("0.8"))


def order_statuses(pushed: list[Any]) -> list[str]:
    statuses = []
    for message in pushed:
        if message.get("e") in {"ORDER_TRADE_UPDATE", "ALGO_UPDATE"}:
            statuses.append(message["o"]["X"])
        if message.get("topic") == "order":
            statuses += [order["orderStatus"] for order in message["data"]]
        if message.get("arg", {}).get("channel") == "orders" and "data" in message:
            statuses += [order["state"] for order in message["data"]]
    return statuses


def algo_states(pushed: list[Any]) -> list[str]:
    """Return the states of OKX's algo orders, which have a connection of their own."""
    frames = [message for message in pushed if message.get("arg", {}).get("channel") == "orders-algo"]
    return [order["state"] for message in frames for order in message.get("data", ())]


def account_of(client: Any) -> list[Any]:
    """Return the subscriptions of an account's orders and positions."""
    algo_orders = [(client.watch_orders, None, None, None, {"trigger": True})] if client.id == "okx" else []
    return [(client.watch_orders,), (client.watch_positions,), *algo_orders]


async def test_every_step_of_a_stop_is_pushed(venue: str) -> None:
    async with open_trader(venue, parts=2, positions_first=True) as trader:
        await trader.enter()
        client = trader.client
        async with watching(trader, *account_of(client)) as pushed:
            await trader.cancel_stop((await trader.place_stop("first"))["id"])
            await trader.place_stop("second")
            await trader.server.move_price(BTC, Decimal("979"), "last")
            await until(lambda: len(order_statuses(pushed)) >= {"binanceusdm": 9, "bybit": 7, "okx": 3}[venue])
            await until(lambda: venue != "okx" or len(algo_states(pushed)) >= 4)
        # On Binance the frames of the market order come between those of the algo order.
        algo = ["NEW", "CANCELED", "NEW", "TRIGGERING", "NEW", "TRIGGERED", "PARTIALLY_FILLED", "FILLED", "FINISHED"]
        plain = ["Untriggered", "Deactivated", "Untriggered", "Triggered", "Triggered", "PartiallyFilled", "Filled"]
        okx = ["live", "partially_filled", "filled"]
        assert order_statuses(pushed) == {"binanceusdm": algo, "bybit": plain, "okx": okx}[venue]
        assert algo_states(pushed) == (["live", "canceled", "live", "effective"] if venue == "okx" else [])


async def test_a_close_closes_at_most_the_open_quantity(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        await trader.close("part", "0.3")
        assert await trader.positions() == [(BTC, "long", Decimal("0.5"))]
        await trader.close("rest", "0.8")
        assert await trader.positions() == []
        with refused(venue, "nothing to reduce"):
            await trader.close("again")
        assert [fill.quantity for fill in trader.server.market.fills] == [Decimal("0.3"), Decimal("0.5")]


async def test_without_reduce_only_a_market_order_crosses_zero(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        await ask(trader.client.create_order, BTC, "market", "sell", trader.contracts("1.0"), None, {})
        assert await trader.positions() == [(BTC, "short", Decimal("0.2"))]


async def test_prices_and_candles_belong_to_their_source(venue: str) -> None:
    async with open_trader(venue) as trader:
        prices = {"last": Decimal(1001), "mark": Decimal(1002), "index": Decimal(1003)}
        market, now = trader.server.market, trader.server.clock.now()
        for source, price in prices.items():
            market.candles.add(BTC, source, price - 100, now - 2 * MINUTE)  # type: ignore[arg-type]
            await trader.server.move_price(BTC, price, source)  # type: ignore[arg-type]
        ticker = await ask(trader.client.fetch_ticker, BTC)
        assert ticker["last"] == 1001
        if venue != "bybit":
            ticker = await ask(trader.client.fetch_mark_price, BTC, {"instType": "SWAP"} if venue == "okx" else {})
        if venue == "okx":
            (index,) = (await ask(trader.client.publicGetMarketIndexTickers, {"instId": "BTC-USDT"}))["data"]
            ticker["indexPrice"] = float(index["idxPx"])
        assert (ticker["markPrice"], ticker["indexPrice"]) == (1002, 1003)
        for source, price in prices.items():
            params = {} if source == "last" else {"price": source}
            bars = await ask(trader.client.fetch_ohlcv, BTC, "1m", now - 10 * MINUTE, 10, params)
            opened, quiet, present = (bar[:5] for bar in bars)
            assert opened[1:] == [float(price - 100)] * 4
            assert quiet[1:] == opened[1:]
            assert present == [opened[0] + 2 * MINUTE, *[float(price)] * 4]


async def test_trades_and_mark_prices_are_pushed_to_subscribers(venue: str) -> None:
    async with open_trader(venue) as trader:
        client = trader.client
        await trader.enter()
        mark = client.watch_tickers if venue == "bybit" else client.watch_mark_prices
        async with watching(trader, (client.watch_trades_for_symbols, [BTC]), (mark, [BTC])):
            await trader.server.move_price(ETH, Decimal("50"), "last")
            await trader.server.move_price(BTC, Decimal("1001"), "last")
            await trader.server.move_price(BTC, Decimal("1002"), "mark")
            await until(lambda: client.tickers.get(BTC, {}).get("markPrice") == 1002)
            assert [trade["price"] for trade in client.trades[BTC]] == [1001]
            assert ETH not in client.trades


async def test_invalid_stops_are_refused_with_the_venue_s_code(venue: str) -> None:
    async with open_trader(venue, most_stops=2) as trader:
        await trader.server.move_price(BTC, Decimal("1000"), "last")
        with refused(venue, "nothing to reduce"):
            await trader.place_stop("flat")
        await trader.enter()
        with refused(venue, "increases"):
            await trader.place_stop("increases", "1020", side="buy")
        with refused(venue, "would trigger"):
            await trader.place_stop("crossed", "1000")
        with refused(venue, "foreign parameter"):
            await trader.place_stop("leaky", unheard="of")
        with refused(venue, "position side"):
            await trader.place_stop("hedged", hedged=True)
        if venue != "okx":  # it has no minimum notional
            with refused(venue, "notional"):
                await ask(trader.client.create_order, BTC, "market", "buy", "0.099", None, {})
        await trader.place_stop("one")
        with refused(venue, "duplicate"):
            await trader.place_stop("one", "970")
        await trader.place_stop("two")
        with refused(venue, "too many"):
            await trader.place_stop("three")
        assert [order["clientOrderId"] for order in await trader.open_stops()] in [["one", "two"], ["two", "one"]]
        assert sum(seen.booked for seen in trader.server.requests) == 2


async def test_both_sides_may_be_open_in_hedge_mode_and_a_stop_closes_its_own(venue: str) -> None:
    async with open_trader(venue, hedged=True) as trader:
        await trader.enter("long")
        await trader.enter("short")
        held = [(BTC, "long", Decimal("0.8")), (BTC, "short", Decimal("0.8"))]
        assert await trader.positions() == held
        with refused(venue, "no reduce-only" if venue == "binanceusdm" else "position side"):
            await trader.place_stop("sideless")
        await trader.place_stop("mine", hedged=True)
        await trader.server.move_price(BTC, Decimal("980"), "last")
        assert await trader.positions() == held[1:]


async def test_a_wrong_signature_or_a_late_timestamp_is_refused(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        secret, key = trader.client.secret, trader.client.apiKey
        trader.client.secret = "another"
        with refused(venue, "signature"):
            await trader.place_stop("mine")
        trader.client.secret, trader.client.apiKey = secret, "another"
        with refused(venue, "key"):
            await trader.place_stop("mine")
        trader.client.apiKey, trader.server.clock.skew = key, -40.0 if venue == "okx" else -5.0
        with refused(venue, "clock"):
            await trader.place_stop("mine")
        trader.server.clock.skew = 40.0 if venue == "okx" else 20.0
        with refused(venue, "clock"):
            await trader.place_stop("mine")
        assert not any(seen.booked for seen in trader.server.requests)


async def test_a_close_frame_right_after_a_ping_is_answered_in_order(venue: str) -> None:
    async with open_server(venue) as server:
        host, _, port = server.host.partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            client = WSConnection(ConnectionType.CLIENT)
            await stream.send_all(client.send(Request(host=server.host, target=PATHS[venue])))
            client.receive_data(await stream.receive_some())
            assert [type(event) for event in client.events()] == [AcceptConnection]
            await stream.send_all(client.send(Ping()) + client.send(CloseConnection(code=1000)))
            with trio.fail_after(5):
                while data := await stream.receive_some():
                    client.receive_data(data)
            assert [type(event) for event in client.events()] == [Pong, CloseConnection]
