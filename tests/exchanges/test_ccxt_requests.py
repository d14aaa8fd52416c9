"""The requests to each venue, captured from the real ccxt client: endpoint, type, trigger, source, reduce-only, id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trio
from captured import MARKETS, Capture, NoRateLimit, market, open_capture

from trailing import (
    Credentials,
    ExchangeUnreachable,
    OutcomeUnknown,
    Percent,
    StopOrder,
    StopRequest,
    TrailingError,
    TrailPlan,
    UsageError,
    open_ccxt,
)
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.opening import find_venue
from trailing.exchanges.ccxt.session import open_session
from trailing.exchanges.ccxt.venue import ClientSetup
from trailing.exchanges.ccxt.venues import REFUSED, VENUES
from trailing.exchanges.port import check_cleanup_seconds

ID = "tr0123456789abcdef0123"
BITS = "0x74720123456789abcdef012300000000"
QUANTITY, PRICE, TIGHTER = Decimal("0.03"), Decimal("49000.5"), Decimal("49100.5")
# Parameters of each request that are not part of the claims: signatures, and ccxt's own marks.
SIGNED = {"timestamp", "recvWindow", "signature", "nonce", "vaultAddress", "tag", "clOrdId", "brokerId", "broker_id"}

# A stop at 49000.5 (mark price) for a long of 0.03: place, cancel, look up and list.
CLAIMS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "binanceusdm": {
        "place_stop": (
            "POST /fapi/v1/algoOrder",
            {
                "algoType": "CONDITIONAL",
                "type": "STOP_MARKET",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "quantity": "0.03",
                "triggerPrice": "49000.5",
                "workingType": "MARK_PRICE",
                "reduceOnly": "true",
                "clientAlgoId": ID,
                "newOrderRespType": "RESULT",
            },
        ),
        "place_trailing": (
            "POST /fapi/v1/algoOrder",
            {
                "algoType": "CONDITIONAL",
                "type": "TRAILING_STOP_MARKET",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "quantity": "0.03",
                "activatePrice": "49100.5",
                "callbackRate": "1.5",
                "workingType": "MARK_PRICE",
                "reduceOnly": "true",
                "clientAlgoId": ID,
                "newOrderRespType": "RESULT",
            },
        ),
        "cancel_stop": ("DELETE /fapi/v1/algoOrder", {"symbol": "BTCUSDT", "algoId": "123"}),
        "find_stop": ("GET /fapi/v1/algoOrder", {"symbol": "BTCUSDT", "clientAlgoId": ID}),
        "open_stops": ("GET /fapi/v1/openAlgoOrders", {}),
    },
    "bybit": {
        "place_stop": (
            "POST /v5/order/create",
            {
                "category": "linear",
                "symbol": "BTCUSDT",
                "side": "Sell",
                "orderType": "Market",
                "qty": "0.03",
                "triggerPrice": "49000.5",
                "triggerDirection": 2,
                "triggerBy": "MarkPrice",
                "reduceOnly": True,
                "closeOnTrigger": True,
                "orderLinkId": ID,
            },
        ),
        "amend_stop": (
            "POST /v5/order/amend",
            {
                "category": "linear",
                "symbol": "BTCUSDT",
                "orderId": "123",
                "qty": "0.03",
                "triggerPrice": "49100.5",
                "triggerBy": "MarkPrice",
            },
        ),
        "cancel_stop": ("POST /v5/order/cancel", {"category": "linear", "symbol": "BTCUSDT", "orderId": "123"}),
        "find_stop": (
            "GET /v5/order/realtime",
            {"category": "linear", "symbol": "BTCUSDT", "orderFilter": "StopOrder", "orderLinkId": ID, "limit": "50"},
        ),
        "open_stops": (
            "GET /v5/order/realtime",
            {"category": "linear", "settleCoin": "USDT", "orderFilter": "StopOrder", "limit": "50"},
        ),
    },
    "okx": {
        "place_stop": (
            "POST /api/v5/trade/order-algo",
            {
                "instId": "BTC-USDT-SWAP",
                "tdMode": "cross",
                "side": "sell",
                "ordType": "conditional",
                "sz": "3",
                "slTriggerPx": "49000.5",
                "slTriggerPxType": "mark",
                "slOrdPx": "-1",
                "reduceOnly": True,
                "algoClOrdId": ID,
            },
        ),
        "amend_stop": (
            "POST /api/v5/trade/amend-algos",
            {
                "instId": "BTC-USDT-SWAP",
                "algoId": "123",
                "newSz": "3",
                "newSlTriggerPx": "49100.5",
                "newSlTriggerPxType": "mark",
                "newSlOrdPx": "-1",
            },
        ),
        "cancel_stop": ("POST /api/v5/trade/cancel-algos", [{"algoId": "123", "instId": "BTC-USDT-SWAP"}]),
        "find_stop": ("GET /api/v5/trade/order-algo", {"instId": "BTC-USDT-SWAP", "algoClOrdId": ID}),
        "open_stops": (
            "GET /api/v5/trade/orders-algo-pending",
            {"instType": "SWAP", "ordType": "conditional,oco", "limit": "100"},
        ),
    },
    "bitget": {
        "place_stop": (
            "POST /api/v2/mix/order/place-plan-order",
            {
                "symbol": "BTCUSDT",
                "productType": "USDT-FUTURES",
                "marginMode": "crossed",
                "marginCoin": "USDT",
                "planType": "normal_plan",
                "side": "sell",
                "orderType": "market",
                "force": "GTC",
                "size": "0.03",
                "triggerPrice": "49000.5",
                "triggerType": "mark_price",
                "reduceOnly": "YES",
                "clientOid": ID,
            },
        ),
        "cancel_stop": (
            "POST /api/v2/mix/order/cancel-plan-order",
            {
                "symbol": "BTCUSDT",
                "productType": "USDT-FUTURES",
                "planType": "normal_plan",
                "orderIdList": [{"orderId": "123"}],
            },
        ),
        "find_stop": (
            "GET /api/v2/mix/order/orders-plan-pending",
            {"symbol": "BTCUSDT", "productType": "USDT-FUTURES", "planType": "normal_plan", "limit": "100"},
        ),
        "open_stops": (
            "GET /api/v2/mix/order/orders-plan-pending",
            {"productType": "USDT-FUTURES", "planType": "normal_plan", "limit": "100"},
        ),
    },
    "gate": {
        "place_stop": (
            "POST /api/v4/futures/usdt/price_orders",
            {
                "initial": {
                    "contract": "BTC_USDT",
                    "size": -3,
                    "price": "0",
                    "tif": "ioc",
                    "reduce_only": True,
                    "text": f"t-{ID}",
                },
                "trigger": {"price_type": 1, "price": "49000.5", "rule": 2},
            },
        ),
        "cancel_stop": ("DELETE /api/v4/futures/usdt/price_orders/123", {"contract": "BTC_USDT"}),
        "find_stop": (
            "GET /api/v4/futures/usdt/price_orders",
            {"contract": "BTC_USDT", "status": "open", "limit": "100"},
        ),
        "open_stops": ("GET /api/v4/futures/usdt/price_orders", {"status": "open", "limit": "100"}),
    },
    "kucoinfutures": {
        "place_stop": (
            "POST /api/v1/orders",
            {
                "symbol": "XBTUSDTM",
                "type": "market",
                "side": "sell",
                "size": 3,
                "stop": "down",
                "stopPrice": "49000.5",
                "stopPriceType": "MP",
                "reduceOnly": True,
                "leverage": 1,
                "marginMode": "ISOLATED",
                "clientOid": ID,
            },
        ),
        "cancel_stop": ("DELETE /api/v1/orders/123", {}),
        "find_stop": ("GET /api/v1/stopOrders", {"symbol": "XBTUSDTM"}),
        "open_stops": ("GET /api/v1/stopOrders", {}),
    },
    "krakenfutures": {
        "place_stop": (
            "POST /derivatives/api/v3/sendorder",
            {
                "symbol": "PF_XBTUSD",
                "orderType": "stp",
                "side": "sell",
                "size": "0.03",
                "stopPrice": "49000.5",
                "triggerSignal": "mark",
                "reduceOnly": "true",
                "cliOrdId": ID,
            },
        ),
        "cancel_stop": ("POST /derivatives/api/v3/cancelorder", {"order_id": "123"}),
        "find_stop": ("GET /derivatives/api/v3/openorders", {}),
        "open_stops": ("GET /derivatives/api/v3/openorders", {}),
    },
    "hyperliquid": {
        "place_stop": (
            "POST /exchange",
            {
                "action": {
                    "type": "order",
                    "grouping": "na",
                    "orders": [
                        {
                            "a": 0,
                            "b": False,
                            "p": "44101",
                            "s": "0.03",
                            "r": True,
                            "t": {"trigger": {"isMarket": True, "triggerPx": "49001", "tpsl": "sl"}},
                            "c": BITS,
                        }
                    ],
                }
            },
        ),
        "cancel_stop": ("POST /exchange", {"action": {"type": "cancel", "cancels": [{"a": 0, "o": 123}]}}),
        "find_stop": ("POST /info", {"type": "frontendOpenOrders", "user": "0x" + "1" * 40}),
        "open_stops": ("POST /info", {"type": "frontendOpenOrders", "user": "0x" + "1" * 40}),
    },
    "deribit": {
        "place_stop": (
            "GET /api/v2/private/sell",
            {
                "instrument_name": "BTC_USDC-PERPETUAL",
                "type": "stop_market",
                "amount": "0.03",
                "trigger_price": "49000.5",
                "trigger": "mark_price",
                "reduce_only": "true",
                "label": ID,
            },
        ),
        "cancel_stop": ("GET /api/v2/private/cancel", {"order_id": "123"}),
        "find_stop": (
            "GET /api/v2/private/get_open_orders_by_instrument",
            {"instrument_name": "BTC_USDC-PERPETUAL"},
        ),
        "open_stops": ("GET /api/v2/private/get_open_orders_by_currency", {"currency": "USDC"}),
    },
    "bingx": {
        "place_stop": (
            "POST /openApi/swap/v2/trade/order",
            {
                "symbol": "BTC-USDT",
                "type": "STOP_MARKET",
                "side": "SELL",
                "positionSide": "BOTH",
                "quantity": "0.03",
                "stopPrice": "49000.5",
                "workingType": "MARK_PRICE",
                "reduceOnly": "true",
                "clientOrderID": ID,
            },
        ),
        "cancel_stop": ("DELETE /openApi/swap/v2/trade/order", {"symbol": "BTC-USDT", "orderId": "123"}),
        "find_stop": ("GET /openApi/swap/v2/trade/openOrders", {"symbol": "BTC-USDT"}),
        "open_stops": ("GET /openApi/swap/v2/trade/openOrders", {}),
    },
}


def stop(venue: str, source: Any = "mark") -> StopOrder:
    return StopOrder(MARKETS[venue][1], "long", QUANTITY, PRICE, ID, "123", source)


def request(venue: str, **changes: Any) -> StopRequest:
    values: dict[str, Any] = {"symbol": MARKETS[venue][1], "side": "long", "quantity": QUANTITY, "price": PRICE}
    return StopRequest(**values | changes)


def asked(capture: Capture, venue: str) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Return the call that tests each claim."""
    exchange, order = capture.exchange, stop(venue)
    return {
        "place_stop": lambda: exchange.place_stop(request(venue, client_order_id=ID, source="mark")),
        "place_trailing": lambda: exchange.place_stop(
            request(venue, price=TIGHTER, client_order_id=ID, source="mark", callback=Percent("1.5"))
        ),
        "amend_stop": lambda: exchange.amend_stop(order, price=TIGHTER, quantity=QUANTITY),
        "cancel_stop": lambda: exchange.cancel_stop(order),
        "find_stop": lambda: exchange.find_stop(order.symbol, ID),
        "open_stops": exchange.open_stops,
    }


async def send(capture: Capture, call: Callable[[], Awaitable[object]]) -> list[tuple[str, Any]]:
    """Return the requests that a call sends. Each gets an empty reply, so the call fails or finds nothing."""
    capture.sent.clear()
    with suppress(TrailingError):
        await call()
    return [(f"{sent.method} {sent.path}", unsigned(sent.params)) for sent in capture.sent]


def unsigned(params: Any) -> Any:
    if isinstance(params, dict):
        return {name: value for name, value in params.items() if name not in SIGNED}
    return params


@pytest.mark.parametrize("venue", CLAIMS)
async def test_each_request_contains_exactly_the_parameters_of_the_row(venue: str) -> None:
    async with open_capture(venue) as capture:
        calls = asked(capture, venue)
        sent = {operation: (await send(capture, calls[operation]))[0] for operation in CLAIMS[venue]}
    assert sent == CLAIMS[venue]


@pytest.mark.parametrize("venue", VENUES)
async def test_the_default_plan_s_clean_up_covers_the_read_lags_of_each_venue(venue: str) -> None:
    async with open_capture(venue) as capture:
        row = VENUES[venue]
        lags = (row.delays.orders_read_lag, row.delays.positions_read_lag)
        assert (capture.exchange.orders_read_lag, capture.exchange.positions_read_lag) == lags
        check_cleanup_seconds(capture.exchange, TrailPlan(initial_stop=Percent(2)))


@pytest.mark.parametrize("venue", VENUES)
async def test_a_trailing_order_is_sent_only_to_venues_whose_row_has_it(
    venue: str,
) -> None:
    async with open_capture(venue) as capture:
        trailing = request(venue, client_order_id=ID, source="mark", callback=Percent(1))
        if VENUES[venue].stops.trailing is not None:
            assert "place_trailing" in CLAIMS[venue]
            return
        with pytest.raises(UsageError, match="no trailing orders are supported"):
            await capture.exchange.place_stop(trailing)
        assert capture.sent == []


@pytest.mark.parametrize("venue", VENUES)
async def test_fm35_each_trigger_source_is_sent_in_the_venue_s_word_and_others_are_refused(venue: str) -> None:
    row = VENUES[venue]
    async with open_capture(venue) as capture:
        for source in ("last", "mark", "index"):
            sent = []
            call = asked(capture, venue)["place_stop"]
            if source in row.stops.sources:

                async def call(source: Any = source) -> object:
                    return await capture.exchange.place_stop(request(venue, client_order_id=ID, source=source))

                sent = await send(capture, call)
                assert row.stops.sources[source] in str(sent)
            else:
                with pytest.raises(UsageError, match=r"StopRequest.source got"):
                    await capture.exchange.place_stop(request(venue, client_order_id=ID, source=source))


@pytest.mark.parametrize("venue", VENUES)
async def test_the_stop_of_a_short_buys(venue: str) -> None:
    async with open_capture(venue) as capture:
        sent = await send(
            capture,
            lambda: capture.exchange.place_stop(request(venue, side="short", client_order_id=ID, source="mark")),
        )
    text = str(sent).lower()
    words = {"gate": "'size': 3,", "hyperliquid": "'b': true", "deribit": "private/buy"}
    assert words.get(venue, "'buy'") in text
    directions = {"bybit": "'triggerdirection': 1", "gate": "'rule': 1", "kucoinfutures": "'stop': 'up'"}
    assert directions.get(venue, "") in text


@pytest.mark.parametrize("venue", VENUES)
async def test_fm01_a_close_is_a_reduce_only_market_order(venue: str) -> None:
    if venue == "hyperliquid":
        pytest.skip("it needs a price first, which an empty reply does not contain")
    async with open_capture(venue) as capture:
        sent = await send(capture, lambda: capture.exchange.close_position(MARKETS[venue][1], "long", QUANTITY, ID))
    text = str(sent).lower().replace("_", "")
    assert len(sent) == 1
    assert "'reduceonly': true" in text or "'reduceonly': 'true'" in text or "'reduceonly': 'yes'" in text
    assert ID in str(sent) or venue == "okx"  # its clOrdId is left out above
    assert not any(word in text for word in ("trigger", "stopprice", "slorder"))


async def test_kucoin_s_orders_name_the_margin_mode_that_its_page_says() -> None:
    async with open_capture("kucoinfutures") as capture:
        for call in (
            asked(capture, "kucoinfutures")["place_stop"],
            lambda: capture.exchange.close_position(capture.symbol, "long", QUANTITY, ID),
        ):
            ((_, params),) = await send(capture, call)
            assert params["marginMode"] == "ISOLATED"
    assert VENUES["kucoinfutures"].account.margin_mode == "isolated"


@pytest.mark.parametrize(("slippage", "limit"), [(None, "44101"), ("0.05", "46551")])
async def test_hyperliquid_s_slippage_cap_is_ten_percent_unless_it_is_set(slippage: str | None, limit: str) -> None:
    async with open_capture("hyperliquid") as capture:
        if slippage is not None:
            capture.exchange.session.client.options["defaultSlippage"] = slippage
        ((_, params),) = await send(capture, asked(capture, "hyperliquid")["place_stop"])
    assert params["action"]["orders"][0]["p"] == limit


@pytest.mark.parametrize("spelling", ["cliOrdId", "cli_ord_id"])
async def test_either_spelling_of_a_client_order_id_on_kraken_is_read(spelling: str) -> None:
    entry = {"order_id": "59302619", "symbol": "PF_XBTUSD", "side": "sell", "orderType": "stop", "stopPrice": 49000.5}
    entry |= {"unfilledSize": 0.03, "filledSize": 0, "reduceOnly": True, "triggerSignal": "mark", "status": "untouched"}
    answer = {"result": "success", "openOrders": [{**entry, "receivedTime": "2019-09-05T17:01:17.410Z", spelling: ID}]}
    async with open_capture("krakenfutures", lambda _: answer) as capture:
        found = await capture.exchange.find_stop(capture.symbol, ID)
        assert found == StopOrder(capture.symbol, "long", QUANTITY, PRICE, ID, "59302619", "mark")
        assert [*await capture.exchange.open_stops()] == [found]


async def test_hyperliquid_gets_no_fee_approval_and_no_referrer() -> None:
    async with open_capture("hyperliquid") as capture:
        sent = await send(capture, asked(capture, "hyperliquid")["place_stop"])
    assert [params["action"]["type"] for _, params in sent] == ["order"]
    assert "builder" not in str(sent)


@pytest.mark.parametrize(
    ("side", "price", "sent"), [("long", "49000.1", "49001"), ("short", "49000.9", "49000"), ("long", "0.1", "0.1")]
)
async def test_rounding_to_five_figures_never_loosens_a_stop_on_hyperliquid(side: Any, price: str, sent: str) -> None:
    async with open_capture("hyperliquid") as capture:
        wanted = request("hyperliquid", side=side, price=Decimal(price), client_order_id=ID, source="mark")
        ((_, params),) = await send(capture, lambda: capture.exchange.place_stop(wanted))
    assert params["action"]["orders"][0]["t"]["trigger"]["triggerPx"] == sent


async def test_a_client_order_id_that_hyperliquid_can_not_represent_is_refused() -> None:
    async with open_capture("hyperliquid") as capture:
        with pytest.raises(UsageError, match="hyperliquid can't represent the client order id 'mine'"):
            await capture.exchange.place_stop(request("hyperliquid", client_order_id="mine", source="mark"))
        assert capture.sent == []


@pytest.mark.parametrize("venue", VENUES)
def test_an_unverified_venue_is_refused_unless_it_is_allowed(venue: str) -> None:
    if VENUES[venue].verified:
        assert find_venue(venue, allow_unverified=False) is VENUES[venue]
        return
    with pytest.raises(UsageError, match="unverified: its requests were checked, but not its replies"):
        find_venue(venue, allow_unverified=False)
    assert find_venue(venue, allow_unverified=True) is VENUES[venue]


@pytest.mark.parametrize("venue", REFUSED)
def test_an_unsafe_venue_is_refused_with_the_reason(venue: str) -> None:
    with pytest.raises(UsageError, match=f"can't be used safely: {REFUSED[venue][:20]}"):
        find_venue(venue, allow_unverified=True)


def test_woo_is_refused_because_its_client_order_ids_are_integers() -> None:
    with pytest.raises(
        UsageError, match="'woo', which can't be used safely: client order ids of its stops are integers"
    ):
        find_venue("woo", allow_unverified=True)


async def test_phemex_still_lists_stops_by_symbol_only() -> None:
    setup = ClientSetup(class_name="phemex", options={"defaultType": "swap"})
    row = msgspec.structs.replace(VENUES["okx"], name="phemex", client=setup)
    client = make_client(row, Credentials("key", "secret"))
    client.set_markets([{**market("okx"), "id": "BTCUSDT"}])
    client.timeout_on_exit = 0
    asked = []

    async def fetch(url: str, *_: object) -> object:
        asked.append(url)
        return {}

    client.fetch = fetch
    async with open_session(client, NoRateLimit(), lambda _, error: OutcomeUnknown(repr(error))) as session:
        with pytest.raises(OutcomeUnknown, match="ArgumentsRequired.*requires a symbol"):
            await session.call("open_stops", "fetch_open_orders")
        assert asked == []
        await session.call("open_stops", "fetch_open_orders", "BTC/USDT:USDT")
    assert [urlsplit(url)[2:4] for url in asked] == [("/g-orders/activeList", "symbol=BTCUSDT")]


async def test_open_ccxt_refuses_bad_arguments_before_anything_is_sent() -> None:
    credentials = Credentials("key", "secret")
    refusals: tuple[tuple[dict[str, Any], str], ...] = (
        ({"venue": "bitmex"}, r"venue got 'bitmex', wants one of 'binanceusdm', .*'okx'"),
        ({"venue": "Bybit"}, r"venue got 'Bybit', wants one of .*\(did you mean 'bybit'\?\)"),
        ({"venue": "binance"}, r"\(did you mean 'binanceusdm'\?\)$"),
        ({"venue": "bybit", "account": ""}, "account got ''"),
        ({"venue": "bybit", "configure": 5}, "configure got 5"),
        (
            {"venue": "kucoinfutures", "testnet": True, "allow_unverified": True},
            "testnet=True: ccxt knows no testnet for kucoinfutures",
        ),
    )
    for arguments, says in refusals:
        with pytest.raises(UsageError, match=says):
            async with open_ccxt(credentials=credentials, **arguments):
                raise AssertionError("it was opened")
    with pytest.raises(UsageError, match="credentials wants a Credentials value") as caught:
        async with open_ccxt("bybit", credentials={"apiKey": "very-secret"}):  # type: ignore[arg-type]
            raise AssertionError("it was opened")
    assert "very-secret" not in str(caught.value)


async def test_a_page_that_leads_to_itself_ends_the_list_with_an_error() -> None:
    entry = {"symbol": "BTCUSDT", "orderId": "1", "orderStatus": "Untriggered", "stopOrderType": "Stop", "side": "Sell"}
    answer = {"retCode": 0, "result": {"category": "linear", "list": [entry], "nextPageCursor": "again"}}
    async with open_capture("bybit", lambda _: answer) as capture:
        with trio.fail_after(5), pytest.raises(ExchangeUnreachable, match="a page of the list leads to itself"):
            await capture.exchange.open_stops()
        assert len(capture.sent) == 2


ALGO = {
    "algoId": 11,
    "clientAlgoId": ID,
    "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "positionSide": "BOTH",
    "quantity": "0.030",
    "algoStatus": "NEW",
    "actualOrderId": "",
    "triggerPrice": "49000.5",
    "workingType": "MARK_PRICE",
    "reduceOnly": True,
}


@pytest.mark.parametrize(
    ("changes", "left", "triggered"),
    [
        ({}, "0.03", False),
        ({"algoStatus": "TRIGGERING"}, "0.03", True),
        ({"algoStatus": "TRIGGERED", "actualOrderId": "55"}, "0.03", True),
        ({"algoStatus": "TRIGGERED", "actualOrderId": "55", "actualQty": "0.010"}, "0.02", True),
        ({"algoStatus": "TRIGGERED", "actualOrderId": "55", "actualQty": "0.030"}, None, True),
        ({"algoStatus": "FINISHED", "actualOrderId": "55", "actualQty": "0.010"}, None, True),
    ],
)
async def test_a_triggered_stop_on_binance_is_listed_with_its_unfilled_quantity(
    changes: dict[str, str], left: str | None, triggered: bool
) -> None:
    async with open_capture("binanceusdm", lambda _: {**ALGO, **changes}) as capture:
        found = await capture.exchange.find_stop(capture.symbol, ID)
    if left is None:
        assert found is None
    else:
        wanted = StopOrder(capture.symbol, "long", Decimal(left), PRICE, ID, "11", "mark", triggered=triggered)
        assert found == wanted


async def test_a_stop_on_binance_is_read_whichever_name_its_type_has() -> None:
    recorded = {"type" if name == "orderType" else name: value for name, value in ALGO.items()}
    async with open_capture("binanceusdm", lambda _: recorded) as capture:
        found = await capture.exchange.find_stop(capture.symbol, ID)
    assert found == StopOrder(capture.symbol, "long", Decimal("0.03"), PRICE, ID, "11", "mark")


async def test_the_repr_names_venue_account_mode_and_requests_and_shows_no_key() -> None:
    async with open_capture("okx") as capture:
        shown = repr(capture.exchange)
    assert shown.startswith("<CcxtExchange okx 'default': one-way mode, 1 markets, <Session okx: 0 requests in flight>")
    assert not any(key in shown for key in ("c2VjcmV0", "0x1111", "password"))
