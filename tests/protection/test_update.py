"""Changing a position's plan while it runs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world

from trailing import Callback, Chandelier, History, Pacing, Percent, Refused, Rule, StopRejected, TrailPlan, UsageError
from trailing.core.plan import decode_plan
from trailing.errors import StoreError
from trailing.events import ExitStarted, PlanChanged, StopMoved
from trailing.testing import At, Fails, Hangs, Refuses, Slow, Unreachable

TIGHT = msgspec.structs.replace(PLAN, rules=(Callback(Percent("0.5")),))
STILL = msgspec.structs.replace(PLAN, rules=())


class FailsOnPurpose(Rule, frozen=True):
    """A rule that raises."""

    def propose(self, history: History) -> D | None:
        raise ZeroDivisionError


async def stored_plan(world: World) -> TrailPlan:
    (record,) = (await world.load()).stops
    return decode_plan(record.plan)


async def test_an_update_counts_at_once_is_stored_when_it_returns_and_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(plan=STILL)
        world.feed("104")
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == 98
        await world.running.update(*BTC, TIGHT)
        assert await stored_plan(world) == TIGHT
        (changed,) = [event for event in world.events if isinstance(event, PlanChanged)]
        assert (changed.symbol, changed.side) == BTC
        assert (decode_plan(changed.previous), decode_plan(changed.plan)) == (STILL, TIGHT)
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == D("103.48")
        await world.check(a_position())


async def test_an_update_that_wants_less_leaves_the_stop_where_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(5)
        await world.running.update(*BTC, TrailPlan(initial_stop=Percent(20)))
        world.feed("110")
        await trio.sleep(60)
        assert world.running.stops()[BTC].price == D("103.95")
        assert len([event for event in world.events if isinstance(event, StopMoved)]) == 1


async def test_an_updated_plan_is_the_one_after_a_restart(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await manager.update(*BTC, TIGHT)
        async with open_listened(world):
            assert world.claim().plan == TIGHT
            await trio.sleep(5)
            world.feed("104")
            await trio.sleep(5)
            assert world.running.stops()[BTC].price == D("103.48")


async def test_an_update_waits_for_an_opening_under_way(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
        await trio.sleep(0.5)
        started = trio.current_time()
        await world.running.update(*BTC, TIGHT)
        assert trio.current_time() - started == 1.5
        assert await stored_plan(world) == TIGHT


async def test_an_update_of_what_ended_meanwhile_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0) as world, trio.open_nursery() as nursery:
        wrong = a_position(entry_price=D(50))  # which is refused once the exchange has reported its own
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(wrong, deadline=5.0))
        await trio.sleep(0.5)
        with pytest.raises(UsageError, match="BTC/USDT:USDT long has ended"):
            await world.running.update(*BTC, TIGHT)


@pytest.mark.parametrize("plan", [None, "tight", {"initial_stop": "2%"}])
async def test_an_update_takes_plans_only(plan: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        with pytest.raises(UsageError, match="plan got .*, wants a TrailPlan"):
            await world.running.update(*BTC, plan)


async def test_a_position_that_is_not_protected_has_no_plan_to_update(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        with pytest.raises(UsageError, match="BTC/USDT:USDT long is not protected"):
            await world.running.update(*BTC, TIGHT)
        await world.protect()
        with pytest.raises(UsageError, match="BTC/USDT:USDT short is not protected"):
            await world.running.update(SYMBOL, "short", TIGHT)


# The trigger.


async def test_the_trigger_of_a_stop_that_stands_can_not_be_updated(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        with pytest.raises(UsageError, match="TrailPlan.trigger got 'mark', wants 'last', as long as a stop is live"):
            await world.running.update(*BTC, msgspec.structs.replace(TIGHT, trigger="mark"))
        assert world.claim().plan == await stored_plan(world) == PLAN
        assert not [event for event in world.events if isinstance(event, PlanChanged)]


async def test_an_unprotected_position_accepts_another_trigger_unless_a_stop_is_being_placed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    by_mark = msgspec.structs.replace(PLAN, trigger="mark")
    async with open_world(latency=2.0, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        await world.running.update(*BTC, by_mark)
        while not world.claim().is_at_work:
            await trio.sleep(0.01)
        with pytest.raises(UsageError, match="TrailPlan.trigger got 'last', wants 'mark', as long as a stop"):
            await world.running.update(*BTC, PLAN)
        await trio.sleep(30)
        assert world.running.stops()[BTC].source == "mark"
        await world.check(a_position())


async def test_a_trigger_is_not_updated_while_the_outcome_of_a_request_is_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect()
        with (
            world.claim().unknown_request(),
            pytest.raises(UsageError, match="as long as a stop is live, or may be, with that trigger"),
        ):
            await world.running.update(*BTC, msgspec.structs.replace(PLAN, trigger="mark"))


# Positions that are not as they should be.


async def test_an_unprotected_position_follows_the_policies_of_the_new_plan(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop"): Unreachable()}) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        await world.running.update(*BTC, msgspec.structs.replace(PLAN, on_unprotected="close"))
        with trio.fail_after(10):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()


async def test_a_position_of_unknown_outcome_is_updated_without_waiting_for_the_exchange(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = []
    faults: Any = lambda *_: Hangs() if down else None  # noqa: E731
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect()
        down.append(True)
        world.feed("105")
        await trio.sleep(12)
        assert world.claim().state == "unresolved"
        started = trio.current_time()
        await world.running.update(*BTC, TIGHT)
        assert trio.current_time() == started
        assert await stored_plan(world) == TIGHT
        down.clear()
        await trio.sleep(60)
        assert world.running.stops()[BTC].price == D("104.475")


async def test_a_rule_that_failed_is_out_of_the_way_with_its_plan(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(plan=msgspec.structs.replace(PLAN, rules=(FailsOnPurpose(),)))
        world.feed("104")  # which a frozen position does not hear
        await trio.sleep(60)
        world.feed("103.9")
        await trio.sleep(5)
        assert world.claim().is_frozen
        await world.running.update(*BTC, TIGHT)
        assert (world.claim().is_frozen, world.claim().error) == (False, None)
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == D("103.48")
        world.feed("106")
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == D("105.47")


async def test_a_task_that_failed_stays_frozen_whatever_the_plan(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect()
        world.inside.freeze(world.claim(), ZeroDivisionError())
        await world.running.update(*BTC, TIGHT)
        world.feed("110")
        await trio.sleep(10)
        assert world.claim().is_frozen
        assert world.running.stops()[BTC].price == 98


async def test_a_new_rule_that_fails_freezes_the_position_and_its_stop_stands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect()
        await world.running.update(*BTC, msgspec.structs.replace(PLAN, rules=(FailsOnPurpose(),)))
        await trio.sleep(1)
        assert "frozen: its stop stays live and is not moved" in world.alarms()
        assert world.running.stops()[BTC].price == 98


async def test_an_exit_that_only_the_old_plan_wanted_is_not_carried_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: Any = {At("place_stop"): Unreachable()}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        world.feed("97")
        world.claim().want_exit(later=True)
        await world.running.update(*BTC, msgspec.structs.replace(PLAN, on_would_trigger="keep"))
        await trio.sleep(30)
        assert len(await world.paper.positions()) == 1
        assert not [event for event in world.events if isinstance(event, ExitStarted)]


# Candles and pacing.


async def test_a_plan_without_rules_that_look_at_candles_builds_none(autojump_clock: trio.testing.MockClock) -> None:
    chandelier = msgspec.structs.replace(PLAN, rules=(Chandelier(D("1.5"), 2),))
    async with open_world(plan=chandelier) as world:
        await world.protect()
        assert world.claim().candle_builder is not None
        await world.running.update(*BTC, PLAN)
        assert world.claim().candle_builder is None


async def test_candles_are_built_as_the_new_plan_wants_them(autojump_clock: trio.testing.MockClock) -> None:
    minutes = msgspec.structs.replace(PLAN, rules=(Chandelier(D("1.5"), 2),))
    async with open_world() as world:
        await world.protect()
        assert world.claim().candle_builder is None
        await world.running.update(*BTC, minutes)
        builder = world.claim().candle_builder
        assert builder is not None
        await world.running.update(*BTC, msgspec.structs.replace(minutes, rules=(Chandelier(D(3), 4),)))
        assert world.claim().candle_builder is builder  # the bar under way goes on
        await world.running.update(*BTC, msgspec.structs.replace(minutes, candle_seconds=5.0))
        assert world.claim().candle_builder is not builder
        world.feed("100.5")
        await trio.sleep(5)
        world.feed("100.6")
        await trio.sleep(1)
        (candle,) = world.claim().record.candles
        assert (candle.opened_at, candle.seconds) == (START + timedelta(seconds=5), 5.0)
        await world.running.update(*BTC, PLAN)
        assert world.claim().candle_builder is None
        assert world.claim().record.candles == ()


async def test_a_deferred_move_is_made_when_the_new_plan_wants_it(autojump_clock: trio.testing.MockClock) -> None:
    slow = msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=3600.0))
    async with open_world() as world:
        await world.protect(plan=slow)
        world.feed("105")
        await trio.sleep(1)
        world.feed("106")
        await trio.sleep(60)
        assert world.running.stops()[BTC].price == D("103.95")
        await world.running.update(*BTC, msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=100.0)))
        await trio.sleep(30)
        assert world.running.stops()[BTC].price == D("103.95")
        await trio.sleep(15)
        assert world.running.stops()[BTC].price == D("104.94")


# The store.


@pytest.mark.parametrize("policy", ["protect", "refuse"])
async def test_an_update_that_the_store_does_not_take_counts_with_an_alarm_and_is_saved_later(
    policy: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(TIGHT, on_store_failure=policy)
    down: list[bool] = []
    faults: Any = lambda *_: Fails(StoreError("the disk is full")) if down else None  # noqa: E731
    async with open_world(latency=0.5, store_faults=faults) as world:
        await world.protect()
        down.append(True)
        await world.running.update(*BTC, plan)
        assert world.claim().plan == plan
        assert "the store does not hold what the exchange acknowledged" in world.alarms()
        assert await stored_plan(world) == PLAN
        world.feed("104")
        await trio.sleep(3)
        assert world.running.stops()[BTC].price == (D("103.48") if policy == "protect" else 98)
        down.clear()
        await trio.sleep(40)
        assert await stored_plan(world) == plan
        assert world.running.stops()[BTC].price == D("103.48")
        await world.check(a_position())


async def test_an_update_that_is_cancelled_while_the_store_takes_it_stays_and_is_stored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow: list[bool] = []
    faults: Any = lambda *_: Slow(0.5) if slow else None  # noqa: E731
    async with open_world(store_faults=faults) as world:
        await world.protect()
        slow.append(True)
        with trio.move_on_after(0.1) as scope:
            await world.running.update(*BTC, TIGHT)
        assert scope.cancelled_caught
        assert world.claim().plan == TIGHT
        assert [event for event in world.events if isinstance(event, PlanChanged)]
        await trio.sleep(1)
        assert await stored_plan(world) == TIGHT


async def test_what_comes_while_an_update_is_saved_is_saved_too(autojump_clock: trio.testing.MockClock) -> None:
    slow: list[bool] = []
    faults: Any = lambda *_: Slow(0.5) if slow else None  # noqa: E731
    async with open_world(store_faults=faults) as world, trio.open_nursery() as nursery:
        await world.protect()
        claim = world.claim()
        slow.append(True)
        nursery.start_soon(world.running.update, *BTC, STILL)
        await trio.sleep(0.2)
        world.paper.reduce(*BTC, D("0.5"))
        await trio.sleep(0.2)
        slow.clear()
        await trio.sleep(10)
        assert (await world.record()).quantity == 1
        assert decode_plan((await world.record()).plan) == STILL
        assert claim.is_stored


async def test_a_price_of_the_earlier_plans_source_closes_no_position(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        (stop,) = await world.protect()
        world.feed("100", source="mark")
        world.inject({At("place_stop"): Refuses(StopRejected("not now"))})
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(1)
        world.feed("97")
        with trio.fail_after(10):
            while not world.calls("price"):
                await trio.sleep(0.1)
        await world.running.update(*BTC, msgspec.structs.replace(PLAN, trigger="mark"))
        for _ in range(20):
            await trio.sleep(1)
            world.feed("100", source="mark")
        assert world.paper.actual(SYMBOL)[1]
