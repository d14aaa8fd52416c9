"""A stop that is filled, and takes the whole position with it, while the outcome of a request for it is unknown."""

from __future__ import annotations

from decimal import Decimal

import pytest
import trio
from worlds import a_position, open_world

from trailing import Market
from trailing.events import ExitFailed
from trailing.exchanges.port import OrderUpdate
from trailing.testing import At, Hangs, ReplyLost
from trailing.testing.faults import Fault


@pytest.mark.parametrize("fault", [ReplyLost(), Hangs()], ids=["carried out", "not carried out"])
async def test_a_position_that_was_filled_while_a_move_was_unknown_is_closed(
    autojump_clock: trio.testing.MockClock, fault: Fault
) -> None:
    markets = [Market("BTC/USDT:USDT", can_amend=True)]
    async with open_world(markets=markets, latency=0.1, exchange_faults={At("amend_stop"): fault}) as world:
        position = a_position()
        await world.protect(position, settle=0.0)
        async with world.exchange.updates() as updates:
            world.feed("102")  # it is moved, and the outcome is unknown
            await trio.sleep(1)
            world.feed("97")
            async for update in updates:
                if isinstance(update, OrderUpdate) and update.fill is not None:
                    assert update.fill.quantity == Decimal("1.5")
                    break
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert [event for event in world.events if isinstance(event, ExitFailed)] == []
        loaded = await world.load()
        assert (loaded.stops, loaded.intents) == ((), ())
        await world.check(position)
