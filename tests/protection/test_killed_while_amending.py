"""What a restart finds where the process was killed while a stop was being changed in place."""

from __future__ import annotations

from decimal import Decimal as D

import trio
import trio.testing
from worlds import START, a_position, open_listened, open_world

from trailing import Percent, TrailPlan
from trailing.core.model import Side
from trailing.stores.port import AddIntent, Intent

PLAN = TrailPlan(initial_stop=Percent(2), call_seconds=10.0)
BTC: tuple[str, Side] = ("BTC/USDT:USDT", "long")


async def test_a_restart_reads_again_as_soon_as_a_change_of_a_stop_can_not_be_executed_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(plan=PLAN, can_amend=True, request_validity=3.0, with_manager=False) as world:
        await world.enter(position)
        async with open_listened(world) as manager:
            await manager.protect(position, deadline=5.0)
        (stop,) = await world.live()
        symbol, side = BTC
        intent = Intent(
            exchange="paper",
            account=world.paper.account,
            symbol=symbol,
            side=side,
            identity=position.identity,
            client_order_id=stop.client_order_id,
            purpose="stop",
            quantity=stop.quantity,
            price=D(99),
            at=START,
        )
        await world.memory.commit([AddIntent(intent)])
        restarted = trio.current_time()
        async with open_listened(world) as manager:
            assert trio.current_time() == restarted + 3.0
            assert manager.stops()[BTC] == stop
            await trio.sleep(1)
            await world.check(position)
        assert (await world.memory.load("paper", world.paper.account)).intents == ()
