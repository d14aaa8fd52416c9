"""Bybit's stops of positions in lists: recognised by the entry that carried them, whatever else a list contains."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from captured import open_capture

from trailing.exchanges.port import PartialList

ENTRY = "tr0123456789abcdef0123"
STOP = {
    "symbol": "BTCUSDT",
    "orderId": "b-1",
    "orderLinkId": "",
    "parentOrderLinkId": ENTRY,
    "side": "Sell",
    "orderType": "Market",
    "orderStatus": "Untriggered",
    "stopOrderType": "StopLoss",
    "tpslMode": "Full",
    "qty": "0.01",
    "leavesQty": "0.01",
    "cumExecQty": "0",
    "triggerPrice": "48000.5",
    "triggerBy": "MarkPrice",
    "triggerDirection": 2,
    "reduceOnly": True,
    "closeOnTrigger": True,
    "positionIdx": 0,
}
HELD = {"symbol": "BTCUSDT", "side": "Buy", "size": "0.03", "avgPrice": "49000", "positionIdx": 0}


def reply(*rows: Any) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": list(rows), "nextPageCursor": ""}}


def answer(*stops: Any, held: tuple[Any, ...] = (HELD,)) -> Any:
    def of_url(url: str) -> Any:
        return reply(*(held if "/position/list" in url else stops if "USDC" not in url else ()))

    return of_url


async def test_a_bridge_has_the_quantity_of_its_position_and_the_id_of_its_entry() -> None:
    async with open_capture("bybit", answer(STOP)) as capture:
        (stop,) = await capture.exchange.open_stops()
    assert (stop.client_order_id, stop.quantity, stop.order_id) == (ENTRY, Decimal("0.03"), "b-1")
    assert (stop.price, stop.source, stop.side) == (Decimal("48000.5"), "mark", "long")


@pytest.mark.parametrize(
    "changes",
    [
        {"parentOrderLinkId": ""},
        {"parentOrderLinkId": "theirs"},
        {"parentOrderLinkId": 7},
        {"parentOrderLinkId": None},
        {"stopOrderType": "TakeProfit"},
        {"stopOrderType": "TrailingStop"},
    ],
)
async def test_another_stop_of_a_position_stays_unlisted_and_costs_no_reading_of_positions(
    changes: dict[str, Any],
) -> None:
    async with open_capture("bybit", answer({**STOP, **changes})) as capture:
        assert [*await capture.exchange.open_stops()] == []
        assert not any("position" in sent.path for sent in capture.sent)


@pytest.mark.parametrize(
    ("changes", "held", "left_out"),
    [
        ({}, (), False),  # the position is listed later
        ({"qty": "0", "leavesQty": "0"}, (), True),
        ({"qty": "", "leavesQty": ""}, (), True),
        ({"qty": "many", "leavesQty": "many"}, (), True),
        ({"triggerBy": "Nonsense"}, (HELD,), True),
        ({"side": "Buy", "triggerDirection": 1}, ({**HELD, "size": "0"},), False),
    ],
)
async def test_a_bridge_whose_position_is_not_listed_has_its_own_quantity_or_makes_the_list_partial(
    changes: dict[str, Any], held: tuple[Any, ...], *, left_out: bool
) -> None:
    async with open_capture("bybit", answer({**STOP, **changes}, held=held)) as capture:
        stops = await capture.exchange.open_stops()
    assert isinstance(stops, PartialList) == left_out
    assert [stop.quantity for stop in stops] == ([] if left_out else [Decimal("0.01")])


async def test_a_limit_order_behind_a_stop_of_a_position_is_no_stop_of_ours() -> None:
    async with open_capture("bybit", answer({**STOP, "orderType": "Limit"})) as capture:
        stops = await capture.exchange.open_stops()
    assert isinstance(stops, PartialList)
