"""What a restart finds where the process was killed inside the move of a stop."""

from __future__ import annotations

from decimal import Decimal as D

import trio
import trio.testing
from worlds import BTC, START, a_position, open_listened, open_world

from trailing import Percent, Position, StopOrder, TrailPlan
from trailing.protection.order_ids import OrderIds
from trailing.stores.port import AddIntent, Intent

PLAN = TrailPlan(initial_stop=Percent(2), call_seconds=10.0)


def an_intent(position: Position, stop: StopOrder, client_order_id: str) -> Intent:
    """A move of a stop to 99, as it was written down before it was sent."""
    return Intent(
        exchange="paper",
        account="default",
        symbol=position.symbol,
        side=position.side,
        identity=position.identity,
        client_order_id=client_order_id,
        purpose="stop",
        quantity=stop.quantity,
        price=D(99),
        at=START,
    )


async def test_a_restart_reads_again_as_soon_as_a_change_of_a_stop_can_not_be_executed_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(plan=PLAN, can_amend=True, request_validity=3.0, with_manager=False) as world:
        await world.enter(position)
        async with open_listened(world) as manager:
            await manager.protect(position, deadline=5.0)
        (stop,) = await world.live()
        intent = an_intent(position, stop, stop.client_order_id)
        await world.memory.commit([AddIntent(intent)])
        restarted = trio.current_time()
        async with open_listened(world) as manager:
            assert trio.current_time() == restarted + 3.0
            assert manager.stops()[BTC] == stop
            await trio.sleep(10)
            await world.check(position)
        assert (await world.memory.load("paper", world.paper.account)).intents == ()


async def test_a_move_of_a_position_in_whose_place_another_one_stands_is_settled_with_its_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(plan=PLAN, with_manager=False) as world:
        await world.enter(position)
        async with open_listened(world) as manager:
            await manager.protect(position, deadline=5.0)
        (stop,) = await world.live()
        # Killed in between: this one was never sent, and the old stop was filled.
        await world.memory.commit([AddIntent(an_intent(position, stop, OrderIds().new()))])
        world.feed("97")
        await world.enter(a_position(entry_price=D(97), id="another"))
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert BTC in manager.unprotected()
            loaded = await world.load()
            (listed,) = loaded.stops  # so that it is listed after a restart, too
            assert (listed.state, listed.is_abandoned, listed.position.entry_price) == ("closed", True, D(97))
            assert loaded.intents == ()
