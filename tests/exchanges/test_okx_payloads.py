"""Recorded and documented payloads of OKX through the readers. They lie beside the repository, and are not part of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import market_data
import pytest
from captured import open_capture

from trailing import Fill, OrderUpdate, PositionReport, StopOrder, StopRejected, StopRequest, Tick
from trailing.errors import NoSuchStop
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.conversion import Raw, candles_of, markets_of, position_of, stop_of
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.margin_modes import MarginModes
from trailing.exchanges.ccxt.okx_protocol import OkxProtocol
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.port import OrderStatus

FOLDER = market_data.FULL / "venues" / "okx"
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
ROW = VENUES["okx"]

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the payloads are not beside the repository")


def payload(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


class FakeSession:
    def __init__(self) -> None:
        self.client = None
        self.margin_modes = MarginModes()


def read(name: str) -> list[Message]:
    """Return what a recorded frame becomes. A contract is 0.01 BTC or 0.1 ETH."""
    instruments = [Instrument(BTC, "BTC-USDT-SWAP", D("0.01")), Instrument(ETH, "ETH-USDT-SWAP", D("0.1"))]
    protocol = OkxProtocol(FakeSession(), instruments)  # type: ignore[arg-type]
    return list(parse_frame(protocol, (FOLDER / f"{name}.json").read_text(), 7.0))


def client() -> Any:
    """Return a client with the recorded markets."""
    made = make_client(ROW, Credentials("key", "secret", "password"))
    entries = payload("http_get_instruments_swap")["data"] + payload("http_get_instruments_futures")["data"]
    made.set_markets(made.parse_markets(entries))
    return made


def parsed(name: str, parse: Callable[[Any], Raw]) -> list[Raw]:
    return [parse(entry) for entry in payload(name)["data"]]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the payloads are not beside the repository")
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("ws_*.json")))
def test_every_recorded_frame_is_read_without_an_unreadable_entry(name: str) -> None:
    foreign = {"ws_tickers", "ws_candle", "ws_funding_rate", "ws_instruments", "ws_account", "ws_account_empty"}
    messages = read(name)
    if name == "ws_trades":  # of an instrument that is not subscribed
        assert [type(message) for message in messages] == [Unreadable]
        return
    assert not [message for message in messages if isinstance(message, Unreadable)]
    assert bool(messages) == (name not in foreign | {"ws_orders_fok", "ws_orders_ioc"})


def filled(symbol: str, side: Any, own_id: str, order_id: str, quantity: str, price: str, trade_id: str) -> OrderUpdate:
    fill = Fill(symbol, side, D(quantity), D(price), order_id, own_id, 7.0, trade_id)
    return OrderUpdate(symbol, side, own_id, order_id, "filled", 7.0, fill, D(quantity))


FILLS: Mapping[str, OrderUpdate] = {
    "ws_orders": filled(
        BTC, "long", "001BTCUSDT20250106001", "2497956918703120384", "0.0003", "103698.9", "1518905529"
    ),
    "ws_orders_adl": filled(ETH, "short", "", "2497956918703121000", "0.03", "41000.0", "1518906000"),
    "ws_orders_liquidation": filled(BTC, "long", "", "2497956918703120999", "0.005", "40000.0", "1518905999"),
    "ws_orders_optimal_limit_ioc": filled(
        BTC, "long", "OPTIMAL-IOC-TEST-001", "2497956918703120387", "0.001", "103750.25", "1518905532"
    ),
    # It names its stop only as `linkedAlgoOrd`, which OKX documents for the limit order of a take-profit.
    "ws_orders_trigger": filled(
        BTC, "long", "706620792746729474_0", "706620792746729999", "0.0001", "101950.0", "1518905530"
    ),
}


@pytest.mark.parametrize("name", FILLS)
def test_a_recorded_order_becomes_exactly_this_fill(name: str) -> None:
    assert read(name) == [FILLS[name]]


def test_the_recorded_algo_orders_become_exactly_these_updates() -> None:
    def update(number: int, side: Any, status: OrderStatus) -> OrderUpdate:
        own_id = f"STOP00{number}BTCUSDT20250120"
        return OrderUpdate(BTC, side, own_id, f"70662079274672947{number + 1}", status, 7.0)

    assert read("ws_orders_algo") == [
        update(1, "long", "live"),
        update(2, "short", "live"),
        update(3, "long", "triggered"),
        update(4, "short", "cancelled"),
    ]  # the fifth is filled, which its market order reports


def test_orders_of_spot_markets_are_ignored() -> None:
    assert read("ws_orders_fok") == read("ws_orders_ioc") == []


def test_the_recorded_markets_have_base_units_and_inverse_ones_are_left_out() -> None:
    markets = markets_of(ROW, client().markets)
    assert {symbol: (m.price_tick, m.quantity_step, m.min_quantity) for symbol, m in markets.items()} == {
        BTC: (D("0.1"), D("0.0001"), D("0.0001")),
        ETH: (D("0.01"), D("0.001"), D("0.001")),
    }
    assert (markets[BTC].contract_size, markets[BTC].can_amend) == (D("0.01"), True)


def test_the_recorded_position_has_its_leg_and_its_liquidation_price() -> None:
    made = client()
    (raw,) = parsed("http_get_positions", made.parse_position)
    report = PositionReport(BTC, "long", D("0.005"), D(10000), D(9000))
    assert position_of(ROW, markets_of(ROW, made.markets), raw) == report
    assert raw["marginMode"] == "isolated"


STOPS: Mapping[str, StopOrder | None] = {
    "http_get_orders_algo_pending": None,  # opens a position, by a limit order
    "http_get_orders_algo_pending_attached_oco": StopOrder(
        ETH, "long", D("0.001"), D(39000), "O-attached-oco", "oco-attached-algo", "last"
    ),
    "http_get_orders_algo_pending_close_fraction": None,  # of the whole position, without a quantity
    "http_get_orders_algo_history": None,  # has triggered
    "http_get_orders_pending": None,  # a plain order
    "http_get_orders_pending_with_attached_tp_sl": None,
    "http_get_orders_history": None,
}


@pytest.mark.parametrize("name", STOPS)
def test_a_recorded_list_contains_exactly_this_stop(name: str) -> None:
    made = client()
    (raw,) = parsed(name, made.parse_order)
    if name in {
        "http_get_orders_algo_pending",
        "http_get_orders_pending",
        "http_get_orders_pending_with_attached_tp_sl",
    }:
        assert raw["info"]["ordType"] not in ROW.lists.stops[0]["ordType"]  # never in the lists that are read
        return
    assert stop_of(ROW, markets_of(ROW, made.markets), raw) == STOPS[name]


def test_the_recorded_candles_are_read_oldest_first_by_ccxt_s_parser() -> None:
    made = client()
    rows = made.parse_ohlcvs(payload("http_get_candlesticks_full")["data"], made.market(BTC))
    bars = candles_of(BTC, "last", rows)
    assert [(bar.opened_at.isoformat(), bar.open, bar.close) for bar in bars] == [
        ("2025-05-12T23:53:00+00:00", D(102806), D("102806.1")),
        ("2025-05-12T23:54:00+00:00", D("102806.1"), D("102820.4")),
    ]


async def test_the_recorded_replies_acknowledge_or_reject_a_stop() -> None:
    request = StopRequest(BTC, "long", D("0.03"), D(49000), "tr0123456789abcdef0123", "mark")
    async with open_capture("okx", lambda _: payload("http_place_algo_order_response")) as capture:
        assert (await capture.exchange.place_stop(request)).order_id == "12345"
    async with open_capture("okx", lambda _: payload("http_cancel_algo_order_response")) as capture:
        await capture.exchange.cancel_stop(StopOrder(BTC, "long", D("0.03"), D(49000), "mine", "12345", "mark"))
    async with open_capture("okx", lambda _: payload("http_place_algo_order_rejected")) as capture:
        with pytest.raises(StopRejected) as caught:
            await capture.exchange.place_stop(request)
        assert not isinstance(caught.value, NoSuchStop)


async def test_the_recorded_prices_are_read() -> None:
    async with open_capture("okx", lambda _: payload("http_get_mark_price")) as capture:
        tick = await capture.exchange.price(BTC, "mark")
        assert tick == Tick(BTC, D("84660.1"), tick.at, "mark")
    async with open_capture("okx", lambda _: payload("http_get_index_price")) as capture:
        tick = await capture.exchange.price(BTC, "index")
        assert tick == Tick(BTC, D(103895), tick.at, "index")
        assert capture.sent[0].params == {"instId": "BTC-USDT"}


def test_every_payload_of_the_folder_is_read_here_or_has_nothing_that_is_read() -> None:
    unread = {
        *("http_get_trades", "http_get_funding_rate_history", "http_get_position_tiers", "http_get_candlesticks"),
        *("http_get_account_positions-history", "http_set_position_mode_response", "http_transaction_detail"),
        "http_place_order_response",
    }
    text = Path(__file__).read_text()
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert {name for name in names if f'"{name}"' not in text and not name.startswith("ws_")} <= unread
