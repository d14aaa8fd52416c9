"""Real payloads of venues, where their folder is at hand: each goes through its reader, and many have exact updates.

The payloads belong to another project and are not part of this repository. test_documented_frames.py has frames of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal as D
from typing import Any, Literal

import msgspec
import pytest
from captured import open_capture
from market_data import VENUE_PAYLOADS, needs_venue_payloads

from trailing import Fill, OrderUpdate, StopOrder, StopRequest, Tick, TrailingError
from trailing.core.account import PositionReport
from trailing.core.model import Side, Source
from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, RequestReply, parse_frame
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import OrderStatus, PositionUpdate

pytestmark = needs_venue_payloads

ALL = sorted(str(path.relative_to(VENUE_PAYLOADS)) for path in VENUE_PAYLOADS.rglob("*.json"))
ROWS: Mapping[str, str] = {"binance": "binanceusdm", "bybit": "bybit", "okx": "okx"}
"""The row of each top folder."""

SYMBOLS = {f"{base}USDT": f"{base}/USDT:USDT" for base in ("BTC", "ETH", "BNB", "LTC")}
SYMBOLS |= {f"{base}-USDT-SWAP": f"{base}/USDT:USDT" for base in ("BTC", "ETH")}
BTC, ETH, BNB = SYMBOLS["BTCUSDT"], SYMBOLS["ETHUSDT"], SYMBOLS["BNBUSDT"]
BINANCE_USER, BINANCE_MARKET = "binance/futures/user_data_json", "binance/futures/market_data_json"


HEDGED = frozenset({f"{BINANCE_USER}/account_update.json"})
"""The frames of an account in hedge mode: they have both sides of one symbol."""


class NoSession:
    client = None


def is_frame(name: str) -> bool:
    """Return whether a payload was pushed, and not replied to a request."""
    return "/ws_" in name or name.startswith((BINANCE_USER, BINANCE_MARKET))


def text_of(name: str) -> str:
    text = (VENUE_PAYLOADS / name).read_text()
    if name == "bybit/ws_account_position_with_open_time.json":  # an entry without its frame
        return f'{{"topic": "position", "data": [{text}]}}'
    return text


def read(name: str) -> list[Message]:
    """Return what the venue's stream protocol reads in a frame."""
    protocol = STREAM_PROTOCOLS.get(ROWS[name.partition("/")[0]])
    if protocol is None:
        pytest.skip("the venue has no stream protocol")
    instruments = [Instrument(symbol, venue_id, D(1)) for venue_id, symbol in SYMBOLS.items()]
    return list(parse_frame(protocol(NoSession(), instruments, name in HEDGED), text_of(name), 7.0))  # type: ignore[arg-type]


def fill(side: Side, quantity: str, price: str, ids: tuple[str, str], trade: str, symbol: str = BTC) -> Fill:
    return Fill(symbol, side, D(quantity), D(price), *ids, 7.0, trade)


def filled(status: Literal["partial", "filled"], of_it: Fill, total: str | None) -> list[Message]:
    own, number = of_it.client_order_id, of_it.order_id
    sums = None if total is None else D(total)
    return [OrderUpdate(of_it.symbol, of_it.side, own, number, status, 7.0, of_it, sums)]


def order(
    status: OrderStatus, side: Side, own: str, number: str, reason: str = "", *, symbol: str = BTC, total: str = "0"
) -> list[Message]:
    return [OrderUpdate(symbol, side, own, number, status, 7.0, filled=D(total), reason=reason)]


def tick(source: Source, price: str) -> Message:
    return Tick(BTC, D(price), 7.0, source)


def position(side: Side, quantity: str, symbol: str = BTC) -> Message:
    return PositionUpdate(symbol, side, D(quantity), 7.0)


FRAMES: Mapping[str, list[Message]] = {
    f"{BINANCE_USER}/account_update.json": [position("long", "20"), position("short", "10")],
    f"{BINANCE_USER}/account_update_bnfcr.json": [],
    f"{BINANCE_USER}/algo_update_canceled.json": order(
        "cancelled", "long", "Q5xaq5EGKgXXa0fD7fs0Ip", "2148719", "Reduce Only reject", symbol=BNB
    ),
    f"{BINANCE_USER}/algo_update_new.json": order("live", "long", "Q5xaq5EGKgXXa0fD7fs0Ip", "2148719", symbol=BNB),
    f"{BINANCE_USER}/order_update_adl.json": filled(
        "partial", fill("short", "0.005", "42000", ("8887001", "adl_autoclose_12345"), "12346001"), "0.005"
    ),
    f"{BINANCE_USER}/order_update_calculated.json": filled(
        "filled", fill("long", "0.014", "9910.12", ("8886999", "autoclose-1234567890"), "12345999"), "0.014"
    ),
    f"{BINANCE_USER}/order_update_calculated_pending.json": [Unreadable(f"{BTC}: CALCULATED reports a fill of 0 at 0")],
    f"{BINANCE_USER}/order_update_delivery.json": [],
    f"{BINANCE_USER}/order_update_insurance.json": filled(
        "partial", fill("long", "0.020", "45000", ("8887003", "autoclose-insurance-5678"), "12346003"), "0.020"
    ),
    f"{BINANCE_USER}/order_update_new.json": order("live", "long", "TEST", "8886774"),
    f"{BINANCE_USER}/order_update_settlement.json": filled(
        "filled", fill("long", "0.010", "50000", ("8887002", "settlement_autoclose-9999"), "12346002"), "0.010"
    ),
    f"{BINANCE_USER}/order_update_trade.json": filled(
        "partial", fill("long", "0.001", "7100.50", ("8886774", "TEST"), "12345678"), "0.001"
    ),
    f"{BINANCE_USER}/order_update_trade_partial.json": filled(
        "partial", fill("long", "0.001", "7100.50", ("8886774", "TEST"), "12345678"), "0.001"
    ),
    f"{BINANCE_USER}/trade_lite.json": [],
    f"{BINANCE_MARKET}/agg_trade_stream.json": [tick("last", "0.001")],
    f"{BINANCE_MARKET}/book_ticker_stream.json": [],
    f"{BINANCE_MARKET}/liquidation_stream.json": [],
    f"{BINANCE_MARKET}/mark_price_stream.json": [tick("mark", "11794.15"), tick("index", "11784.62659091")],
    f"{BINANCE_MARKET}/ticker_stream.json": [],
    f"{BINANCE_MARKET}/trade_stream.json": [],
    "bybit/ws_account_execution.json": filled(
        "filled",
        fill(
            "long",
            "0.5",
            "95900.1",
            ("9aac161b-8ed6-450d-9cab-c5cc67c21784", "test-order-link-001"),
            "0ab1bdf7-4219-438b-b30a-32ec863018f7",
        ),
        None,
    ),
    "bybit/ws_account_execution_adl.json": filled(
        "filled",
        fill(
            "long",
            "0.5",
            "95850",
            ("9aac161b-8ed6-450d-9cab-c5cc67c21785", ""),
            "0ab1bdf7-4219-438b-b30a-32ec863018f8",
        ),
        None,
    ),
    "bybit/ws_account_execution_fast.json": [],
    "bybit/ws_account_execution_fast_envelope_id.json": [],
    "bybit/ws_account_order.json": order("cancelled", "long", "client-1", "abcdef123456", "CancelByUser"),
    "bybit/ws_account_order_buy_stop_market.json": order(
        "live", "long", "test-client-buy-stop-market-001", "test-buy-stop-market-001"
    ),
    "bybit/ws_account_order_filled.json": [],
    "bybit/ws_account_order_limit_if_touched.json": order("live", "long", "test-client-lit-001", "test-lit-001"),
    "bybit/ws_account_order_market_if_touched.json": order("live", "long", "test-client-mit-001", "test-mit-001"),
    "bybit/ws_account_order_partially_filled_rejected.json": [],  # of the spot market
    "bybit/ws_account_order_sell_market_if_touched.json": order(
        "live", "short", "test-client-sell-mit-001", "test-sell-mit-001"
    ),
    "bybit/ws_account_order_stop_limit.json": order(
        "live", "short", "test-client-stop-limit-001", "test-stop-limit-001"
    ),
    "bybit/ws_account_order_stop_loss.json": order("live", "long", "test-client-sl-001", "test-stop-loss-001"),
    "bybit/ws_account_order_stop_market.json": order(
        "live", "short", "test-client-stop-market-001", "test-stop-market-001"
    ),
    "bybit/ws_account_order_take_profit.json": order("live", "long", "test-client-tp-001", "test-take-profit-001"),
    "bybit/ws_account_position.json": [position("short", "0.01", ETH)],
    "bybit/ws_account_position_short.json": [position("short", "0.01", ETH)],
    "bybit/ws_account_position_with_open_time.json": [position("long", "0.1")],
    "bybit/ws_auth_failure.json": [RequestReply("Invalid apikey")],
    "bybit/ws_auth_success.json": [RequestReply()],
    "bybit/ws_kline.json": [],
    "bybit/ws_order_response.json": [],
    "bybit/ws_public_trade.json": [],  # an older topic than the one that is subscribed
    "bybit/ws_subscription_ack.json": [RequestReply()],
    "bybit/ws_subscription_failure.json": [RequestReply("Invalid topic: invalid.topic.BTCUSDT")],
    "bybit/ws_ticker_linear.json": [tick("mark", "17217.33"), tick("index", "17227.36")],
    "okx/ws_trades.json": [Unreadable("KeyError: 'BTC-USD'")],  # no instrument that was subscribed
}


@pytest.mark.parametrize("name", FRAMES)
def test_fm53_a_recorded_frame_has_exactly_these_updates(name: str) -> None:
    assert read(name) == FRAMES[name]


@pytest.mark.parametrize("name", [name for name in ALL if is_frame(name)])
def test_fm53_no_recorded_frame_raises(name: str) -> None:
    for message in read(name):
        assert not isinstance(message, Unreadable) or FRAMES.get(name) == [message]


@pytest.mark.parametrize("name", [name for name in ALL if not is_frame(name)])
async def test_fm53_no_recorded_reply_raises_anything_but_our_errors(name: str) -> None:
    """Each is the reply to every request that reads something, also to those that it was never sent for."""
    venue, reply = ROWS[name.partition("/")[0]], msgspec.json.decode(text_of(name))
    async with open_capture(venue, lambda _: reply) as capture:
        exchange, symbol = capture.exchange, capture.symbol
        stop = StopOrder(symbol, "long", D(1), D(980), "tr0123456789abcdef0123", "1", "mark")
        request = StopRequest(symbol, "long", D(1), D(980), stop.client_order_id, "mark")
        for call in (
            exchange.open_stops,
            exchange.positions,
            lambda: exchange.find_stop(symbol, stop.client_order_id),
            lambda: exchange.price(symbol, "last"),
            lambda: exchange.place_stop(request),
            lambda: exchange.cancel_stop(stop),
        ):
            with suppress(TrailingError):
                await call()


def test_the_folder_is_complete() -> None:
    assert len(ALL) == 106
    assert FRAMES.keys() <= set(ALL)


async def listed(name: str, operation: str) -> Any:
    """Return a list of the account that the venue replies with a payload."""
    reply = msgspec.json.decode(text_of(name))
    async with open_capture(ROWS[name.partition("/")[0]], lambda _: reply) as capture:
        return await getattr(capture.exchange, operation)()


@pytest.mark.parametrize(
    ("name", "report", "left_out"),
    [
        (
            "binance/futures/http_json/position_risk.json",
            PositionReport(BTC, "long", D("0.001"), D(50000), D(45000)),
            set(),
        ),
        # The exchange of this test has one market only.
        (
            "bybit/http_get_positions.json",
            PositionReport(BTC, "long", D("0.5"), D(50000), D(45000)),
            {"position symbol ETHUSDT"},
        ),
    ],
)
async def test_a_recorded_list_of_positions_is_read_exactly(
    name: str, report: PositionReport, left_out: set[str]
) -> None:
    found = await listed(name, "positions")
    assert [*found] == [report]
    assert {text.partition(":")[0] for text in getattr(found, "left_out", ())} == left_out


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        # Binance documents `orderType`; this list has `type`. Its stop is not reduce-only.
        ("binance/futures/http_json/open_algo_orders.json", []),
        ("bybit/http_get_orders_realtime_tp_sl.json", []),  # the stop loss and take-profit of a position
    ],
)
async def test_a_recorded_list_of_foreign_orders_has_no_stop_at_market(name: str, left_out: list[str]) -> None:
    found = await listed(name, "open_stops")
    assert [*found] == []
    assert [text.rpartition(": ")[2] for text in getattr(found, "left_out", ())] == left_out
