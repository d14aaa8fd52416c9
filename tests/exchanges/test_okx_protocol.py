"""OKX's frames, in the form of https://www.okx.com/docs-v5/en/#overview-websocket and of its channels' pages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing import Credentials, Fill, OrderUpdate, Tick
from trailing.core.model import Side
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.margin_modes import MarginModes
from trailing.exchanges.ccxt.okx_protocol import OkxProtocol
from trailing.exchanges.ccxt.stream_protocol import ConnectionExpired, Instrument, Message, RequestReply, parse_frame
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.port import OrderStatus, PositionUpdate

BTC, BTC_MARCH = "BTC/USDT:USDT", "BTC/USDT:USDT-250328"
SWAP, MARCH = "BTC-USDT-SWAP", "BTC-USDT-250328"
OURS = "tr0123456789abcdef0123"


class FakeSession:
    """A session with a client that sends nothing."""

    def __init__(self) -> None:
        self.client = make_client(VENUES["okx"], Credentials("thekey", "thesecret", "thepassphrase"))
        self.margin_modes = MarginModes()


def okx(session: Any = None) -> OkxProtocol:
    instruments = [Instrument(BTC, SWAP, D("0.01")), Instrument(BTC_MARCH, MARCH, D("0.01"))]
    return OkxProtocol(session or FakeSession(), instruments)  # type: ignore[arg-type]


def read(frame: dict[str, Any], protocol: OkxProtocol | None = None) -> list[Message]:
    return list(parse_frame(protocol or okx(), json.dumps(frame), 7.0))


def pushed(channel: str, *entries: object, **frame: object) -> dict[str, Any]:
    return {"arg": {"channel": channel, "instType": "ANY", "uid": "77982378738415879"}, **frame, "data": list(entries)}


def order(**changes: object) -> dict[str, Any]:
    """Return a frame about the market order of our triggered stop, filled with 2 of 3 contracts."""
    entry = {"instType": "SWAP", "instId": SWAP, "ordId": "55", "clOrdId": "", "ordType": "market", "sz": "3"}
    entry |= {"algoId": "11", "algoClOrdId": OURS, "side": "sell", "posSide": "net", "reduceOnly": "true"}
    entry |= {"state": "partially_filled", "fillSz": "2", "fillPx": "980.5", "tradeId": "901", "accFillSz": "2"}
    entry |= {"category": "normal", "cancelSource": "", "source": "7", "code": "0", "msg": "", **changes}  # type: ignore[dict-item]
    return pushed("orders", entry)


def stop(**changes: object) -> dict[str, Any]:
    """Return a frame about our stop of 3 contracts."""
    entry = {"instType": "SWAP", "instId": SWAP, "algoId": "11", "algoClOrdId": OURS, "ordType": "conditional"}
    entry |= {"side": "sell", "posSide": "net", "sz": "3", "state": "live", "reduceOnly": "true", "slTriggerPx": "980"}
    entry |= {"slOrdPx": "-1", "slTriggerPxType": "mark", "actualSz": "0", "ordId": "", "ordIdList": [], "failCode": ""}  # type: ignore[dict-item]
    return pushed("orders-algo", {**entry, "amendResult": "", **changes})


def position(**changes: object) -> dict[str, Any]:
    """Return an entry about a long of 3 contracts."""
    entry = {"instType": "SWAP", "instId": SWAP, "posSide": "net", "mgnMode": "cross", "pos": "3", "avgPx": "1000"}
    return {**entry, **changes}


def update(status: OrderStatus, filled: D | None = None, reason: str = "", fill: Fill | None = None) -> OrderUpdate:
    return OrderUpdate(BTC, "long", OURS, "11", status, 7.0, fill, filled, reason)


def fill_of(order_id: str = "11", own_id: str = OURS, quantity: str = "0.02", side: Side = "long") -> Fill:
    return Fill(BTC, side, D(quantity), D("980.5"), order_id, own_id, 7.0, "901")


def test_a_fill_of_a_triggered_stop_has_the_stop_s_ids_a_trade_id_and_the_filled_quantity_so_far() -> None:
    assert read(order()) == [update("partial", D("0.02"), fill=fill_of())]
    assert read(order(state="filled", fillSz="1", accFillSz="3")) == [
        update("filled", D("0.03"), fill=fill_of(quantity="0.01"))
    ]


def test_a_fill_of_another_order_has_its_own_ids() -> None:
    (closed,) = read(order(algoId="", algoClOrdId="", clOrdId="mine", state="filled"))
    assert closed == OrderUpdate(BTC, "long", "mine", "55", "filled", 7.0, fill_of("55", "mine"), D("0.02"))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"state": "live"}, "live"),
        ({"state": "effective", "ordId": "55", "ordIdList": ["55"], "actualSz": "3"}, "triggered"),
        ({"state": "partially_effective", "ordIdList": ["55"]}, "triggered"),
        ({"state": "canceled"}, "cancelled"),
    ],
)
def test_a_stop_is_live_triggered_or_cancelled(changes: dict[str, object], status: OrderStatus) -> None:
    assert read(stop(**changes)) == [update(status)]


def test_a_trigger_that_arrives_after_the_fills_is_not_told_again() -> None:
    protocol = okx()
    assert read(order(state="live", fillSz="0", tradeId="", accFillSz="0"), protocol) == [update("triggered", D(0))]
    assert read(stop(state="effective"), protocol) == [update("triggered")]
    assert [each.status for each in read(order(), protocol)] == ["partial"]  # type: ignore[union-attr]
    assert read(stop(state="effective"), protocol) == []
    assert read(stop(state="effective", algoId="12"), protocol) != []


def test_an_order_that_names_its_stop_as_in_a_recorded_frame_is_known_if_the_stop_was_pushed() -> None:
    recorded = {
        "algoId": "",
        "algoClOrdId": "",
        "clOrdId": "11_0",
        "ordType": "trigger",
        "linkedAlgoOrd": {"algoId": "11"},
    }
    protocol = okx()
    own = update("partial", D("0.02"), fill=fill_of("55", "11_0"))
    assert [each.order_id for each in read(order(**recorded), protocol)] == ["55"]  # type: ignore[union-attr]
    read(stop(), protocol)
    assert read(order(**recorded), protocol) == [update("partial", D("0.02"), fill=fill_of())]
    (limit,) = read(order(**{**recorded, "ordType": "limit"}), protocol)  # of a take-profit, which names its stop-loss
    assert limit == msgspec.structs.replace(own, client_order_id="11_0", order_id="55")


def test_only_the_last_thousand_triggered_stops_are_remembered() -> None:
    protocol = okx()
    for number in range(1_001):
        read(order(algoId=str(number)), protocol)
    assert read(stop(state="effective", algoId="0"), protocol) != []
    assert read(stop(state="effective", algoId="1"), protocol) == []


def test_fm51_a_stop_whose_order_failed_is_cancelled_with_the_code() -> None:
    assert read(stop(state="order_failed", failCode="51008")) == [update("cancelled", reason="order_failed 51008")]
    assert read(stop(state="partially_failed", failCode="51169")) == [
        update("cancelled", reason="partially_failed 51169")
    ]
    assert read(stop(state="order_failed", failCode="\x1b[2J")) == [update("cancelled", reason=r"order_failed \x1b[2J")]


def test_a_triggered_stop_whose_market_order_is_cancelled_is_gone_with_the_reason() -> None:
    unfilled = {"state": "canceled", "fillSz": "0", "tradeId": "", "fillPx": "", "accFillSz": "1"}
    assert read(order(**unfilled, cancelSource="1")) == [update("cancelled", D("0.01"))]
    assert read(order(**unfilled, cancelSource="17")) == [
        update("cancelled", D("0.01"), "cancelSource 17 the position was already closed")
    ]
    assert read(order(**unfilled, cancelSource="99")) == [update("cancelled", D("0.01"), "cancelSource 99")]
    stated = "Reduce-only order was cancelled"
    assert read(order(**unfilled, cancelSource="22", cancelSourceReason=stated)) == [
        update("cancelled", D("0.01"), f"cancelSource 22 {stated}")
    ]


def test_an_order_that_is_not_filled_yet_is_live_unless_it_is_at_market() -> None:
    new = {"state": "live", "fillSz": "", "fillPx": "", "tradeId": "", "accFillSz": "0"}
    assert read(order(**new)) == [update("triggered", D(0))]
    assert read(order(**new, algoId="", algoClOrdId="", clOrdId="mine")) == []
    assert read(order(**new, algoId="", algoClOrdId="", clOrdId="mine", ordType="limit")) == [
        OrderUpdate(BTC, "long", "mine", "55", "live", 7.0, filled=D(0))
    ]
    assert read(order(**{**new, "state": "filled"})) == []  # OKX reports the fills apart


def test_an_amendment_that_okx_did_not_carry_out_has_the_account_read() -> None:
    assert read(stop(amendResult="0")) == [update("live")]
    assert read(stop(amendResult="-1")) == [update("live"), Unreadable(f"{BTC}: OKX did not amend the stop {OURS}")]


@pytest.mark.parametrize("category", ["full_liquidation", "partial_liquidation", "adl", "delivery"])
def test_an_order_by_which_okx_reduces_a_position_is_a_fill_of_that_position(category: str) -> None:
    ids = {"algoId": "", "algoClOrdId": "", "clOrdId": "", "reduceOnly": "false", "category": category}
    wanted = OrderUpdate(BTC, "long", "", "55", "partial", 7.0, fill_of("55", ""), D("0.02"))
    assert read(order(**ids)) == [wanted]
    assert read(order(**ids, side="buy", posSide="long")) == [wanted]
    (short,) = read(order(**ids, side="buy"))
    assert isinstance(short, OrderUpdate)
    assert short.side == "short"


@pytest.mark.parametrize(("leg", "side"), [("long", "long"), ("short", "short"), ("net", "long")])
def test_the_side_is_that_of_the_leg_in_long_short_mode(leg: str, side: Side) -> None:
    reduces = "true" if leg == "net" else "false"
    frames = (order(posSide=leg, reduceOnly=reduces), stop(posSide=leg, reduceOnly=reduces))
    assert [message.side for frame in frames for message in read(frame)] == [side, side]  # type: ignore[union-attr]


def test_prices_of_each_source_become_ticks_and_an_index_is_that_of_all_its_contracts() -> None:
    trades = {"arg": {"channel": "trades", "instId": SWAP}, "data": [{"instId": SWAP, "px": "999.5", "sz": "1"}] * 2}
    assert read(trades) == [Tick(BTC, D("999.5"), 7.0, "last")] * 2
    mark = {"arg": {"channel": "mark-price", "instId": MARCH}, "data": [{"instId": MARCH, "markPx": "1001.5"}]}
    assert read(mark) == [Tick(BTC_MARCH, D("1001.5"), 7.0, "mark")]
    index = {
        "arg": {"channel": "index-tickers", "instId": "BTC-USDT"},
        "data": [{"instId": "BTC-USDT", "idxPx": "998"}],
    }
    assert read(index) == [Tick(BTC, D(998), 7.0, "index"), Tick(BTC_MARCH, D(998), 7.0, "index")]
    assert okx().topics(BTC) == (f"trades:{SWAP}", f"mark-price:{SWAP}", "index-tickers:BTC-USDT")


def test_a_position_has_base_units_its_side_and_its_margin_mode() -> None:
    session = FakeSession()
    protocol = okx(session)
    assert read(pushed("positions", position()), protocol) == [PositionUpdate(BTC, "long", D("0.03"), 7.0)]
    assert session.margin_modes.get(BTC, "long") == "cross"
    turned = position(pos="-2", mgnMode="cross")
    assert read(pushed("positions", turned), protocol) == [PositionUpdate(BTC, "short", D("0.02"), 7.0)]
    assert [session.margin_modes.get(BTC, side) for side in ("long", "short")] == [None, "cross"]
    legs = [position(posSide="long", mgnMode="isolated"), position(posSide="short", pos="0")]
    assert read(pushed("positions", *legs), protocol) == [
        PositionUpdate(BTC, "long", D("0.03"), 7.0),
        PositionUpdate(BTC, "short", D(0), 7.0),
    ]
    assert [session.margin_modes.get(BTC, side) for side in ("long", "short")] == ["isolated", None]


def test_an_empty_position_of_the_other_margin_mode_does_not_make_a_position_flat() -> None:
    session = FakeSession()
    protocol = okx(session)
    read(pushed("positions", position()), protocol)
    empty = position(mgnMode="isolated", pos="0")
    assert read(pushed("positions", empty), protocol) == [PositionUpdate(BTC, "long", D("0.03"), 7.0)]
    assert session.margin_modes.get(BTC, "long") == "cross"
    assert read(pushed("positions", position(pos="0")), protocol) == [
        PositionUpdate(BTC, "long", D(0), 7.0),
        PositionUpdate(BTC, "short", D(0), 7.0),
    ]
    assert session.margin_modes.get(BTC, "long") is None


def test_a_snapshot_of_the_positions_replaces_what_was_pushed_before() -> None:
    session = FakeSession()
    protocol = okx(session)
    read(pushed("positions", position(), position(instId=MARCH)), protocol)
    only = position(mgnMode="isolated", pos="1")
    snapshot = pushed("positions", only, eventType="snapshot", curPage=1, lastPage=True)
    assert read(snapshot, protocol) == [PositionUpdate(BTC, "long", D("0.01"), 7.0)]
    assert session.margin_modes.get(BTC, "long") == "isolated"
    assert session.margin_modes.get(BTC_MARCH, "long") is None


@pytest.mark.parametrize(
    "frame",
    [
        order(instType="SPOT", instId="BTC-USDT"),
        stop(instId="BTC-USD-SWAP"),
        pushed("positions", position(instType="OPTION", instId="BTC-USD-250328-100000-C")),
        pushed("account", {"adjEq": ""}),
        {"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": "abcd1234"},
        {"event": "a new event", "connId": "abcd1234"},
    ],
)
def test_other_instruments_channels_and_events_are_ignored(frame: dict[str, Any]) -> None:
    assert read(frame) == []


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {**order()["data"][0], "fillSz": "1e400"},
        {**order()["data"][0], "fillPx": ""},
        {**order()["data"][0], "fillPx": "0"},
        {**order()["data"][0], "side": None},
    ],
)
def test_fm53_one_entry_that_can_not_be_read_costs_no_other(entry: object) -> None:
    good = order()["data"][0]
    first, second = read(pushed("orders", entry, good))
    assert isinstance(first, Unreadable)
    assert second == update("partial", D("0.02"), fill=fill_of())


def test_fm53_a_new_state_of_a_stop_has_the_account_read() -> None:
    (message,) = read(stop(state="paused for review"))
    assert message == Unreadable("KeyError: 'paused for review'")
    assert isinstance(read({"arg": {"channel": "orders"}})[0], Unreadable)


def test_a_pong_is_no_message() -> None:
    assert okx().heartbeat == "ping"
    assert list(parse_frame(okx(), "pong", 7.0)) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"}, RequestReply()),
        ({"event": "error", "code": "60009", "msg": "Login failed."}, RequestReply("60009 Login failed.")),
        ({"event": "error", "code": "60012", "msg": ""}, RequestReply("60012 refused without a reason")),
        (
            {"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade."},
            ConnectionExpired("The connection will soon be closed for a service upgrade."),
        ),
        (
            {"event": "error", "code": "60014", "msg": "Requests too frequent"},
            ConnectionExpired("Requests too frequent"),
        ),
        (
            {"event": "channel-conn-count-error", "channel": "orders", "connCount": "30", "connId": "a4d3ae55"},
            ConnectionExpired("too many connections for orders"),
        ),
    ],
)
def test_an_event_answers_a_request_or_ends_the_connection(frame: dict[str, Any], message: Message) -> None:
    assert read(frame) == [message]


def test_okx_confirms_each_topic_of_a_subscription_by_itself() -> None:
    protocol = okx()
    topics = protocol.topics(BTC)
    sent = json.loads(protocol.subscription_message(3, topics, subscribe=True))
    assert sent == {
        "id": "3",
        "op": "subscribe",
        "args": [
            {"channel": "trades", "instId": SWAP},
            {"channel": "mark-price", "instId": SWAP},
            {"channel": "index-tickers", "instId": "BTC-USDT"},
        ],
    }
    replies = [
        read({"event": "subscribe", "arg": argument, "connId": "1"}, protocol)
        for argument in (sent["args"][2], sent["args"][0], sent["args"][1])
    ]
    assert replies == [[RequestReply(topic=topic)] for topic in (topics[2], topics[0], topics[1])]
    assert json.loads(protocol.subscription_message(4, topics[:1], subscribe=False))["op"] == "unsubscribe"
    assert read({"event": "unsubscribe", "arg": sent["args"][0], "connId": "1"}, protocol) == [
        RequestReply(topic=topics[0])
    ]


async def test_the_account_needs_two_connections_with_a_login_each() -> None:
    session = FakeSession()
    protocol = okx(session)
    session.client.options["timeDifference"] = 3000
    session.client.milliseconds = lambda: 1_700_000_003_999
    private, business = protocol.account_topics
    assert await protocol.account_url(private) == "wss://ws.okx.com:443/ws/v5/private"
    assert await protocol.account_url(business) == "wss://ws.okx.com:443/ws/v5/business"
    assert await protocol.price_url() == "wss://ws.okx.com:443/ws/v5/public"
    login = json.loads(protocol.login_message() or "")
    (keys,) = login["args"]
    stamp = str(1_700_000_000 - 20)  # dated back as the requests are, which OKX accepts for 30 s
    digest = hmac.new(b"thesecret", f"{stamp}GET/users/self/verify".encode(), hashlib.sha256).digest()
    assert login["op"] == "login"
    assert keys == {
        "apiKey": "thekey",
        "passphrase": "thepassphrase",
        "timestamp": stamp,
        "sign": base64.b64encode(digest).decode(),
    }
    arguments = [
        json.loads(protocol.subscription_message(1, topics, subscribe=True))["args"] for topics in (private, business)
    ]
    assert arguments == [
        [
            {"channel": "orders", "instType": "ANY"},
            {"channel": "positions", "instType": "ANY", "extraParams": '{"updateInterval": "0"}'},
        ],
        [{"channel": "orders-algo", "instType": "ANY"}],
    ]


async def test_the_test_network_has_its_own_addresses_and_a_header() -> None:
    session = FakeSession()
    session.client.set_sandbox_mode(True)
    protocol = okx(session)
    urls = [await protocol.account_url(topics) for topics in protocol.account_topics]
    assert urls == [f"wss://wspap.okx.com:443/ws/v5/{path}?brokerId=9999" for path in ("private", "business")]
    assert session.client.headers["x-simulated-trading"] == "1"
