"""The reads for messages and profits: what each venue is asked, and what becomes of replies that can't be parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import trio
from captured import MARKETS, Capture, open_capture

from trailing import ExchangeUnreachable, PartialList, TrailingError, UsageError
from trailing.exchanges.ccxt.venues import VENUES

ID = "tr0123456789abcdef0123"
D = Decimal
BTC = "BTC/USDT:USDT"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW.astimezone(tz)

    monkeypatch.setattr("trailing.exchanges.ccxt.order_reads.datetime", Stopped)


def paths(capture: Capture) -> list[str]:
    return [f"{sent.method} {sent.path}" for sent in capture.sent]


LISTS: Mapping[str, list[str]] = {
    "binanceusdm": ["GET /fapi/v1/openOrders", "GET /fapi/v1/openAlgoOrders"],
    "bybit": ["GET /v5/order/realtime"],
    "okx": ["GET /api/v5/trade/orders-pending", *["GET /api/v5/trade/orders-algo-pending"] * 3],
    "bitget": ["GET /api/v2/mix/order/orders-pending", *["GET /api/v2/mix/order/orders-plan-pending"] * 3],
    "gate": ["GET /api/v4/futures/usdt/orders", "GET /api/v4/futures/usdt/price_orders"],
    "kucoinfutures": ["GET /api/v1/orders", "GET /api/v1/stopOrders"],
    "krakenfutures": ["GET /derivatives/api/v3/openorders"],
    "hyperliquid": ["POST /info"],
    "deribit": ["GET /api/v2/private/get_open_orders_by_instrument"],
    "bingx": ["GET /openApi/swap/v2/trade/openOrders"],
    "woo": ["GET /v3/trade/orders", "GET /v3/trade/algoOrders"],
}


@pytest.mark.parametrize("venue", VENUES)
async def test_the_plain_and_the_conditional_orders_of_the_symbol_are_asked_for(venue: str) -> None:
    async with open_capture(venue, lambda _: []) as capture:
        with suppress(TrailingError):
            await capture.exchange.open_orders(MARKETS[venue][1])
        asked = paths(capture)
    assert asked == LISTS[venue][: len(asked)]
    if VENUES[venue].verified:
        assert asked == LISTS[venue]
        field, market = ("instId", "BTC-USDT-SWAP") if venue == "okx" else ("symbol", "BTCUSDT")
        assert all(sent.params[field] == market for sent in capture.sent)


@pytest.mark.parametrize("venue", [name for name, row in VENUES.items() if not row.verified])
async def test_executions_are_refused_where_no_row_says_how_to_read_them(venue: str) -> None:
    async with open_capture(venue) as capture:
        with pytest.raises(UsageError, match=f"{venue}: it is not known how to read the executions"):
            await capture.exchange.order_fills(MARKETS[venue][1], ID, NOW)
        assert capture.sent == []


async def test_an_unknown_symbol_and_a_time_without_a_zone_are_refused() -> None:
    async with open_capture("bybit") as capture:
        with pytest.raises(UsageError, match="DOGE"):
            await capture.exchange.open_orders("DOGE/USDT:USDT")
        with pytest.raises(UsageError, match="DOGE"):
            await capture.exchange.order_fills("DOGE/USDT:USDT", ID, NOW)
        with pytest.raises(UsageError, match="since got"):
            await capture.exchange.order_fills(BTC, ID, datetime(2026, 1, 1))
        assert capture.sent == []


PLAIN: dict[str, Any] = {
    "orderId": 7,
    "clientOrderId": 1578938,  # a number, as some venues send it
    "symbol": "BTCUSDT",
    "status": "NEW",
    "price": "51000",
    "origQty": "0.030",
    "executedQty": "0.010",
    "type": "LIMIT",
    "side": "SELL",
    "positionSide": "BOTH",
    "stopPrice": "0",
    "reduceOnly": True,
    "closePosition": False,
    "time": 1,
}
ALGO: dict[str, Any] = {
    "algoId": 11,
    "clientAlgoId": "bot",
    "orderType": "TAKE_PROFIT_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "positionSide": "BOTH",
    "quantity": "0",
    "algoStatus": "NEW",
    "triggerPrice": "52000.5",
    "workingType": "MARK_PRICE",
    "reduceOnly": False,
    "closePosition": True,
    "createTime": 1,
}


def lists(plain: list[Any], algo: list[Any]) -> Callable[[str], object]:
    return lambda url: plain if urlsplit(url).path.endswith("/openOrders") else algo


async def test_open_orders_on_binance_are_shown_as_what_they_are() -> None:
    hedged = {**ALGO, "algoId": 12, "positionSide": "LONG", "closePosition": False, "quantity": "0.020"}
    opens = {**PLAIN, "orderId": 8, "reduceOnly": False, "side": "BUY", "clientOrderId": ""}
    async with open_capture("binanceusdm", lists([PLAIN, opens], [ALGO, hedged, hedged])) as capture:
        found = {order.order_id: order for order in await capture.exchange.open_orders(BTC)}
    assert set(found) == {"7", "8", "11", "12"}
    limit, entry, whole, leg = (found[name] for name in ("7", "8", "11", "12"))
    assert (limit.kind, limit.side, limit.quantity, limit.price) == ("LIMIT", "long", D("0.02"), D(51000))
    assert (limit.client_order_id, limit.trigger_price) == ("1578938", None)
    assert (entry.order_side, entry.side, entry.client_order_id) == ("buy", None, "")
    assert (whole.kind, whole.side, whole.quantity) == ("TAKE_PROFIT_MARKET", "long", D(0))
    assert (whole.trigger_price, whole.price) == (D("52000.5"), None)
    assert (leg.side, leg.quantity) == ("long", D("0.02"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"origQty": "1e400"}, "origQty got '1e400'"),
        ({"origQty": "nonsense"}, "order"),
        ({"price": "9" * 40}, "number got"),
        ({"side": None}, "side got"),
        ({"side": "\x1b[31m"}, "side got"),
        ({"orderId": None}, "id is missing"),
    ],
)
async def test_an_entry_that_can_not_be_parsed_makes_the_list_partial(changes: dict[str, Any], says: str) -> None:
    async with open_capture("binanceusdm", lists([{**PLAIN, **changes}, {**PLAIN, "orderId": 9}], [])) as capture:
        found = await capture.exchange.open_orders(BTC)
    assert isinstance(found, PartialList)
    assert [order.order_id for order in found] == ["9"]
    (left_out,) = found.left_out
    assert says in left_out
    assert left_out.isprintable()


async def test_words_of_the_venue_are_escaped_and_bounded() -> None:
    evil = {**PLAIN, "type": "\x1b[31m" + "X" * 300, "clientOrderId": "\n" + "y" * 300}
    async with open_capture("binanceusdm", lists([evil], [])) as capture:
        (order,) = await capture.exchange.open_orders(BTC)
    assert order.kind.startswith(r"\x1b[31mX")
    assert len(order.kind) == 60
    assert order.client_order_id.isprintable()
    assert len(order.client_order_id) == 200


TRADE: dict[str, Any] = {
    "id": 698759,
    "orderId": 991,
    "symbol": "BTCUSDT",
    "side": "SELL",
    "positionSide": "BOTH",
    "price": "49000.1",
    "qty": "0.010",
    "quoteQty": "490.001",
    "realizedPnl": "-1",
    "commission": "0",
    "commissionAsset": "USDT",
    "buyer": False,
    "maker": False,
    "time": milliseconds(NOW - timedelta(seconds=30)),
}
NO_SUCH = {"code": -2013, "msg": "Order does not exist."}


def executions(trades: list[Any], **looked_up: Any) -> Callable[[str], object]:
    """Return the replies of Binance: of the algo order, of the plain order, and of the trades."""

    def reply(url: str) -> object:
        path = urlsplit(url).path
        if path.endswith("/userTrades"):
            return trades
        return looked_up["algo" if path.endswith("/algoOrder") else "plain"]

    return reply


async def test_the_executions_of_a_triggered_stop_are_those_of_its_market_order() -> None:
    other = {**TRADE, "id": 1, "orderId": 992}
    second = {**TRADE, "id": 698760, "price": "49000", "time": TRADE["time"] + 1}
    replies = executions([second, other, TRADE, TRADE], algo={**ALGO, "algoStatus": "FINISHED", "actualOrderId": "991"})
    async with open_capture("binanceusdm", replies) as capture:
        fills = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=2))
    assert [(fill.trade_id, fill.quantity, fill.price) for fill in fills] == [
        ("698759", D("0.01"), D("49000.1")),
        ("698760", D("0.01"), D(49000)),
    ]
    assert {(fill.side, fill.client_order_id, fill.order_id) for fill in fills} == {("long", ID, "991")}
    assert paths(capture) == ["GET /fapi/v1/algoOrder", "GET /fapi/v1/userTrades"]
    assert capture.sent[0].params["clientAlgoId"] == ID
    assert capture.sent[1].params["orderId"] == "991"


async def test_the_time_of_an_execution_is_of_the_running_clock(autojump_clock: trio.testing.MockClock) -> None:
    replies = executions(
        [{**TRADE, "time": milliseconds(NOW + timedelta(seconds=5))}], algo={**ALGO, "actualOrderId": "991"}
    )
    async with open_capture("binanceusdm", replies) as capture:
        (ahead,) = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=2))
        assert ahead.at == trio.current_time()  # a clock that is ahead makes no time of the future


async def test_a_stop_that_did_not_trigger_has_no_executions_and_none_are_asked_for() -> None:
    async with open_capture("binanceusdm", executions([], algo={**ALGO, "actualOrderId": ""})) as capture:
        assert await capture.exchange.order_fills(BTC, ID, NOW) == []
    assert paths(capture) == ["GET /fapi/v1/algoOrder"]


@pytest.mark.parametrize(
    ("days", "windows"),
    [(0, 0), (2, 1), (7, 1), (8, 2), (20, 3), (400, 26)],
    ids=["now", "a window", "its length", "two", "three", "as far back as they are kept"],
)
async def test_executions_are_asked_for_in_windows_that_the_venue_takes(days: int, windows: int) -> None:
    since = NOW - timedelta(days=days)
    async with open_capture("binanceusdm", executions([], algo={**ALGO, "actualOrderId": "991"})) as capture:
        await capture.exchange.order_fills(BTC, ID, since)
    asked = [sent.params for sent in capture.sent if sent.path.endswith("/userTrades")]
    bounds = [(int(params["startTime"]), int(params["endTime"])) for params in asked]
    assert len(bounds) == windows
    assert all(end - start <= 7 * 24 * 3600 * 1000 for start, end in bounds)
    if bounds:
        assert bounds[0][0] == milliseconds(max(since, NOW - timedelta(days=180)))
        assert bounds[-1][1] == milliseconds(NOW)
        assert all(before[1] == after[0] for before, after in pairwise(bounds))


@pytest.mark.parametrize(
    "changes", [{"qty": "0"}, {"price": "0"}, {"qty": "1e400"}, {"price": None}, {"time": None}, {"side": 1}]
)
async def test_an_execution_that_can_not_be_parsed_makes_the_sum_unknown(changes: dict[str, Any]) -> None:
    replies = executions([TRADE, {**TRADE, "id": 2, **changes}], algo={**ALGO, "actualOrderId": "991"})
    async with open_capture("binanceusdm", replies) as capture:
        with pytest.raises(TrailingError) as caught:
            await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
    assert not isinstance(caught.value, UsageError)


async def test_bybit_is_asked_by_our_own_id_and_other_orders_are_left_out() -> None:
    row = {
        "symbol": "BTCUSDT",
        "orderLinkId": ID,
        "orderId": "abc",
        "side": "Buy",
        "execId": "e-1",
        "execPrice": "51000",
        "execQty": "0.03",
        "execType": "Trade",
        "execTime": str(milliseconds(NOW - timedelta(hours=1))),
    }
    rows = [row, {**row, "execId": "e-2", "orderLinkId": "other"}]

    def reply(url: str) -> object:
        cursor = parse_qs(urlsplit(url).query).get("cursor")
        return {"retCode": 0, "result": {"category": "linear", "list": [] if cursor else rows, "nextPageCursor": ""}}

    async with open_capture("bybit", reply) as capture:
        (fill,) = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
    assert (fill.trade_id, fill.side, fill.quantity, fill.price) == ("e-1", "short", D("0.03"), D(51000))
    (sent,) = capture.sent
    assert (sent.path, sent.params["orderLinkId"]) == ("/v5/execution/list", ID)


@pytest.mark.parametrize(
    ("number", "says"), [("number", "may be incomplete"), (7, "leads to itself")], ids=["without numbers", "the same"]
)
async def test_a_full_page_that_leads_to_no_other_one_may_be_incomplete(number: object, says: str) -> None:
    replies = executions([{**TRADE, "id": number}] * 1000, algo={**ALGO, "actualOrderId": "991"})
    async with open_capture("binanceusdm", replies) as capture:
        with pytest.raises(ExchangeUnreachable, match=says):
            await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))


async def test_the_executions_of_an_order_on_binance_are_read_page_by_page() -> None:
    def reply(url: str) -> object:
        if "/algoOrder" in url:
            return {**ALGO, "algoStatus": "FINISHED", "actualOrderId": "991"}
        params = dict(parse_qsl(urlsplit(url).query))
        assert "fromId" not in params or not params.keys() & {"startTime", "endTime"}  # Binance refuses both together
        first = int(params.get("fromId", 0))
        return [{**TRADE, "id": number, "qty": "0.001"} for number in range(2500) if number >= first][:1000]

    async with open_capture("binanceusdm", reply) as capture:
        fills = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
    assert sum(fill.quantity for fill in fills) == D("2.5")
    asked = [sent.params for sent in capture.sent if sent.path.endswith("/userTrades")]
    assert [params.get("fromId") for params in asked] == [None, "1000", "2000"]
    assert {params["orderId"] for params in asked} == {"991"}


OKX_STOP: dict[str, Any] = {
    "algoId": "7",
    "ordId": "77",
    "ordIdList": ["77"],
    "instId": "BTC-USDT-SWAP",
    "algoClOrdId": ID,
    "state": "effective",
    "ordType": "conditional",
    "side": "sell",
    "sz": "250",
    "slTriggerPx": "1000",
    "slOrdPx": "-1",
    "cTime": "1",
}


def okx_executions(orders: Mapping[str, int], **changes: Any) -> Callable[[str], object]:
    """Return the replies of OKX: of the stop, and of the executions of its orders, one contract of 0.01 each."""
    bills = [(order_id, number) for order_id, count in orders.items() for number in range(count)]
    at = str(milliseconds(NOW - timedelta(seconds=30)))
    shown = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "fillPx": "1000.1", "fillSz": "1", "side": "sell", "ts": at}
    rows = [
        {**shown, "ordId": order_id, "tradeId": f"{order_id}{bill}", "billId": str(bill)}
        for bill, (order_id, _) in enumerate(bills, 10_000)
    ][::-1]

    def reply(url: str) -> object:
        if "/fills-history" not in url:
            return {"code": "0", "data": [{**OKX_STOP, **changes}]}
        params = dict(parse_qsl(urlsplit(url).query))
        before = int(params.get("after", 10**9))
        found = [row for row in rows if row["ordId"] == params["ordId"] and int(row["billId"]) < before]
        return {"code": "0", "data": found[:100]}

    return reply


async def test_the_executions_of_an_order_on_okx_are_read_page_by_page() -> None:
    async with open_capture("okx", okx_executions({"77": 250})) as capture:
        fills = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
    assert sum(fill.quantity for fill in fills) == D("2.5")
    assert len({fill.trade_id for fill in fills}) == 250


@pytest.mark.parametrize("listed", [["77", "78"], ["78"]])
async def test_the_executions_of_a_stop_that_okx_has_split_are_those_of_all_its_orders(listed: list[str]) -> None:
    async with open_capture("okx", okx_executions({"77": 75, "78": 75, "79": 5}, ordIdList=listed)) as capture:
        fills = await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
    assert sum(fill.quantity for fill in fills) == D("1.5")


@pytest.mark.parametrize("listed", ["77,78", {"77": 1}, [["77"]]])
async def test_orders_of_a_stop_that_can_not_be_parsed_make_the_sum_unknown(listed: object) -> None:
    async with open_capture("okx", okx_executions({"77": 75}, ordIdList=listed)) as capture:
        with pytest.raises(ExchangeUnreachable, match="the order can't be parsed"):
            await capture.exchange.order_fills(BTC, ID, NOW - timedelta(days=1))
