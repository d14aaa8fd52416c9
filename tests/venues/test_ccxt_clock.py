"""A clock that is far from the venue's is named when an exchange is opened, and when it jumps."""

from __future__ import annotations

import logging

import pytest
from real_exchange import KEYS, VENUES, open_desk, open_server

from trailing import open_ccxt
from trailing.exchanges.ccxt.clock import clock_skew

pytestmark = pytest.mark.parametrize("venue", VENUES)

OFF = {
    "binanceusdm": "more than half of recvWindow (5 s)",
    "bybit": "more than half of recvWindow (5 s)",
    "okx": "more than half of the time for which the exchange accepts a request (10 s)",
}


@pytest.mark.parametrize(
    ("part", "says"), [(1.2, "behind"), (-1.2, "ahead of"), (0.8, None), (0.0, None)], ids=["+", "-", "less", "none"]
)
async def test_a_clock_that_differs_by_more_than_half_of_the_accepted_time_is_named_at_the_start(
    venue: str, part: float, says: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    skew = part * (5.0 if venue == "okx" else 2.5)
    async with open_server(venue) as server:
        server.clock.skew = skew
        with caplog.at_level(logging.WARNING):
            async with open_ccxt(venue, credentials=KEYS, configure=server.configure) as exchange:
                assert clock_skew(exchange.session.client) == pytest.approx(skew, abs=0.5)
                assert await exchange.positions() == []
        warnings = [record.getMessage() for record in caplog.records if "this computer's clock" in record.getMessage()]
        if says is None:
            assert warnings == []
        else:
            (warning,) = warnings
            assert warning.startswith(f"{venue}: this computer's clock is ")
            assert f" s {says} the exchange's, {OFF[venue]}" in warning


async def test_a_clock_that_jumps_later_is_named_too(venue: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_desk(venue) as desk:
        desk.server.clock.skew = 15.0 if venue == "okx" else -8.0
        await desk.exchange.positions()
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [OFF[venue] in warning for warning in warnings] == [True]
