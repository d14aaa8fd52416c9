"""Client order ids that a venue sends as numbers, on a venue whose field our code parses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from captured import open_capture

from trailing import PartialList

ORDER: Mapping[str, Any] = {
    "instType": "SWAP",
    "instId": "BTC-USDT-SWAP",
    "ordType": "conditional",
    "state": "live",
    "side": "sell",
    "posSide": "net",
    "reduceOnly": "true",
    "sz": "2",
    "slTriggerPx": "980",
    "slTriggerPxType": "last",
    "slOrdPx": "-1",
    "cTime": "1700000000000",
}


def pending(*orders: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": [{**ORDER, **order} for order in orders]}


async def test_fm54_a_numeric_id_of_a_foreign_order_is_read_as_text() -> None:
    answer = pending({"algoId": 1, "algoClOrdId": 1578938}, {"algoId": "2", "algoClOrdId": "tr00000000000000000001"})
    async with open_capture("okx", lambda _: answer) as capture:
        stops = await capture.exchange.open_stops()
        assert not isinstance(stops, PartialList)
        assert [stop.client_order_id for stop in stops] == ["1578938", "tr00000000000000000001"]


@pytest.mark.parametrize("strange", [True, {"id": 7}, ["7"]])
async def test_fm54_an_order_whose_id_is_no_text_and_no_number_is_left_out(strange: Any) -> None:
    answer = pending({"algoId": "1", "algoClOrdId": strange}, {"algoId": "2", "algoClOrdId": "tr00000000000000000001"})
    async with open_capture("okx", lambda _: answer) as capture:
        stops = await capture.exchange.open_stops()
        assert isinstance(stops, PartialList)
        assert [stop.client_order_id for stop in stops] == ["tr00000000000000000001"]
        assert "client order id got" in stops.left_out[0]
