"""A clock that is far from the venue's is named when an exchange is opened, and when it jumps."""

from __future__ import annotations

import logging

import pytest
from real_exchange import BUT_OKX, open_desk, open_server
from venue_server import API_KEY, SECRET

from trailing import Credentials, open_ccxt
from trailing.exchanges.ccxt.clock import clock_skew

pytestmark = pytest.mark.parametrize("venue", BUT_OKX)

OFF = "more than half of recvWindow (5 s)"


@pytest.mark.parametrize(("skew", "says"), [(3.0, "behind"), (-3.0, "ahead of"), (2.0, None), (0.0, None)])
async def test_a_clock_that_differs_by_more_than_half_of_recvwindow_is_named_at_the_start(
    venue: str, skew: float, says: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(venue) as server:
        server.clock.skew = skew
        with caplog.at_level(logging.WARNING):
            async with open_ccxt(
                venue, credentials=Credentials(API_KEY, SECRET), configure=server.configure
            ) as exchange:
                assert clock_skew(exchange.session.client) == pytest.approx(skew, abs=0.5)
                assert await exchange.positions() == []
        warnings = [record.getMessage() for record in caplog.records if OFF in record.getMessage()]
        if says is None:
            assert warnings == []
        else:
            (warning,) = warnings
            assert warning.startswith(f"{venue}: this computer's clock is ")
            assert f" s {says} the exchange's" in warning


async def test_a_clock_that_jumps_later_is_named_too(venue: str, caplog: pytest.LogCaptureFixture) -> None:
    async with open_desk(venue) as desk:
        desk.server.clock.skew = -8.0
        await desk.exchange.positions()
        assert [OFF in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [True]
