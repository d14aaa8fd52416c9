"""What a recovery would do, found out before anybody does it."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
import trio.testing
from inspection.paper import set_liquidation_price
from worlds import BTC, PLAN, START, a_position, open_listened, open_world

import trailing
from trailing import ExchangeUnreachable, LeaseLost
from trailing.core.findings import (
    AdoptStop,
    NextRequest,
    NotListed,
    PositionFlat,
    Resize,
    Resume,
    StopAbsent,
    Tighten,
    Unresolved,
)
from trailing.exchanges.port import StopRequest
from trailing.stores.port import AddIntent, Intent
from trailing.testing import At, Hangs, Unreachable

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
        assert {call.operation for call in world.exchange.calls[calls:]} == {"open_stops", "positions", "find_stop"}
        told = {(action.symbol.partition("/")[0], type(action)) for action in actions}
        assert {("BTC", Resume), ("ETH", StopAbsent), ("ETH", NextRequest), ("SOL", Resize)} <= told
        async with open_listened(world) as manager:
            assert [str(action) for action in manager.recovered] == [str(action) for action in actions]
            await trio.sleep(10)
            await world.check(*positions)


async def test_a_rehearsal_waits_until_the_absence_of_a_stop_is_confirmed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, with_manager=False) as world:
        await world.protect_and_end(a_position())
        await trio.sleep(5)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        started = trio.current_time()
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert [type(action) for action in actions] == [StopAbsent, NextRequest]
        assert trio.current_time() - started >= 2 * world.exchange.orders_read_lag


async def test_a_rehearsal_does_not_wait_until_a_position_that_is_not_listed_is_confirmed_flat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, with_manager=False) as world:
        await world.protect_and_end(a_position())
        await trio.sleep(5)
        world.paper.reduce("BTC/USDT:USDT", "long", D("1.5"))
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert NotListed("BTC/USDT:USDT", "long") in actions
        assert not any(isinstance(action, PositionFlat) for action in actions)
        async with open_listened(world) as manager:
            assert [str(action) for action in manager.recovered] == [str(action) for action in actions]
            with trio.fail_after(160):  # its stop is still listed
                await manager.wait_closed()


async def test_a_rehearsal_does_not_wait_for_an_order_that_can_not_be_looked_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, exchange_faults={At("find_stop"): Hangs()}) as world:
        await world.protect_and_end(a_position())
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        started = trio.current_time()
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert trio.current_time() - started == PLAN.call_seconds
        assert Unresolved("BTC/USDT:USDT", "long", stop.client_order_id) in actions


async def test_a_rehearsal_finds_another_instance_at_work(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        request = StopRequest("BTC/USDT:USDT", "long", D("1.5"), D(97), "trffff0123456789abcdef")
        await world.paper.place_stop(request)
        with pytest.raises(LeaseLost, match="another instance"):
            await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert await trailing.plan_recovery(world.exchange, world.store, PLAN, take_over=True)


async def test_a_rehearsal_of_an_account_that_can_not_be_read_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.inject({At("open_stops"): Unreachable()})
        with pytest.raises(ExchangeUnreachable, match="the account can't be read now"):
            await trailing.plan_recovery(world.exchange, world.store, PLAN)


async def test_a_rehearsal_tightens_a_stop_beyond_the_liquidation_price(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position(side="short")
    async with open_world(leverage=10, with_manager=False) as world:
        await world.protect_and_end(position)
        set_liquidation_price(world.paper, position.symbol, "short", D("101.5"))
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        (tighten,) = [action for action in actions if isinstance(action, Tighten)]
        assert tighten.price < D("101.5")


async def test_a_rehearsal_adopts_a_stop_of_ours_that_no_record_has(autojump_clock: trio.testing.MockClock) -> None:
    position = a_position()
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(position)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        own = stop.client_order_id[:6] + "f" * 16  # with the mark of the same instance
        world.paper.place_by_hand(StopRequest(position.symbol, "long", D("1.5"), D(99), own))
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        adopted = [action for action in actions if isinstance(action, AdoptStop)]
        assert [(action.order.client_order_id, action.order.price) for action in adopted] == [(own, D(99))]


async def test_a_rehearsal_closes_the_record_of_a_position_that_had_ended_but_for_its_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        world.inject({At("cancel_stop"): Unreachable()})
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await manager.close(*BTC, deadline=5.0)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        world.inject({})
        actions = await trailing.plan_recovery(world.exchange, world.store, PLAN)
        assert PositionFlat(*BTC) in actions
        assert not any(isinstance(action, StopAbsent) for action in actions)


async def test_another_instance_that_begins_while_a_manager_opens_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world, trio.open_nursery() as others:
        await world.protect_and_end(a_position())
        never_sent = Intent(
            "paper", "default", *BTC, a_position().identity, "tr" + "0" * 20, "stop", D(1), D(98), START
        )
        await world.memory.commit([AddIntent(never_sent)])  # so that the validity of a request is waited for

        async def begin() -> None:
            await trio.sleep(1)
            world.paper.place_by_hand(StopRequest(BTC[0], "long", D("1.5"), D(97), "tr" + "f" * 20))

        others.start_soon(begin)
        async with open_listened(world):
            await trio.sleep(PLAN.reconcile_every)
            assert "another instance is at work on this account" in await world.stored_alarms()
