"""The frames of each venue, in all orders, and with missing fields."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing import Fill, OrderUpdate, Tick
from trailing.core.model import Side
from trailing.exchanges.ccxt.binance_protocol import BinanceProtocol
from trailing.exchanges.ccxt.bybit_protocol import BybitProtocol
from trailing.exchanges.ccxt.stream_protocol import (
    ConnectionExpired,
    Instrument,
    Message,
    RequestReply,
    decode_frame,
    order_side,
    position_updates,
)
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import PositionUpdate

BTC = "BTC/USDT:USDT"
INSTRUMENT = Instrument(BTC, "BTCUSDT", D(1))


class NoSession:
    client = None


def binance() -> BinanceProtocol:
    return BinanceProtocol(NoSession(), [INSTRUMENT])  # type: ignore[arg-type]


def bybit() -> BybitProtocol:
    return BybitProtocol(NoSession(), [INSTRUMENT])  # type: ignore[arg-type]


def read(protocol: BinanceProtocol | BybitProtocol, frame: dict[str, Any]) -> list[Message]:
    return list(protocol.parse(frame, 7.0))


def child(**changes: object) -> dict[str, Any]:
    """Return Binance's frame about the market order of a triggered stop."""
    order = {
        "s": "BTCUSDT",
        "c": "its own",
        "S": "SELL",
        "o": "MARKET",
        "x": "TRADE",
        "X": "FILLED",
        "i": 55,
        "l": "2",
        "L": "980",
    }
    return {"e": "ORDER_TRADE_UPDATE", "o": {**order, "R": True, "ps": "BOTH", **changes}}


def stop(**changes: object) -> dict[str, Any]:
    """Return Binance's frame about a stop."""
    algo = {"s": "BTCUSDT", "caid": "mine", "aid": 11, "S": "SELL", "ps": "BOTH", "X": "NEW", "ai": "", "q": "2"}
    return {"e": "ALGO_UPDATE", "o": {**algo, **changes}}


def fill_of(client_order_id: str, order_id: str, quantity: str = "2", status: str = "filled") -> OrderUpdate:
    fill = Fill(BTC, "long", D(quantity), D(980), order_id, client_order_id, 7.0)
    return OrderUpdate(BTC, "long", client_order_id, order_id, status, 7.0, fill)  # type: ignore[arg-type]


TRIGGERED = OrderUpdate(BTC, "long", "mine", "11", "triggered", 7.0)


def ended(reason: str, filled: D | None = None) -> OrderUpdate:
    return OrderUpdate(BTC, "long", "mine", "11", "cancelled", 7.0, filled=filled, reason=reason)


def test_a_fill_of_a_stop_s_market_order_is_reported_as_the_stop_s_in_either_order() -> None:
    protocol = binance()
    assert read(protocol, stop(X="TRIGGERED", ai="55")) == [TRIGGERED]
    assert read(protocol, child()) == [fill_of("mine", "11")]

    protocol = binance()
    assert read(protocol, child(l="1", X="PARTIALLY_FILLED")) == []
    assert read(protocol, stop(X="TRIGGERED", ai="55")) == [fill_of("mine", "11", "1", "partial")]
    assert read(protocol, child(l="1")) == [fill_of("mine", "11", "1")]
    assert read(protocol, stop(X="FINISHED", ai="55")) == []
    assert list(protocol.release_overdue(100.0)) == []


def test_a_fill_of_an_unrelated_market_order_is_reported_a_little_later_under_its_own_id() -> None:
    protocol = binance()
    assert read(protocol, child(l="1", X="PARTIALLY_FILLED")) == []
    assert read(protocol, child(l="1")) == []
    assert list(protocol.release_overdue(8.9)) == []
    assert list(protocol.release_overdue(9.0)) == [
        fill_of("its own", "55", "1", "partial"),
        fill_of("its own", "55", "1"),
    ]
    assert list(protocol.release_overdue(20.0)) == []
    # Linked very late: the fill is reported again under the stop's ids.
    assert read(protocol, stop(X="TRIGGERED", ai="55")) == [
        fill_of("mine", "11", "1", "partial"),
        fill_of("mine", "11", "1"),
    ]


@pytest.mark.parametrize("changes", [{"c": "tr0123456789abcdef0123"}, {"o": "LIMIT"}])
def test_a_fill_of_an_order_of_ours_or_of_a_limit_order_is_reported_at_once(changes: dict[str, Any]) -> None:
    protocol = binance()
    (update,) = read(protocol, child(**changes))
    assert update == fill_of(changes.get("c", "its own"), "55")
    assert list(protocol.release_overdue(100.0)) == []


def test_a_market_order_that_ended_before_it_was_linked_cancels_its_stop() -> None:
    protocol = binance()
    assert read(protocol, child(x="EXPIRED", X="EXPIRED")) == []
    assert read(protocol, stop(X="TRIGGERED", ai="55")) == [ended("EXPIRED")]


def test_an_unfilled_market_order_cancels_its_stop() -> None:
    protocol = binance()
    read(protocol, stop(X="TRIGGERED", ai="55"))
    assert read(protocol, child(x="NEW", X="NEW")) == []
    assert read(protocol, child(x="EXPIRED", X="EXPIRED")) == [ended("EXPIRED")]


@pytest.mark.parametrize(
    ("frame", "filled", "reason"),
    [
        (stop(X="REJECTED", rm="Reduce Only reject", aq="0.00000"), D(0), "Reduce Only reject"),
        (stop(X="REJECTED", rm="Reduce Only reject", ai="991"), None, "Reduce Only reject"),
        (stop(X="EXPIRED", rm="", ai="991"), None, "EXPIRED"),
        (stop(X="CANCELED", rm=""), None, ""),
        (stop(X="FINISHED", ai="55", aq="0.0", rm=""), D(0), "FINISHED"),
        (stop(X="FINISHED", ai="55", aq="1.5"), D("1.5"), "FINISHED"),
    ],
)
def test_a_partly_filled_stop_on_binance_is_cancelled_with_the_reason(
    frame: dict[str, Any], filled: D | None, reason: str
) -> None:
    protocol = binance()
    read(protocol, stop(X="TRIGGERING"))
    assert read(protocol, frame) == [ended(reason, filled)]


ENDED_AFTER_ITS_TRIGGER: list[tuple[dict[str, Any], D | None, str]] = [
    (stop(X="REJECTED", rm="Reduce Only reject", ai="55", aq="0.00000"), D(0), "Reduce Only reject"),
    (stop(X="EXPIRED", rm="", ai="55", aq="0.00000"), D(0), "EXPIRED"),
    (stop(X="CANCELED", rm="Reduce Only reject", ai="55"), None, "Reduce Only reject"),
    (stop(X="FINISHED", rm="", ai="55", aq="0.00000"), D(0), "FINISHED"),
]


@pytest.mark.parametrize(("frame", "filled", "reason"), ENDED_AFTER_ITS_TRIGGER)
def test_fm51_a_triggered_stop_that_the_matching_engine_refuses_is_gone_at_that_frame_with_the_reason(
    frame: dict[str, Any], filled: D | None, reason: str
) -> None:
    protocol = binance()
    read(protocol, stop(X="TRIGGERING"))
    read(protocol, stop(X="TRIGGERED", ai="55"))
    assert read(protocol, frame) == [ended(reason, filled)]


@pytest.mark.parametrize(("frame", "filled", "reason"), ENDED_AFTER_ITS_TRIGGER)
def test_fm51_the_stop_s_own_reason_is_reported_also_if_its_market_order_s_end_came_first(
    frame: dict[str, Any], filled: D | None, reason: str
) -> None:
    protocol = binance()
    read(protocol, stop(X="TRIGGERING"))
    assert read(protocol, child(x="EXPIRED", X="EXPIRED", l="0", L="0")) == []
    assert read(protocol, frame) == [ended(reason, filled)]
    assert list(protocol.release_overdue(100.0)) == []


def test_fm51_a_fill_that_came_before_the_stop_s_end_is_reported_before_it() -> None:
    protocol = binance()
    assert read(protocol, child(l="0.5", X="PARTIALLY_FILLED")) == []
    assert read(protocol, child(x="EXPIRED", X="EXPIRED", l="0", L="0")) == []
    frame = stop(X="EXPIRED", rm="", ai="55", aq="0.5")
    assert read(protocol, frame) == [fill_of("mine", "11", "0.5", "partial"), ended("EXPIRED", D("0.5"))]


def test_a_filled_stop_on_binance_is_reported_by_its_fills_only() -> None:
    protocol = binance()
    read(protocol, stop(X="TRIGGERED", ai="55"))
    assert read(protocol, child()) == [fill_of("mine", "11")]
    assert read(protocol, stop(X="FINISHED", ai="55", aq="2.000")) == []


def test_a_trigger_on_binance_is_reported_unless_the_fill_came_first() -> None:
    protocol = binance()
    assert read(protocol, stop(X="TRIGGERING", aq="0.00000")) == [msgspec.structs.replace(TRIGGERED, filled=D(0))]
    assert read(protocol, stop(X="TRIGGERED", ai="55")) == [TRIGGERED]
    assert read(protocol, child(c="mine", x="NEW", X="NEW")) == []

    protocol = binance()  # the market order kept a client order id of ours, so its fill is reported at once
    assert read(protocol, child(c="tr0123456789abcdef0123")) == [fill_of("tr0123456789abcdef0123", "55")]
    assert read(protocol, stop(caid="tr0123456789abcdef0123", X="TRIGGERED", ai="55")) == []


def test_a_fill_on_binance_has_a_trade_id_and_the_filled_quantity_so_far() -> None:
    protocol = binance()
    (first,) = read(protocol, child(c="tr0123456789abcdef0123", l="0.5", z="0.5", t=12345678, X="PARTIALLY_FILLED"))
    (second,) = read(protocol, child(c="tr0123456789abcdef0123", l="1.5", z="2.0", t=12345679))
    fills = [(update.fill.trade_id, update.filled) for update in (first, second)]  # type: ignore[union-attr]
    assert fills == [("12345678", D("0.5")), ("12345679", D(2))]
    (liquidated,) = read(protocol, child(x="CALCULATED", o="LIMIT", t=0))
    assert liquidated.fill.trade_id is None  # type: ignore[union-attr]


def test_a_held_fill_keeps_its_trade_id_and_filled_quantity() -> None:
    protocol = binance()
    assert read(protocol, child(t=9, z="2")) == []
    (update,) = read(protocol, stop(X="TRIGGERED", ai="55"))
    assert isinstance(update, OrderUpdate)
    assert (update.fill.trade_id, update.filled) == ("9", D(2))  # type: ignore[union-attr]


def test_an_order_that_binance_ended_has_a_reason_and_the_filled_quantity() -> None:
    frame = child(c="tr0123456789abcdef0123", x="EXPIRED", X="EXPIRED_IN_MATCH", z="0.5")
    (update,) = read(binance(), frame)
    assert update == OrderUpdate(
        BTC, "long", "tr0123456789abcdef0123", "55", "cancelled", 7.0, filled=D("0.5"), reason="EXPIRED_IN_MATCH"
    )


def test_the_number_of_remembered_orders_is_limited() -> None:
    protocol = binance()
    for number in range(600):
        read(protocol, child(i=number))
        read(protocol, stop(ai=str(10_000 + number)))
    assert len(protocol._stops) == len(protocol._unlinked) == 500


def test_a_contract_without_an_index_price_has_none() -> None:
    mark = {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1000.5", "i": "0.00000000"}
    assert read(binance(), mark) == [Tick(BTC, D("1000.5"), 7.0, "mark")]
    deltas = {"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "indexPrice": "1000.4"}}
    assert read(bybit(), deltas) == [Tick(BTC, D("1000.4"), 7.0, "index")]
    assert read(bybit(), {**deltas, "data": {"symbol": "BTCUSDT", "markPrice": ""}}) == []


def test_json_numbers_are_decoded_exactly() -> None:
    assert decode_frame('{"p": 0.1000000000000000055511151231257827}')["p"] == D("0.1000000000000000055511151231257827")


@pytest.mark.parametrize(
    ("frame", "messages"),
    [
        ({"result": None, "id": 3}, [RequestReply()]),
        (
            {"error": {"code": 2, "msg": "Invalid request"}, "id": 3},
            [RequestReply("{'code': 2, 'msg': 'Invalid request'}")],
        ),
        (
            {"code": 2, "msg": "Invalid request", "id": 3},
            [RequestReply("{'code': 2, 'msg': 'Invalid request', 'id': 3}")],
        ),
        ({"code": 0, "msg": "Unknown property"}, [RequestReply("{'code': 0, 'msg': 'Unknown property'}")]),
        ({"e": "ACCOUNT_UPDATE", "a": {"m": "FUNDING_FEE", "B": [{"a": "USDT"}]}}, []),
        ({"e": "ACCOUNT_UPDATE", "a": {"m": "FUNDING_FEE", "P": None}}, []),
        (stop(ai="0"), [OrderUpdate(BTC, "long", "mine", "11", "live", 7.0)]),
        (stop(X="EXPIRED"), [ended("EXPIRED")]),
        ({"e": "listenKeyExpired"}, [ConnectionExpired("the listen key has expired")]),
        ({"e": "MARGIN_CALL"}, []),
        (child(s="ETHBTC"), []),
        (stop(s="ETHBTC"), []),
        ({"e": "ACCOUNT_UPDATE", "a": {"P": [{"s": "ETHBTC", "pa": "1"}]}}, []),
    ],
)
def test_other_frames_of_binance_are_parsed(frame: dict[str, Any], messages: list[Message]) -> None:
    assert read(binance(), frame) == messages


@pytest.mark.parametrize("open_legs", [("LONG",), ("SHORT",), ("LONG", "SHORT"), ()])
def test_in_hedge_mode_the_entry_of_one_way_mode_on_binance_says_nothing(open_legs: tuple[str, ...]) -> None:
    entries = [
        {"s": "BTCUSDT", "pa": "0", "ps": "BOTH"},
        *({"s": "BTCUSDT", "pa": "2", "ps": leg} for leg in open_legs),
    ]
    frame = {"e": "ACCOUNT_UPDATE", "a": {"P": entries}}
    protocol = BinanceProtocol(NoSession(), [INSTRUMENT], hedged=True)  # type: ignore[arg-type]
    sides: dict[str, Side] = {"LONG": "long", "SHORT": "short"}
    assert read(protocol, frame) == [PositionUpdate(BTC, sides[leg], D(2), 7.0) for leg in open_legs]


@pytest.mark.parametrize(
    ("frame", "messages"),
    [
        ({"success": True, "op": "subscribe", "ret_msg": "", "req_id": "1"}, [RequestReply()]),
        ({"success": False, "op": "subscribe", "ret_msg": "handler not found"}, [RequestReply("handler not found")]),
        ({"success": False, "op": "auth"}, [RequestReply("refused without a reason")]),
        (
            {"op": "auth", "success": False, "retCode": 10003, "retMsg": "Invalid api key"},
            [RequestReply("Invalid api key")],
        ),
        ({"success": True, "ret_msg": "pong", "op": "ping"}, []),
        ({"op": "pong", "args": ["1"]}, []),
        ({"op": "else"}, []),
        ({"topic": "wallet", "data": []}, []),
        ({"topic": "order", "data": [{"category": "spot", "symbol": "BTCUSDT", "orderStatus": "New"}]}, []),
        ({"topic": "execution", "data": [{"category": "spot", "symbol": "BTCUSDT"}]}, []),
        ({"topic": "execution", "data": [{"category": "linear", "symbol": "BTCUSDT", "execType": "Funding"}]}, []),
        ({"topic": "position", "data": [{"category": "inverse", "symbol": "BTCUSD"}]}, []),
    ],
)
def test_other_frames_of_bybit_are_parsed(frame: dict[str, Any], messages: list[Message]) -> None:
    assert read(bybit(), frame) == messages


def bybit_order(**changes: object) -> dict[str, Any]:
    """Return Bybit's frame about a stop."""
    order = {"category": "linear", "symbol": "BTCUSDT", "orderId": "b-1", "orderLinkId": "mine", "side": "Sell"}
    order |= {"orderStatus": "Untriggered", "positionIdx": 0, "reduceOnly": True, "stopOrderType": "Stop"}  # type: ignore[dict-item]
    order |= {"cumExecQty": "0", "cancelType": "UNKNOWN", "rejectReason": "EC_NoError", **changes}  # type: ignore[dict-item]
    return {"topic": "order", "data": [order]}


def bybit_fill(**changes: object) -> dict[str, Any]:
    """Return Bybit's frame about an execution."""
    execution = {"category": "linear", "symbol": "BTCUSDT", "orderId": "b-1", "orderLinkId": "mine", "side": "Sell"}
    execution |= {"execType": "Trade", "execId": "0ab1bdf7", "execPrice": "980", "execQty": "0.5", "closedSize": "0.5"}
    execution |= {"orderQty": "2", "leavesQty": "1.2", **changes}  # type: ignore[dict-item]
    return {"topic": "execution", "data": [execution]}


def test_a_fill_on_bybit_has_a_trade_id_and_no_filled_quantity_so_far() -> None:
    (update,) = read(bybit(), bybit_fill())
    assert isinstance(update, OrderUpdate)
    assert (update.status, update.fill.trade_id, update.filled) == ("partial", "0ab1bdf7", None)  # type: ignore[union-attr]
    (update,) = read(bybit(), bybit_fill(leavesQty="0", execId=""))
    assert isinstance(update, OrderUpdate)
    assert (update.status, update.fill.trade_id, update.filled) == ("filled", None, None)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "live"),
        ({"orderStatus": "Triggered"}, "triggered"),
        ({"orderStatus": "New"}, "triggered"),
        ({"orderStatus": "New", "stopOrderType": ""}, "live"),
        ({"orderStatus": "New", "stopOrderType": "UNKNOWN"}, "live"),
    ],
)
def test_a_waiting_stop_on_bybit_differs_from_a_triggered_one(changes: dict[str, str], status: Any) -> None:
    assert read(bybit(), bybit_order(**changes)) == [OrderUpdate(BTC, "long", "mine", "b-1", status, 7.0, filled=D(0))]


@pytest.mark.parametrize("word", ["PartiallyFilled", "Filled", "Created"])
def test_an_order_frame_of_bybit_is_ignored_if_executions_report_it(word: str) -> None:
    assert read(bybit(), bybit_order(orderStatus=word)) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"orderStatus": "Cancelled", "cancelType": "CancelByUser", "rejectReason": ""}, "CancelByUser"),
        ({"orderStatus": "Deactivated", "cancelType": "CancelByReduceOnly"}, "CancelByReduceOnly"),
        ({"orderStatus": "Rejected", "rejectReason": "INSUFFICIENT_MARGIN"}, "INSUFFICIENT_MARGIN"),
        ({"orderStatus": "Rejected"}, ""),
    ],
)
def test_a_stop_that_bybit_ended_has_a_reason(changes: dict[str, str], reason: str) -> None:
    wanted = OrderUpdate(BTC, "long", "mine", "b-1", "cancelled", 7.0, filled=D("0.5"), reason=reason)
    assert read(bybit(), bybit_order(**changes, cumExecQty="0.5")) == [wanted]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (
            child(x="CALCULATED", X="NEW", o="LIMIT", l="0", L="0", t=0),
            "BTC/USDT:USDT: CALCULATED reports a fill of 0 at 0",
        ),
        (child(l="2", L="0"), "BTC/USDT:USDT: TRADE reports a fill of 2 at 0"),
        (child(l="0.000", L="980"), "BTC/USDT:USDT: TRADE reports a fill of 0.000 at 980"),
    ],
)
def test_fm53_a_fill_of_nothing_on_binance_is_skipped_and_requests_a_snapshot(frame: dict[str, Any], says: str) -> None:
    assert read(binance(), frame) == [Unreadable(says)]


def test_fm53_a_liquidation_without_a_fill_that_ended_is_reported_as_cancelled() -> None:
    frame = child(x="CALCULATED", X="EXPIRED", c="autoclose-1", o="LIMIT", l="0", L="0")
    assert read(binance(), frame) == [OrderUpdate(BTC, "long", "autoclose-1", "55", "cancelled", 7.0, reason="EXPIRED")]


OTHER_EXECUTIONS = ("CorporateAction", "MovePosition", "FutureSpread", "Settle", "UNKNOWN", "NewIn2027")


@pytest.mark.parametrize("kind", OTHER_EXECUTIONS)
@pytest.mark.parametrize("values", [{}, {"execQty": "0", "execPrice": "0", "side": "", "leavesQty": ""}])
def test_fm53_an_execution_of_bybit_that_is_no_trade_is_no_fill_and_requests_a_snapshot(
    kind: str, values: dict[str, str]
) -> None:
    frame = bybit_fill(execType=kind, **values)
    assert read(bybit(), frame) == [Unreadable(f"BTC/USDT:USDT: an execution of type {kind!r} is no fill")]


@pytest.mark.parametrize("kind", ["Trade", "AdlTrade", "BustTrade", "BlockTrade", "Delivery"])
def test_an_execution_of_bybit_that_is_a_trade_is_a_fill(kind: str) -> None:
    (update,) = read(bybit(), bybit_fill(execType=kind))
    assert isinstance(update, OrderUpdate)
    assert update.fill is not None


@pytest.mark.parametrize("changes", [{"execQty": "0"}, {"execPrice": "0"}, {"execQty": ""}, {"leavesQty": ""}])
def test_fm53_a_fill_of_bybit_with_an_empty_number_or_a_zero_requests_a_snapshot(changes: dict[str, str]) -> None:
    (skipped,) = read(bybit(), bybit_fill(**changes))
    assert isinstance(skipped, Unreadable)


def test_fm53_an_empty_number_costs_its_own_entry_only() -> None:
    entry = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "positionIdx": 0}
    frame = {"topic": "position", "data": [{**entry, "size": ""}, {**entry, "size": "0.5"}]}
    skipped, update = read(bybit(), frame)
    assert isinstance(skipped, Unreadable)
    assert update == PositionUpdate(BTC, "long", D("0.5"), 7.0)


def test_fm54_ids_that_come_as_numbers_are_text() -> None:
    updates = [
        *read(binance(), child(c=1578938, o="LIMIT", x="NEW", X="NEW")),
        *read(binance(), stop(caid=1578938)),
        *read(bybit(), bybit_order(orderLinkId=1578938, orderId=7)),
        *read(bybit(), bybit_fill(orderLinkId=1578938, orderId=7)),
    ]
    ids = [(each.client_order_id, each.order_id) for each in updates]  # type: ignore[union-attr]
    assert ids == [("1578938", "55"), ("1578938", "11"), ("1578938", "7"), ("1578938", "7")]
    (skipped,) = read(bybit(), bybit_order(orderLinkId={"id": 7}))
    assert isinstance(skipped, Unreadable)


def test_the_fast_executions_of_bybit_are_not_read() -> None:
    fast = {"category": "linear", "symbol": "BTCUSDT", "execId": "3510f361", "execPrice": "12.015", "execQty": "3000"}
    assert read(bybit(), {"topic": "execution.fast", "creationTime": 1716800399338, "data": [fast]}) == []


@pytest.mark.parametrize(
    ("closing", "leg", "reduces", "side"),
    [
        ("sell", "", True, "long"),
        ("buy", "both", True, "short"),
        ("sell", "", False, "short"),
        ("buy", "", False, "long"),
        ("sell", "long", True, "long"),
        ("sell", "short", False, "short"),
    ],
)
def test_the_side_of_an_order_is_that_of_its_position(closing: str, leg: str, reduces: bool, side: Side) -> None:
    assert order_side(closing, leg, reduces=reduces) == side


def test_a_flat_position_in_one_way_mode_clears_both_sides() -> None:
    instrument = Instrument(BTC, "BTCUSDT", D("0.01"))
    assert position_updates(instrument, "both", D(-3), 7.0) == (PositionUpdate(BTC, "short", D("0.03"), 7.0),)
    assert position_updates(instrument, "both", D(0), 7.0) == (
        PositionUpdate(BTC, "long", D(0), 7.0),
        PositionUpdate(BTC, "short", D(0), 7.0),
    )
    assert position_updates(instrument, "short", D(-3), 7.0) == (PositionUpdate(BTC, "short", D("0.03"), 7.0),)


def test_a_reason_from_the_venue_is_escaped() -> None:
    (update,) = read(binance(), stop(X="REJECTED", rm="\x1b[2Jgone\nforged"))
    assert isinstance(update, OrderUpdate)
    assert update.reason == r"\x1b[2Jgone\nforged"
