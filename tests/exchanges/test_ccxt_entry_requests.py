"""The requests for entry orders, captured from the real ccxt client. Unverified venues refuse entries by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from captured import MARKETS, Capture, open_capture

from trailing import EntryRequest, TrailingError, UsageError
from trailing.core.entry_orders import AttachedStop
from trailing.core.model import Side
from trailing.exchanges.ccxt.venues import VENUES

ID, STOP_ID = "tr0123456789abcdef0123", "tr0123456789abcdef0124"
LIMIT, STOP = Decimal("49000.5"), Decimal("48000.5")
# Signatures, and ccxt's own marks.
SIGNED = {"timestamp", "recvWindow", "signature", "tag"}
VERIFIED = tuple(name for name, row in VENUES.items() if row.entries is not None)

# A long of 0.03: with a limit of 49000.5, at market, its cancellation, and its look-up.
CLAIMS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "binanceusdm": {
        "limit": (
            "POST /fapi/v1/order",
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.03",
                "price": "49000.5",
                "newClientOrderId": ID,
                "newOrderRespType": "RESULT",
            },
        ),
        "market": (
            "POST /fapi/v1/order",
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "MARKET",
                "quantity": "0.03",
                "newClientOrderId": ID,
                "newOrderRespType": "RESULT",
            },
        ),
        "cancel": ("DELETE /fapi/v1/order", {"symbol": "BTCUSDT", "origClientOrderId": ID}),
        "find": ("GET /fapi/v1/order", {"symbol": "BTCUSDT", "origClientOrderId": ID}),
    },
    "bybit": {
        "limit": (
            "POST /v5/order/create",
            {
                "category": "linear",
                "symbol": "BTCUSDT",
                "side": "Buy",
                "orderType": "Limit",
                "qty": "0.03",
                "price": "49000.5",
                "orderLinkId": ID,
            },
        ),
        "market": (
            "POST /v5/order/create",
            {
                "category": "linear",
                "symbol": "BTCUSDT",
                "side": "Buy",
                "orderType": "Market",
                "qty": "0.03",
                "orderLinkId": ID,
            },
        ),
        "stop": (
            "POST /v5/order/create",
            {
                "category": "linear",
                "symbol": "BTCUSDT",
                "side": "Buy",
                "orderType": "Limit",
                "qty": "0.03",
                "price": "49000.5",
                "orderLinkId": ID,
                "stopLoss": "48000.5",
                "slTriggerBy": "MarkPrice",
                "tpslMode": "Full",
                "slOrderType": "Market",
            },
        ),
        "cancel": ("POST /v5/order/cancel", {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": ID}),
        "find": ("GET /v5/order/realtime", {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": ID}),
    },
    "okx": {
        "limit": (
            "POST /api/v5/trade/order",
            {
                "instId": "BTC-USDT-SWAP",
                "tdMode": "cross",
                "side": "buy",
                "ordType": "limit",
                "px": "49000.5",
                "sz": "3",
                "clOrdId": ID,
            },
        ),
        "market": (
            "POST /api/v5/trade/order",
            {
                "instId": "BTC-USDT-SWAP",
                "tdMode": "cross",
                "side": "buy",
                "ordType": "market",
                "sz": "3",
                "clOrdId": ID,
            },
        ),
        "stop": (
            "POST /api/v5/trade/order",
            {
                "instId": "BTC-USDT-SWAP",
                "tdMode": "cross",
                "side": "buy",
                "ordType": "limit",
                "px": "49000.5",
                "sz": "3",
                "clOrdId": ID,
                "attachAlgoOrds": [
                    {
                        "attachAlgoClOrdId": STOP_ID,
                        "slTriggerPx": "48000.5",
                        "slTriggerPxType": "mark",
                        "slOrdPx": "-1",
                    }
                ],
            },
        ),
        "cancel": ("POST /api/v5/trade/cancel-order", {"instId": "BTC-USDT-SWAP", "clOrdId": ID}),
        "find": ("GET /api/v5/trade/order", {"instId": "BTC-USDT-SWAP", "clOrdId": ID}),
    },
}
HEDGED: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "binanceusdm": ({"positionSide": "LONG", "side": "BUY"}, {"positionSide": "SHORT", "side": "SELL"}),
    "bybit": ({"positionIdx": 1, "side": "Buy"}, {"positionIdx": 2, "side": "Sell"}),
    "okx": ({"posSide": "long", "side": "buy"}, {"posSide": "short", "side": "sell"}),
}


def request(venue: str, side: Side = "long", **more: Any) -> EntryRequest:
    return EntryRequest(MARKETS[venue][1], side, Decimal("0.03"), ID, **more)


def calls(capture: Capture, venue: str) -> Mapping[str, Callable[[], Awaitable[object]]]:
    exchange = capture.exchange
    return {
        "limit": lambda: exchange.place_entry(request(venue, limit=LIMIT)),
        "market": lambda: exchange.place_entry(request(venue)),
        "cancel": lambda: exchange.cancel_entry(capture.symbol, ID),
        "find": lambda: exchange.find_entry(capture.symbol, ID),
        "stop": lambda: exchange.place_entry(request(venue, limit=LIMIT, stop=_stop(venue))),
    }


def _stop(venue: str) -> AttachedStop:
    entries = VENUES[venue].entries
    bridge = entries is not None and entries.attached_stop == "bridge"
    return AttachedStop(STOP, ID if bridge else STOP_ID, "mark")


async def send(capture: Capture, call: Callable[[], Awaitable[object]]) -> list[tuple[str, Any]]:
    """Return the captured requests of a call. The empty reply to it is an error."""
    capture.sent.clear()
    with suppress(TrailingError):
        await call()
    return [(f"{sent.method} {sent.path}", _claimed(sent.params)) for sent in capture.sent]


def _claimed(params: Any) -> Any:
    if isinstance(params, list):
        return [_claimed(each) for each in params]
    return {name: value for name, value in params.items() if name not in SIGNED}


@pytest.mark.parametrize(("venue", "call"), [(venue, call) for venue in CLAIMS for call in CLAIMS[venue]])
async def test_a_request_about_an_entry_is_what_the_row_claims(venue: str, call: str) -> None:
    async with open_capture(venue) as capture:
        sent = await send(capture, calls(capture, venue)[call])
    assert sent[0] == CLAIMS[venue][call]
    assert len(sent) == 1 or call == "find"


def test_each_venue_that_takes_entries_has_its_claims() -> None:
    assert set(CLAIMS) == set(HEDGED) == set(VERIFIED)
    for venue in VERIFIED:
        entries = VENUES[venue].entries
        assert entries is not None
        assert ("stop" in CLAIMS[venue]) == (entries.attached_stop is not None)


@pytest.mark.parametrize("venue", VERIFIED)
async def test_an_entry_names_its_side_in_hedge_mode(venue: str) -> None:
    async with open_capture(venue, hedged=True) as capture:
        for side, wanted in zip(("long", "short"), HEDGED[venue], strict=True):
            entry = request(venue, side)  # type: ignore[arg-type]
            ((_, params),) = await send(capture, lambda entry=entry: capture.exchange.place_entry(entry))  # type: ignore[misc]
            assert params | wanted == params
            assert "reduceOnly" not in params


@pytest.mark.parametrize("venue", sorted(set(MARKETS) - set(VERIFIED)))
async def test_an_unverified_venue_refuses_entries_by_its_name_and_sends_nothing(venue: str) -> None:
    async with open_capture(venue) as capture:
        for call in ("limit", "market", "cancel", "find"):
            with pytest.raises(UsageError, match=f"entry {ID}: {venue} is not supported for entries yet"):
                await calls(capture, venue)[call]()
        with pytest.raises(UsageError, match=f"{venue} is not supported for entries yet"):
            await capture.exchange.entry_settings(capture.symbol)
        assert capture.sent == []


async def test_a_market_that_attaches_no_stop_refuses_an_entry_with_one() -> None:
    async with open_capture("binanceusdm") as capture:
        with pytest.raises(UsageError, match="can't attach a stop to an entry"):
            await capture.exchange.place_entry(request("binanceusdm", stop=AttachedStop(STOP, STOP_ID)))
        assert capture.sent == []


EMPTY = {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [], "nextPageCursor": ""}}


async def test_an_entry_on_bybit_is_absent_only_if_no_list_has_it() -> None:
    async with open_capture("bybit", lambda _: EMPTY) as capture:
        assert await capture.exchange.find_entry(capture.symbol, ID) is None
        named = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": ID}
        sent = [(each.path, each.params) for each in capture.sent]
        assert sent == [
            ("/v5/order/realtime", named),
            ("/v5/order/realtime", {**named, "openOnly": "1"}),
            ("/v5/order/history", named),
        ]


@pytest.mark.parametrize("list_number", [1, 2, 3])
async def test_an_entry_on_bybit_is_found_in_each_list(list_number: int) -> None:
    order = {
        "symbol": "BTCUSDT",
        "orderId": "b-1",
        "orderLinkId": ID,
        "side": "Buy",
        "orderType": "Market",
        "orderStatus": "Filled",
        "price": "0",
        "qty": "0.03",
        "cumExecQty": "0.03",
        "avgPrice": "49000.5",
        "reduceOnly": False,
        "positionIdx": 0,
        "rejectReason": "EC_NoError",
        "updatedTime": "1790000000000",
        "stopOrderType": "",
    }
    answers = [EMPTY] * (list_number - 1) + [{**EMPTY, "result": {**EMPTY["result"], "list": [order]}}]  # type: ignore[dict-item]
    async with open_capture("bybit", lambda _: answers[len(capture.sent) - 1]) as capture:
        found = await capture.exchange.find_entry(capture.symbol, ID)
        assert found is not None
        assert (found.filled, found.average_price, found.is_working) == (Decimal("0.03"), LIMIT, False)
        assert len(capture.sent) == list_number
