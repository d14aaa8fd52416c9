"""Each order on Bybit names the side of its position in hedge mode, and what closes is reduce-only there too.

ccxt leaves `reduceOnly` out of a request that has its parameter `hedged`.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal as D

import pytest
from captured import open_capture

from trailing import EntryRequest, StopRequest
from trailing.core.model import Side
from trailing.errors import ExchangeError

OURS = "tr00000000000000000001"


@pytest.mark.parametrize(("side", "index"), [("long", 1), ("short", 2)])
async def test_an_order_on_bybit_names_its_side_in_hedge_mode_and_only_an_entry_may_increase(
    side: Side, index: int
) -> None:
    async with open_capture("bybit", lambda _: {"retCode": 0, "result": {}}, hedged=True) as capture:
        exchange, symbol = capture.exchange, capture.symbol
        with suppress(ExchangeError):
            await exchange.close_position(symbol, side, D(1), OURS)
        with suppress(ExchangeError):
            await exchange.place_stop(StopRequest(symbol, side, D(1), D(900), OURS))
        with suppress(ExchangeError):
            await exchange.place_entry(EntryRequest(symbol, side, D(1), OURS))
        closed, stopped, entered = (each.params for each in capture.sent if each.path.endswith("/create"))
    assert (closed["positionIdx"], closed["reduceOnly"]) == (index, True)
    assert (stopped["positionIdx"], stopped["reduceOnly"]) == (index, True)
    assert (entered["positionIdx"], "reduceOnly" in entered) == (index, False)
    assert not {"hedged"} & (closed.keys() | stopped.keys() | entered.keys())
