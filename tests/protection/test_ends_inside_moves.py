"""A release, the end of the manager and the end of the program leave one stop, although a move is under way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from worlds import BTC, PLAN, SYMBOL, open_listened, open_world

from trailing import Market
from trailing.testing import At, Unreachable


@pytest.mark.parametrize("seconds", [0.2, 0.7])
async def test_a_release_that_keeps_the_stop_leaves_one_although_a_move_has_just_cancelled_it(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, two_stops=False) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(seconds)  # the cancellation is on its way
        await world.running.release(*BTC, cancel_stop=False)
        await trio.sleep(30)
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        assert stops or BTC in world.running.unprotected()


@pytest.mark.parametrize(("limits", "seconds"), [({"two_stops": False}, 0.2), ({"most_stops": 1}, 1.2)])
async def test_a_manager_that_ends_inside_a_move_leaves_a_stop(
    limits: dict[str, Any], seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, with_manager=False, **limits) as world:
        async with open_listened(world):
            await world.protect()
            world.feed("105")
            await trio.sleep(seconds)
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        assert stops


async def test_a_program_that_is_cancelled_inside_a_move_leaves_a_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, two_stops=False, with_manager=False) as world:
        with trio.CancelScope() as program:
            async with open_listened(world):
                await world.protect()
                world.feed("105")
                await trio.sleep(0.2)
                program.cancel()
                await trio.sleep_forever()
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        assert stops or world.alarms()


async def test_a_release_that_keeps_the_stop_leaves_one_stop_and_not_two(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(0.3)  # the new stop is on its way
        await world.running.release(*BTC, cancel_stop=False)
        await trio.sleep(200)
        assert [stop.price for stop in world.paper.actual(SYMBOL)[0]] == [Decimal("103.95")]


async def test_a_release_that_cancels_the_stop_cancels_it_although_another_release_came_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(0.2)

        async def release(*, cancel_stop: bool) -> None:
            await world.running.release(*BTC, cancel_stop=cancel_stop)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: release(cancel_stop=False))
            await trio.sleep(0.1)
            nursery.start_soon(lambda: release(cancel_stop=True))
        await trio.sleep(30)
        assert not world.paper.actual(SYMBOL)[0]


async def test_a_release_inside_a_move_returns_although_what_is_left_is_too_small_for_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market(SYMBOL, two_stops=False, quantity_step=Decimal("0.1"), min_quantity=Decimal("0.5"))
    async with open_world(
        latency=lambda operation, _: 1.0 if operation == "cancel_stop" else 0.0, markets=[market]
    ) as world:
        await world.protect()
        world.feed("110")
        await trio.sleep(0.6)  # the stop is cancelled, and the reply is on its way
        world.paper.reduce(*BTC, Decimal("1.3"))
        with trio.fail_after(900):
            await world.running.release(*BTC, cancel_stop=False)


@pytest.mark.parametrize(("failures", "is_covered"), [(3, True), (9, False)])
async def test_a_release_inside_a_move_tries_a_few_times_to_place_the_stop_that_it_keeps(
    failures: int, is_covered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, two_stops=False) as world:
        await world.protect()
        world.inject({At("place_stop", call=number): Unreachable() for number in range(1, failures + 1)})
        world.feed("105")
        await trio.sleep(0.2)  # the cancellation is on its way
        with trio.fail_after(60):
            await world.running.release(*BTC, cancel_stop=False)
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        assert bool(stops) is is_covered


async def test_a_stop_that_a_person_cancels_after_a_refused_take_down_releases_the_position_where_the_plan_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = replace(PLAN, on_stop_cancelled="release")
    async with open_world(latency=0.1, two_stops=False, plan=plan) as world:
        (stop,) = await world.protect()
        world.inject({At("cancel_stop"): Unreachable()})
        world.feed("105")
        await trio.sleep(3)
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(60)
        assert not world.paper.actual(SYMBOL)[0]
