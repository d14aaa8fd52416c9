"""Frames of venues' streams in the form that the venues document, and exactly what is read in each.

The values are our own. tests/exchanges/test_recorded_payloads.py has recorded frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal as D
from typing import Any, Final, Literal

from trailing import Fill, OrderUpdate, Tick
from trailing.core.model import Side, Source
from trailing.exchanges.ccxt.stream_protocol import Message, RequestReply
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import OrderStatus, PositionUpdate

BTC: Final = "BTC/USDT:USDT"
AT: Final = 7.0
"""When each frame arrives, in seconds on the running clock."""

MS: Final = 1_790_000_000_000

Frame = Mapping[str, Any]


def order_frame(**changes: Any) -> Frame:
    """Return Binance's ORDER_TRADE_UPDATE of a limit order that closes a long."""
    order = {
        "s": "BTCUSDT",
        "c": "own-1",
        "S": "SELL",
        "o": "LIMIT",
        "f": "GTC",
        "q": "0.300",
        "p": "61000.10",
        "ap": "0",
        "sp": "0",
        "x": "NEW",
        "X": "NEW",
        "i": 501,
        "l": "0",
        "z": "0",
        "L": "0",
        "N": "USDT",
        "n": "0",
        "T": MS,
        "t": 0,
        "b": "0",
        "a": "0",
        "m": False,
        "R": True,
        "wt": "CONTRACT_PRICE",
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "AP": "0",
        "cr": "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "rp": "0",
        "V": "NONE",
        "gtd": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "T": MS, "E": MS, "o": {**order, **changes}}


def stop_frame(**changes: Any) -> Frame:
    """Return Binance's ALGO_UPDATE of a stop for a long."""
    stop = {
        "caid": "own-2",
        "aid": 601,
        "at": "CONDITIONAL",
        "o": "STOP_MARKET",
        "s": "BTCUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "f": "GTC",
        "q": "0.300",
        "X": "NEW",
        "ai": "",
        "ap": "0.00000",
        "aq": "0.00000",
        "act": "0",
        "tp": "59000",
        "p": "0",
        "V": "EXPIRE_MAKER",
        "wt": "MARK_PRICE",
        "pm": "NONE",
        "cp": False,
        "pP": False,
        "R": True,
        "tt": 0,
        "gtd": 0,
        "rm": "",
    }
    return {"e": "ALGO_UPDATE", "T": MS, "E": MS, "o": {**stop, **changes}}


def account_frame(*positions: Mapping[str, Any], reason: str = "ORDER", **changes: Any) -> Frame:
    """Return Binance's ACCOUNT_UPDATE."""
    entry = {"s": "BTCUSDT", "pa": "0.3", "ep": "60000", "bep": "60024", "cr": "0", "up": "0", "mt": "cross", "iw": "0"}
    account = {"m": reason, "B": [{"a": "USDT", "wb": "100", "cw": "100", "bc": "0"}]}
    account["P"] = [{**entry, "ps": "BOTH", **each} for each in positions]
    return {"e": "ACCOUNT_UPDATE", "T": MS, "E": MS, "a": {**account, **changes}}


def bybit_frame(topic: str, *entries: Mapping[str, Any]) -> Frame:
    return {"topic": topic, "id": "1", "creationTime": MS, "data": [{"category": "linear", **each} for each in entries]}


def bybit_order_frame(**changes: Any) -> Frame:
    """Return Bybit's frame of a stop for a long."""
    order = {
        "symbol": "BTCUSDT",
        "orderId": "b-701",
        "orderLinkId": "own-3",
        "side": "Sell",
        "orderType": "Market",
        "cancelType": "UNKNOWN",
        "price": "",
        "qty": "0.3",
        "timeInForce": "IOC",
        "orderStatus": "Untriggered",
        "lastPriceOnCreated": "60000",
        "reduceOnly": True,
        "leavesQty": "0.3",
        "leavesValue": "0",
        "cumExecQty": "0",
        "cumExecValue": "0",
        "avgPrice": "",
        "positionIdx": 0,
        "createdTime": str(MS),
        "updatedTime": str(MS),
        "rejectReason": "EC_NoError",
        "stopOrderType": "Stop",
        "triggerPrice": "59000",
        "triggerDirection": 2,
        "triggerBy": "MarkPrice",
        "closeOnTrigger": True,
        "tpslMode": "",
        "placeType": "order",
        "feeCurrency": "USDT",
    }
    return bybit_frame("order", {**order, **changes})


def bybit_fill_frame(**changes: Any) -> Frame:
    """Return Bybit's frame of an execution that closes a part of a long."""
    execution = {
        "symbol": "BTCUSDT",
        "closedSize": "0.1",
        "execFee": "3.3",
        "execId": "e-801",
        "execPrice": "58990.5",
        "execQty": "0.1",
        "execType": "Trade",
        "execValue": "5899.05",
        "feeRate": "0.00055",
        "markPrice": "58991",
        "leavesQty": "0.2",
        "orderId": "b-701",
        "orderLinkId": "own-3",
        "orderPrice": "0",
        "orderQty": "0.3",
        "orderType": "Market",
        "stopOrderType": "Stop",
        "side": "Sell",
        "execTime": str(MS),
        "isMaker": False,
        "seq": 1,
    }
    return bybit_frame("execution", {**execution, **changes})


def bybit_position_frame(**changes: Any) -> Frame:
    """Return Bybit's frame of a long."""
    position = {
        "symbol": "BTCUSDT",
        "positionIdx": 0,
        "tradeMode": 0,
        "side": "Buy",
        "size": "0.3",
        "entryPrice": "60000",
        "leverage": "10",
        "positionValue": "18000",
        "markPrice": "60010",
        "positionStatus": "Normal",
        "liqPrice": "",
        "takeProfit": "0",
        "stopLoss": "0",
        "trailingStop": "0",
        "updatedTime": str(MS),
        "seq": 1,
    }
    return bybit_frame("position", {**position, **changes})


def changed(
    status: OrderStatus, ids: tuple[str, str], *, side: Side = "long", total: str | None = "0", reason: str = ""
) -> OrderUpdate:
    """Return an order's update without a fill. `ids`: ours and the venue's."""
    return OrderUpdate(BTC, side, *ids, status, AT, filled=None if total is None else D(total), reason=reason)


def filled(
    status: Literal["partial", "filled"],
    ids: tuple[str, str],
    quantity: str,
    price: str,
    trade: str | None,
    *,
    side: Side = "long",
    total: str | None = None,
) -> OrderUpdate:
    """Return an order's update with a fill."""
    fill = Fill(BTC, side, D(quantity), D(price), ids[1], ids[0], AT, trade)
    return OrderUpdate(BTC, side, *ids, status, AT, fill, None if total is None else D(total))


def tick(source: Source, price: str) -> Tick:
    return Tick(BTC, D(price), AT, source)


def position(side: Side, quantity: str) -> PositionUpdate:
    return PositionUpdate(BTC, side, D(quantity), AT)


PLAIN, STOP, BYBIT = ("own-1", "501"), ("own-2", "601"), ("own-3", "b-701")

DOCUMENTED: Mapping[str, Sequence[tuple[str, Frame, list[Message]]]] = {
    "binanceusdm": [
        (
            "a trade",
            {"e": "aggTrade", "E": MS, "a": 1, "s": "BTCUSDT", "p": "60000.1", "q": "2"},
            [tick("last", "60000.1")],
        ),
        (
            "mark and index price",
            {
                "e": "markPriceUpdate",
                "E": MS,
                "s": "BTCUSDT",
                "p": "60001.5",
                "i": "60002.5",
                "P": "60003",
                "r": "0.0001",
            },
            [tick("mark", "60001.5"), tick("index", "60002.5")],
        ),
        ("a limit order", order_frame(), [changed("live", PLAIN)]),
        ("an amended order", order_frame(x="AMENDMENT"), [changed("live", PLAIN)]),
        ("a cancelled order", order_frame(x="CANCELED", X="CANCELED"), [changed("cancelled", PLAIN)]),
        ("an expired order", order_frame(x="EXPIRED", X="EXPIRED"), [changed("cancelled", PLAIN, reason="EXPIRED")]),
        (
            "self-trade prevention",
            order_frame(x="EXPIRED", X="EXPIRED_IN_MATCH", z="0.1"),
            [changed("cancelled", PLAIN, total="0.1", reason="EXPIRED_IN_MATCH")],
        ),
        (
            "a part of a fill",
            order_frame(x="TRADE", X="PARTIALLY_FILLED", l="0.1", L="61000.1", z="0.1", t=9),
            [filled("partial", PLAIN, "0.1", "61000.1", "9", total="0.1")],
        ),
        (
            "the whole fill",
            order_frame(x="TRADE", X="FILLED", l="0.3", L="61000.1", z="0.3", t=9),
            [filled("filled", PLAIN, "0.3", "61000.1", "9", total="0.3")],
        ),
        (
            "a liquidation",
            order_frame(c="autoclose-7", x="CALCULATED", X="FILLED", l="0.3", L="55000", z="0.3", t=10, ps="LONG"),
            [filled("filled", ("autoclose-7", "501"), "0.3", "55000", "10", total="0.3")],
        ),
        (
            "a pending liquidation",
            order_frame(c="autoclose-7", x="CALCULATED"),
            [Unreadable(f"{BTC}: CALCULATED reports a fill of 0 at 0")],
        ),
        (
            "an automatic deleveraging of a short",
            order_frame(
                c="adl_autoclose", S="BUY", x="CALCULATED", X="NEW_ADL", l="0.3", L="70000", z="0.3", t=11, ps="SHORT"
            ),
            [filled("partial", ("adl_autoclose", "501"), "0.3", "70000", "11", side="short", total="0.3")],
        ),
        ("an order of another market", order_frame(s="BTCUSD_PERP"), []),
        ("a placed stop", stop_frame(), [changed("live", STOP)]),
        ("a stop that triggers", stop_frame(X="TRIGGERING"), [changed("triggered", STOP)]),
        ("a triggered stop", stop_frame(X="TRIGGERED", ai="502"), [changed("triggered", STOP)]),
        (
            "a refused stop",
            stop_frame(X="REJECTED", ai="502", rm="Reduce Only reject"),
            [changed("cancelled", STOP, reason="Reduce Only reject")],
        ),
        ("an expired stop", stop_frame(X="EXPIRED"), [changed("cancelled", STOP, reason="EXPIRED")]),
        ("a cancelled stop", stop_frame(X="CANCELED"), [changed("cancelled", STOP)]),
        (
            "a stop that filled nothing",
            stop_frame(X="FINISHED", ai="502"),
            [changed("cancelled", STOP, reason="FINISHED")],
        ),
        ("a filled stop", stop_frame(X="FINISHED", ai="502", aq="0.300"), []),
        ("a stop of another market", stop_frame(s="BTCUSD_PERP"), []),
        ("a position", account_frame({}), [position("long", "0.3")]),
        ("a short", account_frame({"pa": "-0.3"}), [position("short", "0.3")]),
        ("a flat position", account_frame({"pa": "0"}), [position("long", "0"), position("short", "0")]),
        ("a leg in hedge mode", account_frame({"pa": "0", "ps": "LONG"}), [position("long", "0")]),
        ("funding", account_frame(reason="FUNDING_FEE"), []),
        ("funding with a null", account_frame(reason="FUNDING_FEE", P=None), []),
        ("a short trade", {"e": "TRADE_LITE", "E": MS, "T": MS, "s": "BTCUSDT", "c": "own-1", "i": 501, "t": 9}, []),
        ("a margin call", {"e": "MARGIN_CALL", "E": MS, "cw": "3.1", "p": []}, []),
        ("a leverage", {"e": "ACCOUNT_CONFIG_UPDATE", "E": MS, "T": MS, "ac": {"s": "BTCUSDT", "l": 25}}, []),
    ],
    "bybit": [
        (
            "a trade",
            {"topic": "publicTrade.BTCUSDT", "data": [{"s": "BTCUSDT", "p": "60000.1"}]},
            [tick("last", "60000.1")],
        ),
        (
            "a ticker",
            {"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "markPrice": "60001.5"}},
            [tick("mark", "60001.5")],
        ),
        ("a placed stop", bybit_order_frame(), [changed("live", BYBIT)]),
        ("a triggered stop", bybit_order_frame(orderStatus="Triggered"), [changed("triggered", BYBIT)]),
        ("the order of a triggered stop", bybit_order_frame(orderStatus="New"), [changed("triggered", BYBIT)]),
        (
            "a cancelled stop",
            bybit_order_frame(orderStatus="Deactivated", cancelType="CancelByUser"),
            [changed("cancelled", BYBIT, reason="CancelByUser")],
        ),
        (
            "a refused stop",
            bybit_order_frame(orderStatus="Rejected", rejectReason="EC_ReduceOnlyReject"),
            [changed("cancelled", BYBIT, reason="EC_ReduceOnlyReject")],
        ),
        ("a filled stop", bybit_order_frame(orderStatus="Filled", cumExecQty="0.3"), []),
        ("a spot order", bybit_order_frame(category="spot"), []),
        ("a part of a fill", bybit_fill_frame(), [filled("partial", BYBIT, "0.1", "58990.5", "e-801")]),
        ("the last fill", bybit_fill_frame(leavesQty="0"), [filled("filled", BYBIT, "0.1", "58990.5", "e-801")]),
        (
            "a deleveraging",
            bybit_fill_frame(execType="AdlTrade", orderLinkId=""),
            [filled("partial", ("", "b-701"), "0.1", "58990.5", "e-801")],
        ),
        (
            "a corporate action",
            bybit_fill_frame(execType="CorporateAction"),
            [Unreadable(f"{BTC}: an execution of type 'CorporateAction' is no fill")],
        ),
        (
            "a moved position",
            bybit_fill_frame(execType="MovePosition"),
            [Unreadable(f"{BTC}: an execution of type 'MovePosition' is no fill")],
        ),
        ("funding", bybit_fill_frame(execType="Funding"), []),
        ("a position", bybit_position_frame(), [position("long", "0.3")]),
        ("a short", bybit_position_frame(side="Sell"), [position("short", "0.3")]),
        ("a flat position", bybit_position_frame(side="", size="0"), [position("long", "0"), position("short", "0")]),
        ("a leg in hedge mode", bybit_position_frame(side="", size="0", positionIdx=2), [position("short", "0")]),
        ("a login", {"success": True, "ret_msg": "", "op": "auth", "conn_id": "c"}, [RequestReply()]),
        ("a refused login", {"op": "auth", "success": False, "retMsg": "Invalid key"}, [RequestReply("Invalid key")]),
        ("a wallet", {"topic": "wallet", "data": [{"accountType": "UNIFIED", "coin": []}]}, []),
    ],
}
"""By venue: what a frame tells, the frame, and what is read in it."""
