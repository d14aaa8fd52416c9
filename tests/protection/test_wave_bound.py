"""How near a wave with lost replies comes to its bound, on the virtual clock: by each venue's own rate limits."""

from __future__ import annotations

import pytest
import trio.testing
from inspection.paper import use_limiter
from wave_bound import LATENCY, LOST_EVERY, WAVE, bound
from worlds import open_world, some_positions

from trailing import Protected
from trailing.exchanges.ccxt.limits import limits_of
from trailing.exchanges.ccxt.venue_limiter import open_limiter
from trailing.testing import At, ReplyLost


@pytest.mark.parametrize(("venue", "least"), [("binanceusdm", 0.4), ("bybit", 8.233), ("okx", 0.4)])
async def test_a_wave_with_lost_replies_ends_at_the_bound_of_the_venue_s_limits(
    venue: str, least: float, autojump_clock: trio.testing.MockClock
) -> None:
    limits = limits_of(venue)
    assert bound(limits) == pytest.approx(least, abs=0.001)
    lost = {At("place_stop", call=number): ReplyLost() for number in range(LOST_EVERY, WAVE + 1, LOST_EVERY)}
    positions = some_positions(WAVE)
    async with open_limiter(limits) as limiter, open_world(latency=LATENCY, exchange_faults=lost) as world:
        await world.enter(*positions)
        await trio.sleep(5.0)
        use_limiter(world.paper, limiter)
        report = await world.running.protect_wave(positions, deadline=40.0)
        assert all(isinstance(outcome, Protected) for outcome in report.outcomes)
        assert (world.calls("place_stop"), world.calls("find_stop")) == (WAVE, len(lost))
        assert len(await world.live()) == WAVE
    assert least - 0.001 <= report.elapsed <= 1.05 * least
