"""What the frames of each venue say, where the order in which they come, or what they leave out, makes a difference."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing import Fill, OrderUpdate, Tick
from trailing.core.model import Side
from trailing.exchanges.ccxt.binance_dialect import BinanceDialect
from trailing.exchanges.ccxt.bybit_dialect import BybitDialect
from trailing.exchanges.ccxt.dialect import Answer, Expired, Heard, Place, frame_of, order_side, position_updates
from trailing.exchanges.port import PositionUpdate

BTC = "BTC/USDT:USDT"
PLACE = Place(BTC, "BTCUSDT", D(1))


class NoSession:
    client = None


def binance() -> BinanceDialect:
    return BinanceDialect(NoSession(), [PLACE])  # type: ignore[arg-type]


def bybit() -> BybitDialect:
    return BybitDialect(NoSession(), [PLACE])  # type: ignore[arg-type]


def read(dialect: BinanceDialect | BybitDialect, frame: dict[str, Any]) -> list[Heard]:
    return list(dialect.read(frame, 7.0))


def child(**changes: object) -> dict[str, Any]:
    """What Binance tells of the order at market that a stop has become."""
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
    """What Binance tells of a stop."""
    algo = {"s": "BTCUSDT", "caid": "mine", "aid": 11, "S": "SELL", "ps": "BOTH", "X": "NEW", "ai": "", "q": "2"}
    return {"e": "ALGO_UPDATE", "o": {**algo, **changes}}


def fill_of(client_order_id: str, order_id: str, quantity: str = "2", status: str = "filled") -> OrderUpdate:
    fill = Fill(BTC, "long", D(quantity), D(980), order_id, client_order_id, 7.0)
    return OrderUpdate(BTC, "long", client_order_id, order_id, status, 7.0, fill)  # type: ignore[arg-type]


TRIGGERED = OrderUpdate(BTC, "long", "mine", "11", "triggered", 7.0)


def ended(reason: str, filled: D | None = None) -> OrderUpdate:
    return OrderUpdate(BTC, "long", "mine", "11", "cancelled", 7.0, filled=filled, reason=reason)


def test_a_fill_of_what_a_stop_became_is_the_stops_whichever_word_comes_first() -> None:
    dialect = binance()
    assert read(dialect, stop(X="TRIGGERED", ai="55")) == [TRIGGERED]
    assert read(dialect, child()) == [fill_of("mine", "11")]

    dialect = binance()
    assert read(dialect, child(l="1", X="PARTIALLY_FILLED")) == []
    assert read(dialect, stop(X="TRIGGERED", ai="55")) == [fill_of("mine", "11", "1", "partial")]
    assert read(dialect, child(l="1")) == [fill_of("mine", "11", "1")]
    assert read(dialect, stop(X="FINISHED", ai="55")) == []
    assert list(dialect.overdue(100.0)) == []


def test_what_becomes_of_an_order_at_market_that_no_stop_has_become_is_told_a_little_later_under_its_own_id() -> None:
    dialect = binance()
    assert read(dialect, child(l="1", X="PARTIALLY_FILLED")) == []
    assert read(dialect, child(l="1")) == []
    assert list(dialect.overdue(8.9)) == []
    assert list(dialect.overdue(9.0)) == [fill_of("its own", "55", "1", "partial"), fill_of("its own", "55", "1")]
    assert list(dialect.overdue(20.0)) == []
    # Said after all, and very late: the stop's owner has to know, though somebody was told before.
    assert read(dialect, stop(X="TRIGGERED", ai="55")) == [
        fill_of("mine", "11", "1", "partial"),
        fill_of("mine", "11", "1"),
    ]


@pytest.mark.parametrize("changes", [{"c": "tr0123456789abcdef0123"}, {"o": "LIMIT"}])
def test_a_fill_of_an_order_of_ours_or_with_a_limit_is_told_at_once(changes: dict[str, Any]) -> None:
    dialect = binance()
    (told,) = read(dialect, child(**changes))
    assert told == fill_of(changes.get("c", "its own"), "55")
    assert list(dialect.overdue(100.0)) == []


def test_what_a_stop_became_and_ended_before_that_was_said_is_the_stop_that_is_gone() -> None:
    dialect = binance()
    assert read(dialect, child(x="EXPIRED", X="EXPIRED")) == []
    assert read(dialect, stop(X="TRIGGERED", ai="55")) == [ended("EXPIRED")]


def test_what_a_stop_became_and_was_not_filled_is_the_stop_that_is_gone() -> None:
    dialect = binance()
    read(dialect, stop(X="TRIGGERED", ai="55"))
    assert read(dialect, child(x="NEW", X="NEW")) == []
    assert read(dialect, child(x="EXPIRED", X="EXPIRED")) == [ended("EXPIRED")]


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
def test_a_stop_that_binance_ended_before_all_of_it_was_filled_is_gone_and_says_why(
    frame: dict[str, Any], filled: D | None, reason: str
) -> None:
    dialect = binance()
    read(dialect, stop(X="TRIGGERING"))
    assert read(dialect, frame) == [ended(reason, filled)]


def test_a_stop_that_binance_filled_wholly_is_told_by_its_fills_alone() -> None:
    dialect = binance()
    read(dialect, stop(X="TRIGGERED", ai="55"))
    assert read(dialect, child()) == [fill_of("mine", "11")]
    assert read(dialect, stop(X="FINISHED", ai="55", aq="2.000")) == []


def test_a_stop_that_binance_triggers_says_so_unless_its_fill_came_first() -> None:
    dialect = binance()
    assert read(dialect, stop(X="TRIGGERING", aq="0.00000")) == [msgspec.structs.replace(TRIGGERED, filled=D(0))]
    assert read(dialect, stop(X="TRIGGERED", ai="55")) == [TRIGGERED]
    assert read(dialect, child(c="mine", x="NEW", X="NEW")) == []

    dialect = binance()  # what the stop became has kept a client order id of ours: its fill is told at once
    assert read(dialect, child(c="tr0123456789abcdef0123")) == [fill_of("tr0123456789abcdef0123", "55")]
    assert read(dialect, stop(caid="tr0123456789abcdef0123", X="TRIGGERED", ai="55")) == []


def test_a_fill_on_binance_has_its_trade_id_and_says_how_much_of_its_order_is_filled_by_now() -> None:
    dialect = binance()
    (first,) = read(dialect, child(c="tr0123456789abcdef0123", l="0.5", z="0.5", t=12345678, X="PARTIALLY_FILLED"))
    (second,) = read(dialect, child(c="tr0123456789abcdef0123", l="1.5", z="2.0", t=12345679))
    told = [(update.fill.trade_id, update.filled) for update in (first, second)]  # type: ignore[union-attr]
    assert told == [("12345678", D("0.5")), ("12345679", D(2))]
    (liquidated,) = read(dialect, child(x="CALCULATED", o="LIMIT", t=0))
    assert liquidated.fill.trade_id is None  # type: ignore[union-attr]


def test_a_fill_that_was_kept_back_for_its_stop_keeps_its_trade_id_and_its_sum() -> None:
    dialect = binance()
    assert read(dialect, child(t=9, z="2")) == []
    (told,) = read(dialect, stop(X="TRIGGERED", ai="55"))
    assert isinstance(told, OrderUpdate)
    assert (told.fill.trade_id, told.filled) == ("9", D(2))  # type: ignore[union-attr]


def test_an_order_that_binance_ended_says_why_and_how_much_of_it_was_filled() -> None:
    frame = child(c="tr0123456789abcdef0123", x="EXPIRED", X="EXPIRED_IN_MATCH", z="0.5")
    (told,) = read(binance(), frame)
    assert told == OrderUpdate(
        BTC, "long", "tr0123456789abcdef0123", "55", "cancelled", 7.0, filled=D("0.5"), reason="EXPIRED_IN_MATCH"
    )


def test_only_so_many_orders_are_kept_in_mind() -> None:
    dialect = binance()
    for number in range(600):
        read(dialect, child(i=number))
        read(dialect, stop(ai=str(10_000 + number)))
    assert len(dialect._stops) == len(dialect._unclaimed) == 500


def test_a_contract_without_an_index_price_has_none() -> None:
    mark = {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1000.5", "i": "0.00000000"}
    assert read(binance(), mark) == [Tick(BTC, D("1000.5"), 7.0, "mark")]
    deltas = {"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", "indexPrice": "1000.4"}}
    assert read(bybit(), deltas) == [Tick(BTC, D("1000.4"), 7.0, "index")]
    assert read(bybit(), {**deltas, "data": {"symbol": "BTCUSDT", "markPrice": ""}}) == []


def test_numbers_come_exactly_though_they_are_no_texts() -> None:
    assert frame_of('{"p": 0.1000000000000000055511151231257827}')["p"] == D("0.1000000000000000055511151231257827")


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"result": None, "id": 3}, [Answer()]),
        ({"error": {"code": 2, "msg": "Invalid request"}, "id": 3}, [Answer("{'code': 2, 'msg': 'Invalid request'}")]),
        (
            {"code": 2, "msg": "Invalid request", "id": 3},
            [Answer("{'code': 2, 'msg': 'Invalid request', 'id': 3}")],
        ),
        ({"code": 0, "msg": "Unknown property"}, [Answer("{'code': 0, 'msg': 'Unknown property'}")]),
        ({"e": "ACCOUNT_UPDATE", "a": {"m": "FUNDING_FEE", "B": [{"a": "USDT"}]}}, []),
        ({"e": "ACCOUNT_UPDATE", "a": {"m": "FUNDING_FEE", "P": None}}, []),
        (stop(ai="0"), [OrderUpdate(BTC, "long", "mine", "11", "live", 7.0)]),
        (stop(X="EXPIRED"), [ended("EXPIRED")]),
        ({"e": "listenKeyExpired"}, [Expired("the listen key has expired")]),
        ({"e": "MARGIN_CALL"}, []),
        (child(s="ETHBTC"), []),
        (stop(s="ETHBTC"), []),
        ({"e": "ACCOUNT_UPDATE", "a": {"P": [{"s": "ETHBTC", "pa": "1"}]}}, []),
    ],
)
def test_what_binance_says_besides(frame: dict[str, Any], says: list[Heard]) -> None:
    assert read(binance(), frame) == says


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"success": True, "op": "subscribe", "ret_msg": "", "req_id": "1"}, [Answer()]),
        ({"success": False, "op": "subscribe", "ret_msg": "handler not found"}, [Answer("handler not found")]),
        ({"success": False, "op": "auth"}, [Answer("it was refused")]),
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
def test_what_bybit_says_besides(frame: dict[str, Any], says: list[Heard]) -> None:
    assert read(bybit(), frame) == says


def bybit_order(**changes: object) -> dict[str, Any]:
    """What Bybit tells of a stop."""
    order = {"category": "linear", "symbol": "BTCUSDT", "orderId": "b-1", "orderLinkId": "mine", "side": "Sell"}
    order |= {"orderStatus": "Untriggered", "positionIdx": 0, "reduceOnly": True, "stopOrderType": "Stop"}  # type: ignore[dict-item]
    order |= {"cumExecQty": "0", "cancelType": "UNKNOWN", "rejectReason": "EC_NoError", **changes}  # type: ignore[dict-item]
    return {"topic": "order", "data": [order]}


def bybit_fill(**changes: object) -> dict[str, Any]:
    """What Bybit tells of an execution."""
    execution = {"category": "linear", "symbol": "BTCUSDT", "orderId": "b-1", "orderLinkId": "mine", "side": "Sell"}
    execution |= {"execType": "Trade", "execId": "0ab1bdf7", "execPrice": "980", "execQty": "0.5", "closedSize": "0.5"}
    execution |= {"orderQty": "2", "leavesQty": "1.2", **changes}  # type: ignore[dict-item]
    return {"topic": "execution", "data": [execution]}


def test_a_fill_on_bybit_has_its_trade_id_and_does_not_say_how_much_of_its_order_is_filled_by_now() -> None:
    (told,) = read(bybit(), bybit_fill())
    assert isinstance(told, OrderUpdate)
    assert (told.status, told.fill.trade_id, told.filled) == ("partial", "0ab1bdf7", None)  # type: ignore[union-attr]
    (told,) = read(bybit(), bybit_fill(leavesQty="0", execId=""))
    assert isinstance(told, OrderUpdate)
    assert (told.status, told.fill.trade_id, told.filled) == ("filled", None, None)  # type: ignore[union-attr]


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
def test_a_stop_on_bybit_that_waits_is_told_from_one_that_has_triggered(changes: dict[str, str], status: Any) -> None:
    assert read(bybit(), bybit_order(**changes)) == [OrderUpdate(BTC, "long", "mine", "b-1", status, 7.0, filled=D(0))]


@pytest.mark.parametrize("word", ["PartiallyFilled", "Filled", "Created"])
def test_what_bybit_tells_by_executions_or_before_it_is_booked_is_not_told_by_an_order(word: str) -> None:
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
def test_a_stop_that_bybit_ended_says_why(changes: dict[str, str], reason: str) -> None:
    wanted = OrderUpdate(BTC, "long", "mine", "b-1", "cancelled", 7.0, filled=D("0.5"), reason=reason)
    assert read(bybit(), bybit_order(**changes, cumExecQty="0.5")) == [wanted]


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
def test_the_side_of_an_order_is_its_positions(closing: str, leg: str, reduces: bool, side: Side) -> None:
    assert order_side(closing, leg, reduces=reduces) == side


def test_a_flat_position_in_one_way_mode_is_of_either_side() -> None:
    place = Place(BTC, "BTCUSDT", D("0.01"))
    assert position_updates(place, "both", D(-3), 7.0) == (PositionUpdate(BTC, "short", D("0.03"), 7.0),)
    assert position_updates(place, "both", D(0), 7.0) == (
        PositionUpdate(BTC, "long", D(0), 7.0),
        PositionUpdate(BTC, "short", D(0), 7.0),
    )
    assert position_updates(place, "short", D(-3), 7.0) == (PositionUpdate(BTC, "short", D("0.03"), 7.0),)
