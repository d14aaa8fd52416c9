"""A market that the lists of stops and positions leave out is refused: a stop there would count as absent."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import captured
import pytest
from captured import open_capture

from trailing import StopRequest
from trailing.errors import UsageError

USUAL = captured.market
IN_USDC = {
    "id": "BTCPERP",
    "symbol": "BTC/USDC:USDC",
    "quote": "USDC",
    "settle": "USDC",
    "settleId": "USDC",
}
DATED = {
    "id": "BTC_USDT_20270326",
    "symbol": "BTC/USDT:USDT-270326",
    "type": "future",
    "swap": False,
    "future": True,
    "expiry": 1806048000000,
}


@pytest.mark.parametrize(("venue", "changes"), [("bitget", IN_USDC), ("gate", DATED)])
async def test_a_market_that_is_not_listed_is_refused_in_one_line(
    venue: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "market", lambda name: {**USUAL(name), **changes})
    async with open_capture(venue) as capture:
        with pytest.raises(
            UsageError, match=f"can't be protected on {venue}, because its lists .* leave this market out"
        ):
            await capture.exchange.place_stop(
                StopRequest(changes["symbol"], "long", D(1), D(900), "tr00000000000000000001")
            )
        with pytest.raises(UsageError, match="can't be protected"):
            capture.exchange.market(changes["symbol"])
        assert capture.sent == []


@pytest.mark.parametrize("venue", ["bitget", "gate"])
async def test_the_usual_market_is_not_refused(venue: str) -> None:
    async with open_capture(venue) as capture:
        assert capture.exchange.market(capture.symbol).symbol == capture.symbol
