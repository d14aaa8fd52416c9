"""Frames of OKX's streams in the form of https://www.okx.com/docs-v5/en/, and exactly what is read in each."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from documented_frames import BTC, Frame, changed, filled, position, tick

from trailing.exchanges.ccxt.stream_protocol import ConnectionExpired, Message, RequestReply
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import OrderUpdate

INSTRUMENT: Final = "BTC-USDT-SWAP"
CONTRACT: Final = Decimal("0.01")
"""Base units of a contract."""

_ARGUMENT: Final = {"uid": "77982378738415879", "instType": "ANY"}


def pushed(channel: str, entry: Frame, **frame: Any) -> Frame:
    return {"arg": {"channel": channel, **_ARGUMENT}, **frame, "data": [entry]}


def price(channel: str, name: str, field: str, value: str) -> Frame:
    entry = {"instId": name, field: value, "ts": "1790000000000"}
    return {"arg": {"channel": channel, "instId": name}, "data": [entry]}


def order_frame(**changes: Any) -> Frame:
    """Return a frame of the channel `orders` about a limit order that closes a long."""
    entry = {
        "instType": "SWAP",
        "instId": INSTRUMENT,
        "ordId": "501",
        "clOrdId": "own-1",
        "algoId": "",
        "algoClOrdId": "",
        "linkedAlgoOrd": {"algoId": ""},
        "ordType": "limit",
        "category": "normal",
        "side": "sell",
        "posSide": "net",
        "tdMode": "cross",
        "reduceOnly": "true",
        "px": "61000.1",
        "sz": "30",
        "state": "live",
        "accFillSz": "0",
        "avgPx": "",
        "fillPx": "",
        "fillSz": "0",
        "tradeId": "",
        "source": "",
        "cancelSource": "",
        "cancelSourceReason": "",
        "amendResult": "",
        "reqId": "",
        "code": "0",
        "msg": "",
    }
    return pushed("orders", {**entry, **changes})


def execution_frame(**changes: Any) -> Frame:
    """Return a frame about the market order of a triggered stop."""
    ours = {"ordId": "502", "clOrdId": "601_0", "algoId": "601", "algoClOrdId": "own-2", "ordType": "market"}
    return order_frame(**{**ours, "px": "", "source": "7", **changes})


def stop_frame(**changes: Any) -> Frame:
    """Return a frame of the channel `orders-algo` about a stop."""
    entry = {
        "instType": "SWAP",
        "instId": INSTRUMENT,
        "algoId": "601",
        "algoClOrdId": "own-2",
        "clOrdId": "",
        "ordId": "",
        "ordIdList": [],
        "ordType": "conditional",
        "side": "sell",
        "posSide": "net",
        "tdMode": "cross",
        "reduceOnly": "true",
        "sz": "30",
        "slTriggerPx": "59000",
        "slTriggerPxType": "mark",
        "slOrdPx": "-1",
        "tpTriggerPx": "",
        "tpOrdPx": "",
        "state": "live",
        "actualPx": "",
        "actualSz": "0",
        "triggerTime": "",
        "failCode": "",
        "amendResult": "",
        "reqId": "",
    }
    return pushed("orders-algo", {**entry, **changes})


def position_frame(**changes: Any) -> Frame:
    """Return a frame of the channel `positions` about a long."""
    entry = {"instType": "SWAP", "instId": INSTRUMENT, "posSide": "net", "mgnMode": "cross", "pos": "30"}
    return pushed("positions", {**entry, "avgPx": "60000", "posId": "7", **changes})


PLAIN, STOP = ("own-1", "501"), ("own-2", "601")


def gone(reason: str, total: str | None = None) -> OrderUpdate:
    return changed("cancelled", STOP, total=total, reason=reason)


def part(status: Literal["partial", "filled"], ids: tuple[str, str], total: str = "0.1", **side: Any) -> OrderUpdate:
    return filled(status, ids, "0.1", "58990.5", "9", total=total, **side)


FILL: Final = {"state": "partially_filled", "fillSz": "10", "fillPx": "58990.5", "tradeId": "9", "accFillSz": "10"}

OKX_FRAMES: Sequence[tuple[str, Frame, list[Message]]] = [
    ("a trade", price("trades", INSTRUMENT, "px", "60000.1"), [tick("last", "60000.1")]),
    ("a mark price", price("mark-price", INSTRUMENT, "markPx", "60001.5"), [tick("mark", "60001.5")]),
    ("an index price", price("index-tickers", "BTC-USDT", "idxPx", "60002.5"), [tick("index", "60002.5")]),
    ("a limit order", order_frame(), [changed("live", PLAIN)]),
    ("a cancelled order", order_frame(state="canceled", cancelSource="1"), [changed("cancelled", PLAIN)]),
    (
        "a take-profit that an order at market has displaced",
        order_frame(state="canceled", cancelSource="23"),
        [changed("cancelled", PLAIN, reason="cancelSource 23 reduce-only, other orders have a better price")],
    ),
    ("a part of a fill", order_frame(**FILL), [part("partial", PLAIN)]),
    (
        "the last fill",
        order_frame(**{**FILL, "state": "filled", "accFillSz": "30"}),
        [part("filled", PLAIN, "0.3")],
    ),
    (
        "a liquidation",
        order_frame(**FILL, category="full_liquidation", clOrdId="", reduceOnly="false", ordType="market"),
        [part("partial", ("", "501"))],
    ),
    (
        "a deleveraging of a short",
        order_frame(**FILL, category="adl", clOrdId="", side="buy", posSide="short", reduceOnly="false"),
        [part("partial", ("", "501"), side="short")],
    ),
    ("an order of another market", order_frame(instId="BTC-USD-SWAP"), []),
    ("a placed stop", stop_frame(), [changed("live", STOP, total=None)]),
    ("an amended stop", stop_frame(amendResult="0", reqId="1"), [changed("live", STOP, total=None)]),
    (
        "a stop that was not amended",
        stop_frame(amendResult="-1", reqId="1"),
        [changed("live", STOP, total=None), Unreadable(f"{BTC}: OKX did not amend the stop own-2")],
    ),
    (
        "a triggered stop",
        stop_frame(state="effective", ordId="502", ordIdList=["502"], clOrdId="601_0", actualSz="30"),
        [changed("triggered", STOP, total=None)],
    ),
    ("a cancelled stop", stop_frame(state="canceled"), [gone("")]),
    ("a stop that failed", stop_frame(state="order_failed", failCode="51112"), [gone("order_failed 51112")]),
    ("a stop in another state", stop_frame(state="pause"), [Unreadable("KeyError: 'pause'")]),
    ("the order of a stop", execution_frame(), [changed("triggered", STOP)]),
    ("its fill", execution_frame(**FILL), [part("partial", STOP)]),
    (
        "its end without a fill",
        execution_frame(state="canceled", cancelSource="27"),
        [gone("cancelSource 27 price limit", "0")],
    ),
    ("a position", position_frame(), [position("long", "0.3")]),
    ("a short", position_frame(pos="-30"), [position("short", "0.3")]),
    ("a flat position", position_frame(pos="0"), [position("long", "0"), position("short", "0")]),
    ("a leg in long/short mode", position_frame(posSide="short", pos="0"), [position("short", "0")]),
    ("a login", {"event": "login", "msg": "", "code": "0", "connId": "c"}, [RequestReply()]),
    (
        "a refused login",
        {"event": "error", "code": "60009", "msg": "Login failed.", "connId": "c"},
        [RequestReply("60009 Login failed.")],
    ),
    ("a count of connections", {"event": "channel-conn-count", "channel": "orders", "connCount": "2"}, []),
]
"""What a frame tells, the frame, and what is read in it."""

ENDING: Sequence[tuple[str, Frame, list[Message]]] = [
    (
        "an upgrade",
        {"event": "notice", "code": "64008", "msg": "The connection will soon be closed.", "connId": "c"},
        [ConnectionExpired("The connection will soon be closed.")],
    ),
]
"""Frames that end their connection."""
