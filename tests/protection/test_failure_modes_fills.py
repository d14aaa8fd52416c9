"""Ways in which positions lost their protection: fills that were pushed twice, late or in the wrong order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import trio
from inspection.paper import push_update
from worlds import BTC, World
from wrong_venues import open_wrong_world, requests

from trailing.events import PositionClosed, StopFilled
from trailing.exchanges.port import OrderUpdate, PositionUpdate, Update

D = Decimal

HALF = D("0.5")
"""`partial_fills`: one tick fills half of what was ordered."""


def filled_quantities(world: World) -> list[Decimal]:
    """The quantity of every fill of a stop that the manager counted."""
    return [event.quantity for event in world.events if isinstance(event, StopFilled)]


async def assert_closed_as_reported(world: World, prices: Sequence[str]) -> None:
    """Assert that the position ends, with half of it sold at each of two prices, and that no stop was placed for it."""
    with trio.fail_after(60):
        await world.running.wait_closed()
    (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
    assert closed.quantity == D("1.5")
    assert closed.profit == sum((D(price) - 100) * D("0.75") for price in prices)
    assert requests(world, "place_stop") == 1
    assert await world.live() == ()


# 45: a partial fill that was pushed twice was counted twice.


def is_fill(update: Update) -> bool:
    """Whether an update carries a fill."""
    return isinstance(update, OrderUpdate) and update.fill is not None


async def test_fm45_a_partial_fill_that_is_pushed_twice_is_counted_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(partial_fills=HALF) as (world, venue):
        await world.protect()
        venue.push = lambda update: (update, update) if is_fill(update) else (update,)
        world.feed("97.5")
        await trio.sleep(1)
        assert filled_quantities(world) == [D("0.75")]
        assert [stop.quantity for stop in world.running.stops().values()] == [D("0.75")]
        world.feed("97")
        await assert_closed_as_reported(world, ["97.5", "97"])
        assert filled_quantities(world) == [D("0.75"), D("0.75")]


async def test_fm45_a_partial_fill_that_is_pushed_again_later_is_counted_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(partial_fills=HALF) as (world, venue):
        await world.protect()
        fills: list[Update] = []

        def note(update: Update) -> Iterable[Update]:
            fills.extend([update] if is_fill(update) else [])
            return (update,)

        venue.push = note
        world.feed("97.5")
        await trio.sleep(1)
        push_update(world.paper, fills[0])
        await trio.sleep(0.5)
        assert filled_quantities(world) == [D("0.75")]
        assert [stop.quantity for stop in world.running.stops().values()] == [D("0.75")]
        world.feed("97")
        await trio.lowlevel.checkpoint()
        push_update(world.paper, fills[0])
        await assert_closed_as_reported(world, ["97.5", "97"])


async def test_fm45_fills_that_come_late_and_in_the_wrong_order_are_counted_once_each(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The venue pushes no positions. The first fill comes a second after the second one.

    Assumes that the last fill says that the stop is gone, although its own quantity is half of the order's, and that no
    stop is placed for what the late fill has sold. The report counts both fills, or says that the profit is unknown.
    """
    async with open_wrong_world(partial_fills=HALF) as (world, venue):
        await world.protect()
        late: list[Update] = []

        def push(update: Update) -> Iterable[Update]:
            if isinstance(update, PositionUpdate):
                return ()
            if is_fill(update) and not late:
                late.append(update)
                return ()
            return (update,)

        venue.push = push
        world.feed("97.5")
        world.feed("97")
        await trio.sleep(0.5)
        assert world.running.stops() == {}
        push_update(world.paper, late[0])
        with trio.fail_after(60):
            await world.running.wait_closed()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit) == (D("1.5"), D("-4.125")) or closed.profit is None
        assert requests(world, "place_stop") == 1


async def test_fm45_a_fill_that_is_repeated_after_a_new_stop_stands_takes_nothing_from_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The position grows again after a partial fill; the repeated update must not be taken for a second fill."""
    async with open_wrong_world(partial_fills=lambda order, tick: D("0.75") if order.quantity > 1 else D(0)) as (
        world,
        venue,
    ):
        fills: list[Update] = []

        def note(update: Update) -> Iterable[Update]:
            fills.extend([update] if is_fill(update) else [])
            return (update,)

        venue.push = note
        await world.protect()
        world.feed("97.9")
        world.feed("99")
        world.paper.cancel_by_hand(next(iter(world.running.stops().values())).client_order_id)
        await trio.sleep(3)
        before = await world.live()
        assert [stop.quantity for stop in before] == [D("0.75")]
        push_update(world.paper, fills[0])
        for _ in range(30):
            await trio.sleep(2)
            assert await world.live() == before
            assert world.running.stops()[BTC] == before[0]
        assert filled_quantities(world) == [D("0.75")]
