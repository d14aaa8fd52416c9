"""Orders and positions of somebody else on an account, of every kind that a venue lists, beside those of the server's market."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle, islice
from typing import Any, Final, TypeAlias

import msgspec
from okx_server import OkxServer
from venue_faults import Reply, Request, json_reply
from venue_server import VenueServer

Entry: TypeAlias = Mapping[str, Any]

_BINANCE_ORDER: Final[Entry] = {
    "algoType": "CONDITIONAL",
    "orderType": "STOP_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "positionSide": "BOTH",
    "timeInForce": "GTC",
    "quantity": "0.010",
    "algoStatus": "NEW",
    "actualOrderId": "",
    "triggerPrice": "500",
    "price": "0",
    "workingType": "CONTRACT_PRICE",
    "closePosition": False,
    "priceProtect": False,
    "reduceOnly": True,
    "createTime": 1,
    "updateTime": 1,
    "triggerTime": 0,
    "goodTillDate": 0,
}
_BYBIT_ORDER: Final[Entry] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Sell",
    "orderType": "Market",
    "orderStatus": "Untriggered",
    "cancelType": "UNKNOWN",
    "rejectReason": "EC_NoError",
    "price": "0",
    "qty": "0.010",
    "avgPrice": "",
    "leavesQty": "0.010",
    "cumExecQty": "0",
    "cumExecValue": "0",
    "cumExecFee": "0",
    "timeInForce": "IOC",
    "positionIdx": 0,
    "reduceOnly": True,
    "closeOnTrigger": False,
    "stopOrderType": "Stop",
    "triggerPrice": "500",
    "triggerBy": "LastPrice",
    "triggerDirection": 2,
    "createdTime": "1",
    "updatedTime": "1",
}
_OKX_ORDER: Final[Entry] = {
    "algoClOrdId": "",
    "clOrdId": "",
    "ordId": "",
    "instId": "BTC-USDT-SWAP",
    "instType": "SWAP",
    "ordType": "conditional",
    "state": "live",
    "side": "sell",
    "posSide": "net",
    "sz": "1",
    "slTriggerPx": "500",
    "slOrdPx": "-1",
    "slTriggerPxType": "last",
    "tpTriggerPx": "",
    "tpOrdPx": "",
    "tpTriggerPxType": "",
    "tdMode": "cross",
    "reduceOnly": "true",
    "closeFraction": "",
    "actualSz": "0",
    "actualPx": "",
    "triggerTime": "",
    "cTime": "1",
    "uTime": "1",
    "tag": "",
}
_BINANCE_POSITION: Final[Entry] = {
    "positionSide": "BOTH",
    "positionAmt": "3",
    "entryPrice": "2",
    "breakEvenPrice": "2",
    "markPrice": "2",
    "unRealizedProfit": "0",
    "liquidationPrice": "0",
    "isolatedMargin": "0",
    "notional": "6",
    "marginAsset": "USDT",
    "isolatedWallet": "0",
    "adl": 1,
    "updateTime": 1,
}
_BYBIT_POSITION: Final[Entry] = {
    "category": "linear",
    "positionIdx": 0,
    "side": "Buy",
    "size": "3",
    "avgPrice": "2",
    "positionValue": "6",
    "markPrice": "2",
    "unrealisedPnl": "0",
    "liqPrice": "",
    "leverage": "10",
    "positionStatus": "Normal",
    "tradeMode": 0,
    "createdTime": "1",
    "updatedTime": "1",
}
_OKX_POSITION: Final[Entry] = {
    "instType": "SWAP",
    "mgnMode": "cross",
    "posId": "1",
    "posSide": "net",
    "pos": "3",
    "ccy": "USDT",
    "lever": "10",
    "last": "2",
    "markPx": "2",
    "liqPx": "",
    "avgPx": "2",
    "upl": "0",
    "notionalUsd": "6",
    "margin": "",
    "cTime": "1",
    "uTime": "1",
}
_TAKES_PROFIT: Final[Entry] = {"slTriggerPx": "", "slOrdPx": "", "slTriggerPxType": "", "tpTriggerPxType": "last"}
_TRIGGER: Final[Entry] = {"slTriggerPx": "", "slOrdPx": "", "slTriggerPxType": "", "ordType": "trigger"}

ORDERS: Final[Mapping[str, Sequence[Entry]]] = {
    "binanceusdm": tuple(
        {**_BINANCE_ORDER, **values}
        for values in (
            {"clientAlgoId": "web_7ab3"},
            {"clientAlgoId": 1578938},  # a number
            {"clientAlgoId": "tr-but-not-ours"},
            {"clientAlgoId": "", "workingType": "MARK_PRICE"},
            {"clientAlgoId": None, "symbol": "ETHUSDT", "side": "BUY"},
            {"clientAlgoId": "a", "orderType": "TAKE_PROFIT_MARKET", "triggerPrice": "2000"},
            {"clientAlgoId": "b", "orderType": "TAKE_PROFIT", "price": "2000", "triggerPrice": "2000"},
            {"clientAlgoId": "c", "orderType": "STOP", "price": "490"},
            {"clientAlgoId": "d", "orderType": "TRAILING_STOP_MARKET", "activatePrice": "0", "callbackRate": "1.0"},
            {"clientAlgoId": "e", "orderType": "TRAILING_STOP_MARKET", "activatePrice": "", "callbackRate": "0.1"},
            {"clientAlgoId": "f", "closePosition": True, "quantity": "0"},
            {"clientAlgoId": "g", "reduceOnly": False, "side": "BUY", "triggerPrice": "2000"},
            {"clientAlgoId": "h", "algoType": "VP", "orderType": "VP", "triggerPrice": "0"},
            {"clientAlgoId": "i", "algoType": "TWAP", "orderType": "TWAP", "triggerPrice": "", "reduceOnly": False},
            {"clientAlgoId": "j", "algoStatus": "TRIGGERING"},
            {"clientAlgoId": "k", "algoStatus": "CANCELED"},
            {"clientAlgoId": "l", "symbol": "BTCUSD_PERP"},
            {"clientAlgoId": "m", "symbol": "ETHUSD_260327"},
        )
    ),
    "bybit": tuple(
        {**_BYBIT_ORDER, **values}
        for values in (
            {"orderLinkId": "web_7ab3"},
            {"orderLinkId": 1578938},
            {"orderLinkId": "tr-but-not-ours"},
            {"orderLinkId": "", "triggerBy": "MarkPrice"},
            {"orderLinkId": None, "symbol": "ETHUSDT", "side": "Buy"},
            {"orderLinkId": "a", "stopOrderType": "TakeProfit", "triggerPrice": "2000"},
            {"orderLinkId": "b", "stopOrderType": "PartialTakeProfit", "triggerPrice": "2000"},
            {"orderLinkId": "c", "orderType": "Limit", "stopOrderType": "StopLoss", "price": "490"},
            {"orderLinkId": "d", "stopOrderType": "TrailingStop", "triggerPrice": "0", "qty": "0", "leavesQty": "0"},
            {"orderLinkId": "e", "stopOrderType": "StopLoss", "qty": "0", "leavesQty": "0"},
            {"orderLinkId": "f", "reduceOnly": False, "side": "Buy", "triggerPrice": "2000"},
            {"orderLinkId": "g", "orderStatus": "Triggered"},
            {"orderLinkId": "h", "orderStatus": "Deactivated"},
        )
    ),
    "okx": tuple(
        {**_OKX_ORDER, **values}
        for values in (
            {"algoClOrdId": "web7ab3"},
            {"algoClOrdId": 1578938},
            {"algoClOrdId": "tr-but-not-ours"},
            {"algoClOrdId": "", "slTriggerPxType": "mark"},
            {"algoClOrdId": None, "instId": "ETH-USDT-SWAP", "side": "buy"},
            {"algoClOrdId": "a", **_TAKES_PROFIT, "tpTriggerPx": "2000", "tpOrdPx": "-1"},
            {"algoClOrdId": "b", **_TAKES_PROFIT, "tpTriggerPx": "2000", "tpOrdPx": "2000"},
            {"algoClOrdId": "c", "slOrdPx": "490"},
            {"algoClOrdId": "d", "ordType": "oco", "tpTriggerPx": "2000", "tpOrdPx": "-1", "tpTriggerPxType": "index"},
            {"algoClOrdId": "e", "sz": "", "closeFraction": "1"},
            {"algoClOrdId": "f", "reduceOnly": "false", "side": "buy", "slTriggerPx": "2000"},
            {"algoClOrdId": "g", **_TRIGGER, "triggerPx": "500", "triggerPxType": "last", "ordPx": "-1"},
            {"algoClOrdId": "h", **_TRIGGER, "ordType": "move_order_stop", "callbackRatio": "0.05"},
            {"algoClOrdId": "i", "state": "partially_effective", "actualSz": "1"},
            {"algoClOrdId": "j", "state": "canceled"},
            {"algoClOrdId": "k", "instId": "BTC-USD-SWAP"},
            {"algoClOrdId": "l", "instId": "BTC-USD-260327", "instType": "FUTURES"},
        )
    ),
}
"""Orders of each kind, without their ids."""

UNKNOWN: Final[Mapping[str, Sequence[Entry]]] = {
    "binanceusdm": (
        {**_BINANCE_ORDER, "clientAlgoId": "n", "symbol": "NEWUSDT"},
        {**_BINANCE_ORDER, "clientAlgoId": "o", "symbol": 7},
        {**_BINANCE_ORDER, "clientAlgoId": "p", "algoStatus": "SLEEPING"},
        {**_BINANCE_ORDER, "clientAlgoId": "q", "side": "UP"},
        {**_BINANCE_ORDER, "clientAlgoId": "r", "workingType": "MOON_PRICE"},
        {**_BINANCE_ORDER, "clientAlgoId": "s", "quantity": "1e400"},
    ),
    "bybit": (
        {**_BYBIT_ORDER, "orderLinkId": "n", "symbol": "NEWUSDT"},
        {**_BYBIT_ORDER, "orderLinkId": "o", "symbol": 7},
        {**_BYBIT_ORDER, "orderLinkId": "p", "orderStatus": "Sleeping"},
        {**_BYBIT_ORDER, "orderLinkId": "q", "side": "Up"},
        {**_BYBIT_ORDER, "orderLinkId": "r", "triggerBy": "MoonPrice"},
        {**_BYBIT_ORDER, "orderLinkId": "s", "qty": "1e400", "leavesQty": "1e400"},
    ),
    "okx": (
        {**_OKX_ORDER, "algoClOrdId": "n", "instId": "NEW-USDT-SWAP"},
        {**_OKX_ORDER, "algoClOrdId": "o", "instId": 7},
        {**_OKX_ORDER, "algoClOrdId": "p", "state": "sleeping"},
        {**_OKX_ORDER, "algoClOrdId": "q", "side": "up"},
        {**_OKX_ORDER, "algoClOrdId": "r", "slTriggerPxType": "moon"},
        {**_OKX_ORDER, "algoClOrdId": "s", "sz": "1e400"},
    ),
}
"""Orders that can't be read. They make the list partial."""

_IDS: Final = {"binanceusdm": "algoId", "bybit": "orderId", "okx": "algoId"}


def orders(venue: str, number: int, kinds: Sequence[Entry]) -> list[Entry]:
    """Return so many orders of all kinds in turn, each with an id of its own."""
    ids = count(7_000_000)
    return [{**kind, _IDS[venue]: next(ids)} for kind in islice(cycle(kinds), number)]


def positions(venue: str, bases: Sequence[str]) -> list[Entry]:
    """Return a position of the venue's contract of each of these coins."""
    if venue == "okx":
        return [{**_OKX_POSITION, "instId": f"{base}-USDT-SWAP"} for base in bases]
    template = _BINANCE_POSITION if venue == "binanceusdm" else _BYBIT_POSITION
    return [{**template, "symbol": f"{base}USDT"} for base in bases]


def add(server: VenueServer, venue: str, orders: Sequence[Entry], positions: Sequence[Entry]) -> None:
    """Let a server list these orders and positions besides its own, page by page on Bybit and OKX."""
    if isinstance(server, OkxServer):
        server.okx.reads.foreign_algo_orders = [dict(order) for order in orders]
        server.okx.reads.foreign_positions = [dict(position) for position in positions]
        return
    face = server.face
    handle = type(face).handle
    further = {"open_stops": list(orders), "positions": list(positions)}
    size = {"open_stops": 50, "positions": 200}

    def handle_and_add(request: Request) -> Reply:
        operation = face.operation(request)
        is_list = operation in further and not {"orderLinkId", "symbol"} & request.params.keys()
        if not is_list or request.params.get("settleCoin", "USDT") != "USDT":
            return handle(face, request)
        page = int(request.params.get("cursor") or 0)
        params = {name: value for name, value in request.params.items() if name != "cursor"}
        reply = handle(face, msgspec.structs.replace(request, params=params))
        if reply.status != 200:
            return reply
        body = msgspec.json.decode(reply.body)
        if venue == "binanceusdm":
            return json_reply([*body, *further[operation]])
        result, begin = body["result"], page * size[operation]
        if "list" not in result:
            return reply  # an error
        rows = [*result["list"], *further[operation]]
        result["list"] = rows[begin : begin + size[operation]]
        result["nextPageCursor"] = str(page + 1) if begin + size[operation] < len(rows) else ""
        return json_reply(body)

    face.handle = handle_and_add  # type: ignore[method-assign]


def numbered(number: int) -> Iterator[str]:
    """Yield so many names of coins."""
    return (f"X{each:04}" for each in range(number))
