"""The manager's overview: what it shows of each position, and of the health of stream, store and lease."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import trio
from worlds import BTC, SYMBOL, World, a_position, open_world

from trailing import PositionOverview, UnprotectedTime
from trailing.testing import At, Hangs, Refuses

D = Decimal


def only(world: World) -> PositionOverview:
    """The only position of the overview."""
    (view,) = world.running.overview().positions
    return view


async def test_a_protected_position_is_shown_with_price_stop_moves_and_its_unprotected_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        (stop,) = await world.protect(settle=4.0)
        world.feed("101")
        await trio.sleep(3.0)
        view = only(world)
        assert (view.position, view.quantity, view.price, view.price_age) == (a_position(), D("1.5"), D(101), 3.0)
        assert (stop.price, view.state, view.moves) == (D("98.0"), "trailing", 1)
        assert view.stop == world.running.stops()[BTC]
        assert (view.is_unprotected, view.unprotected_for, view.error) == (False, 0.0, "")
        assert view.unprotected_time == UnprotectedTime(opening=1.0)
        overview = world.running.overview()
        assert (overview.health.exchange, overview.health.account) == ("paper", world.paper.account)
        assert overview.price_age == 3.0


async def test_a_position_that_waits_for_its_stop_is_shown_with_the_seconds_so_far(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("place_stop"): Refuses()}) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
        await trio.sleep(5.0)
        view = only(world)
        assert (view.stop, view.state, view.is_unprotected) == (None, "unprotected", True)
        assert view.unprotected_for is not None
        assert view.unprotected_for == view.unprotected_time.total >= 5.0
        assert view.error == "refused on purpose"


async def test_a_position_that_no_task_works_on_is_shown_as_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(exchange_faults={At("place_stop"): Refuses()}) as world:
        await world.enter(a_position())
        plan = msgspec.structs.replace(world.plan, on_unprotected="report")
        await world.running.protect(a_position(), deadline=2.0, plan=plan)
        await trio.sleep(5.0)
        view = only(world)
        assert (view.position, view.state, view.is_unprotected) == (a_position(), "given up", True)
        assert (view.stop, view.price_age, view.unprotected_for) == (None, None, None)
        assert view.error == "refused on purpose"
        assert world.running.overview().price_age is None


async def test_the_health_shows_a_lost_stream_until_it_is_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        assert world.running.overview().health.stream_connected
        world.paper.disconnect()
        await trio.sleep(1.0)
        assert not world.running.overview().health.stream_connected
        world.paper.reconnect()
        await trio.sleep(1.0)
        assert world.running.overview().health.stream_connected


async def test_the_health_shows_what_the_store_has_not_written(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(store_faults={At("commit"): Hangs()}) as world:
        await world.enter(a_position())
        with trio.move_on_after(5.0) as scope:
            await world.running.protect(a_position(), deadline=20.0)
        assert scope.cancelled_caught is False
        health = world.running.health()
        assert health.journal.waiting > 0
        assert health.journal_is_behind


async def test_the_lease_of_a_process_is_shown_as_held_without_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        health = world.running.overview().health
        assert health.lease_seconds == math.inf
        assert (health.journal.waiting, health.journal_is_behind) == (0, False)


async def test_a_lost_lease_is_shown_without_seconds(autojump_clock: trio.testing.MockClock) -> None:
    with trio.CancelScope() as scope:
        async with open_world() as world:
            manager = world.running
            scope.cancel()
    assert manager.health().lease_seconds == 0.0


async def test_an_overview_is_a_value_that_later_events_do_not_change(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        before = world.running.overview()
        copy = msgspec.structs.replace(before)
        world.feed("110", SYMBOL)
        await trio.sleep(5)
        assert before == copy != world.running.overview()
