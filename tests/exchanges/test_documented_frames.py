"""Each documented frame has exactly its updates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from documented_entry_frames import ENTRIES, OURS, bybit_entry_execution, bybit_entry_frame, entry_update
from documented_frames import AT, BTC, DOCUMENTED, MS, Frame, bybit_fill_frame, bybit_order_frame
from okx_frames import CONTRACT, ENDING, INSTRUMENT, OKX_FRAMES

from trailing import OrderUpdate
from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.margin_modes import MarginModes
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame


class NoSession:
    def __init__(self) -> None:
        self.client: Any = None
        self.margin_modes = MarginModes()


@pytest.mark.parametrize(
    ("venue", "frame", "messages"),
    [
        pytest.param(venue, frame, messages, id=f"{venue}: {name}")
        for venue, cases in (*DOCUMENTED.items(), *ENTRIES.items(), ("okx", (*OKX_FRAMES, *ENDING)))
        for name, frame, messages in cases
    ],
)
def test_fm53_a_documented_frame_has_exactly_these_updates(venue: str, frame: Frame, messages: list[Message]) -> None:
    instrument = Instrument(BTC, INSTRUMENT, CONTRACT) if venue == "okx" else Instrument(BTC, "BTCUSDT", Decimal(1))
    protocol = STREAM_PROTOCOLS[venue](NoSession(), [instrument], False)  # type: ignore[arg-type]
    assert list(parse_frame(protocol, msgspec.json.encode(frame).decode(), AT)) == messages


def test_the_first_execution_of_an_entry_on_bybit_tells_its_time_also_after_its_order() -> None:
    def read(frame: Frame) -> list[Message]:
        return list(parse_frame(protocol, msgspec.json.encode(frame).decode(), AT))

    first = bybit_entry_frame(orderStatus="PartiallyFilled", cumExecQty="0.1", avgPrice="61000.1")
    second = bybit_entry_frame(orderStatus="Filled", cumExecQty="0.3", avgPrice="61000.1")
    known = entry_update("0.1", "61000.1", order_id="b-701", first_ms=MS)
    ended = entry_update("0.3", "61000.1", order_id="b-701", first_ms=MS, ended=True)
    for order_first in (True, False):
        protocol = STREAM_PROTOCOLS["bybit"](NoSession(), [Instrument(BTC, "BTCUSDT", Decimal(1))], False)  # type: ignore[arg-type]
        if order_first:
            assert read(first) == [entry_update("0.1", "61000.1", order_id="b-701")]
            assert read(bybit_entry_execution()) == [known]
        else:
            assert read(bybit_entry_execution()) == []
            assert read(first) == [known]
        assert read(bybit_entry_execution(execQty="0.2", leavesQty="0", execTime=str(MS + 50))) == []
        assert read(second) == [ended]


def test_the_fills_of_a_stop_that_an_entry_carried_on_bybit_are_told_under_the_id_of_the_entry() -> None:
    protocol = STREAM_PROTOCOLS["bybit"](NoSession(), [Instrument(BTC, "BTCUSDT", Decimal(1))], False)  # type: ignore[arg-type]
    placed = bybit_order_frame(orderLinkId="", stopOrderType="StopLoss", parentOrderLinkId=OURS)
    updates: list[OrderUpdate] = []
    for frame in (placed, bybit_fill_frame(orderLinkId="")):
        (update,) = parse_frame(protocol, msgspec.json.encode(frame).decode(), AT)
        assert isinstance(update, OrderUpdate)
        updates.append(update)
    assert {(each.client_order_id, each.side) for each in updates} == {(OURS, "long")}
    fill = updates[-1].fill
    assert fill is not None
    assert fill.client_order_id == OURS
