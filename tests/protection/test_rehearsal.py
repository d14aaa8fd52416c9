"""What a recovery would do, found out before anybody does it."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
import trio.testing
from worlds import PLAN, a_position, open_listened, open_world

import trailing
from trailing import LeaseLost
from trailing.core.actions import PlaceStop, PositionFlat, Resize, Resume, StopAbsent
from trailing.exchanges.port import StopRequest

ETH = "ETH/USDT:USDT"


async def test_a_rehearsal_says_what_the_recovery_then_does_and_writes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = [a_position(), a_position(ETH), a_position("SOL/USDT:USDT")]
    async with open_world(latency=0.5, orders_read_lag=1.0, positions_read_lag=1.0, with_manager=False) as world:
        await world.protect_and_end(*positions)
        await trio.sleep(2)
        (stop,) = [order for order in await world.live() if order.symbol == ETH]
        world.paper.cancel_by_hand(stop.client_order_id)
        world.paper.reduce("SOL/USDT:USDT", "long", D("0.5"))
        commits, calls = world.memory.commits, len(world.exchange.calls)
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert world.memory.commits == commits
        assert {call.operation for call in world.exchange.calls[calls:]} == {"open_stops", "positions"}
        told = {(action.symbol.partition("/")[0], type(action)) for action in actions}
        assert {("BTC", Resume), ("ETH", StopAbsent), ("ETH", PlaceStop), ("SOL", Resize)} <= told
        async with open_listened(world) as manager:
            assert [str(action) for action in manager.recovered] == [str(action) for action in actions]
            await trio.sleep(10)
            await world.check(*positions)


async def test_a_rehearsal_waits_until_an_absence_can_be_believed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, with_manager=False) as world:
        await world.protect_and_end(a_position())
        await trio.sleep(5)
        world.paper.reduce("BTC/USDT:USDT", "long", D("1.5"))
        started = trio.current_time()
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert any(isinstance(action, PositionFlat) for action in actions)
        assert trio.current_time() - started >= 2 * world.exchange.orders_read_lag


async def test_a_rehearsal_finds_another_instance_at_work(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        request = StopRequest("BTC/USDT:USDT", "long", D("1.5"), D(97), "trffff0123456789abcdef")
        await world.paper.place_stop(request)
        with pytest.raises(LeaseLost, match="another instance"):
            await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert await trailing.plan_recovery(world.exchange, world.store, PLAN, take_over=True)
