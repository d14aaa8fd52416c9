"""The fields of the OKX server's JSON, beside the recorded payloads of the venue where those are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from market_data import FULL
from okx_market import CONTRACTS, OkxMarket, OkxWanted, as_contract
from okx_shapes import (
    algo_order,
    candle,
    index_ticker,
    mark_price,
    plain_order,
    position,
    pushed_algo_order,
    pushed_order,
    shown_contract,
    ticker,
    transaction,
)
from venue_candles import Bar
from venue_market import INSTRUMENTS, Trigger

BTC = "BTC/USDT:USDT"
RECORDED = FULL / "venues" / "okx"


def rows() -> Mapping[str, Mapping[str, Any]]:
    """Return a row of each kind, by the name of a recorded payload that has the same kind."""
    market = OkxMarket(CONTRACTS, lambda: 1_800_000_000_000)
    market.enter(BTC, "buy", Decimal("0.8"), Decimal(1000))
    trigger = Trigger(Decimal(980), "last", rising=False)
    stop = market.place(
        OkxWanted(
            symbol=BTC,
            side="sell",
            quantity=Decimal("0.4"),
            client_order_id="mine",
            reduce_only=True,
            trigger=trigger,
            margin_mode="cross",
            algo_type="conditional",
        )
    )
    market.move_price(BTC, Decimal("980"), "last")
    order, (fill,), each = stop.execution, market.fills, CONTRACTS[0]
    assert order is not None
    return {
        "http_get_orders_algo_pending": algo_order(stop, market),
        "http_get_orders_algo_history": algo_order(stop, market),
        "http_get_orders_algo_pending_close_fraction": algo_order(stop, market),
        "ws_orders_algo": pushed_algo_order(stop, market, "effective", ""),
        "http_get_orders_pending": plain_order(order, market),
        "http_get_orders_history": plain_order(order, market),
        "ws_orders": pushed_order(order, market, fill),
        "ws_orders_trigger": pushed_order(order, market, fill),
        "http_transaction_detail": transaction(fill, market),
        "http_get_positions": position(BTC, "both", market.holding(BTC, "both"), market),
        "http_get_instruments_swap": shown_contract(each),
        "http_get_mark_price": mark_price(each, market),
        "http_get_index_price": index_ticker(each, market),
        "ws_tickers": ticker(each, market),
    }


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded payloads are not beside the repository")
@pytest.mark.parametrize("name", list(rows()))
def test_a_row_has_the_fields_of_the_recorded_one_and_their_types(name: str) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    first = recorded["data"][0] if "data" in recorded else recorded
    ours = rows()[name]
    assert first.keys() - ours.keys() == set()
    types = {key: (type(ours[key]), type(value)) for key, value in first.items() if key in ours}
    assert {key: pair for key, pair in types.items() if pair[0] is not pair[1]} == {}


def test_a_candle_of_trades_has_nine_entries_and_another_six() -> None:
    bar = Bar(1_800_000_000_000, Decimal(1), Decimal(3), Decimal("0.5"), Decimal(2))
    assert candle(bar, 1_800_000_060_000, traded=True) == ["1800000000000", "1", "3", "0.5", "2", "0", "0", "0", "1"]
    assert candle(bar, 1_800_000_059_999, traded=False) == ["1800000000000", "1", "3", "0.5", "2", "0"]


def test_numbers_are_text_without_an_exponent() -> None:
    for name, row in rows().items():
        for key, value in row.items():
            assert not (isinstance(value, str) and "E+" in value), (name, key)


def test_an_instrument_of_another_venue_s_test_is_a_contract_of_ten_steps() -> None:
    each = as_contract(INSTRUMENTS[0])
    shown = shown_contract(each)
    assert [shown[name] for name in ("instId", "ctVal", "lotSz", "minSz")] == ["BTC-USDT-SWAP", "0.01", "0.1", "0.1"]
    assert each.quantity_step == INSTRUMENTS[0].quantity_step
