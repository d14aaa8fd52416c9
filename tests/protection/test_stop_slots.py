"""An account that has as many stops as its exchange allows: moves go on one stop at a time, and one alarm says so."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
import trio
from worlds import PLAN, World, a_position, open_world, some_positions

import trailing
from trailing import Position, Protected, Refused, StopRejected, TooManyStops
from trailing.core.stop_slots import FULL_FOR
from trailing.events import Alarm, MoveFailed, OpeningFailed, StopMoved
from trailing.exchanges.port import StopRequest
from trailing.protection.requests import TELL_AGAIN
from trailing.testing import At, Refuses

FULL = "the account has no slot for another stop"


def alarms(world: World) -> list[str]:
    return [event.detail for event in world.events if isinstance(event, Alarm) and event.what == FULL]


def prices(world: World) -> set[D]:
    return {stop.price for stop in world.running.stops().values()}


def feed_all(world: World, price: str, positions: tuple[Position, ...]) -> None:
    for position in positions:
        world.feed(price, position.symbol)


def moving(world: World) -> float:
    """Return the seconds for which positions had no stop because of a move."""
    return world.running.statistics().unprotected_time.move


def theirs(number: int) -> StopRequest:
    """Return a stop of somebody else's."""
    return StopRequest(f"COIN{number}/USDT:USDT", "long", D("0.1"), D(50), f"theirs{number}", "last")


async def test_without_a_slot_for_a_second_stop_moves_cancel_first_and_one_alarm_gives_the_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(5)
    async with open_world(most_stops=5, latency=0.1) as world:
        await world.protect(*positions)
        feed_all(world, "110", positions)
        await trio.sleep(20)
        assert prices(world) == {D("108.9")}
        feed_all(world, "120", positions)
        await trio.sleep(20)
        assert prices(world) == {D("118.8")}
        assert world.running.unprotected() == {}
        assert len(await world.live()) == 5
        (detail,) = alarms(world)
        assert detail.startswith("5 stops are live")
        assert "allows 5" in detail
        assert [event for event in world.events if isinstance(event, (MoveFailed, OpeningFailed))] == []
        # In each move, a position is without a stop for half of the cancel's round trip, and the placing's.
        assert moving(world) == pytest.approx(len(positions) * 2 * 0.15)
        await world.check(*positions)


async def test_each_refused_second_stop_is_tried_once_and_not_again_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Stops that lists don't show fill the account."""
    (position,) = some_positions(1)
    async with open_world(most_stops=2, latency=0.1) as world:
        await world.protect(position)
        await world.paper.enter(a_position("COIN9/USDT:USDT"))
        world.paper.place_by_hand(theirs(9))
        world.feed("110", position.symbol)
        await trio.sleep(5)
        assert prices(world) == {D("108.9")}
        assert len(alarms(world)) == 1
        placed = world.calls("place_stop")
        for price in ("120", "130", "140"):
            world.feed(price, position.symbol)
            await trio.sleep(40)
        assert prices(world) == {D("138.6")}
        assert world.calls("place_stop") == placed + 3  # one for each move


async def test_with_a_free_slot_again_moves_place_first(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(2)
    async with open_world(most_stops=3, latency=0.1) as world:
        await world.protect(*positions)
        await world.paper.enter(a_position("COIN9/USDT:USDT"))
        world.paper.place_by_hand(theirs(9))
        feed_all(world, "110", positions)
        await trio.sleep(20)
        assert prices(world) == {D("108.9")}
        before = moving(world)
        assert before > 0
        world.paper.cancel_by_hand("theirs9")
        await trio.sleep(FULL_FOR + 120)
        feed_all(world, "120", positions[:1])
        await trio.sleep(5)
        assert D("118.8") in prices(world)
        assert moving(world) == before


async def test_only_positions_beyond_the_limit_are_refused_with_the_number(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(8)
    async with open_world(most_stops=6, latency=0.1) as world:
        await world.enter(*positions)
        report = await world.running.protect_wave(positions, deadline=5.0)
        kinds = [type(outcome) for outcome in report.outcomes]
        assert kinds.count(Protected) == 6
        refused = [outcome for outcome in report.outcomes if isinstance(outcome, Refused)]
        assert len(refused) == 2
        for outcome in refused:
            assert isinstance(outcome.error, TooManyStops)
            assert "6" in str(outcome.error)
        assert len(alarms(world)) == 1
        listed = world.running.stops().keys() | world.running.unprotected().keys()
        assert len(listed) == 8


async def test_a_position_beyond_the_limit_takes_no_slot_of_a_move(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(5)
    held, beyond = positions[:4], positions[4]
    async with open_world(most_stops=4, latency=1.0) as world:
        await world.protect(*held)
        await world.enter(beyond)
        report = await world.running.protect_wave((beyond,), deadline=5.0)
        assert isinstance(report.outcomes[0], Refused)
        for price in ("110", "120", "130"):  # the refused one tries again meanwhile
            feed_all(world, price, held)
            await trio.sleep(20)
        assert world.running.stops().keys() == {(position.symbol, "long") for position in held}
        assert {stop.price for stop in world.running.stops().values()} == {D("128.7")}
        assert beyond.symbol in {symbol for symbol, _ in world.running.unprotected()}
        moved = [event for event in world.events if isinstance(event, StopMoved)]
        assert len(moved) >= 12


async def test_the_alarm_comes_again_after_an_hour(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(2)
    async with open_world(most_stops=2, latency=0.1, plan=PLAN) as world:
        await world.protect(*positions)
        for hours, price in enumerate(("110", "120", "130"), start=1):
            feed_all(world, price, positions)
            await trio.sleep(TELL_AGAIN + 60)
            assert len(alarms(world)) == hours


def test_the_error_is_a_rejection() -> None:
    assert issubclass(trailing.TooManyStops, trailing.StopRejected)


NO_ORDERS = Refuses(StopRejected("the symbol takes no orders at the moment"))


async def test_a_position_whose_stop_is_refused_inside_its_move_keeps_no_slot_from_a_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    moved, closed, new = some_positions(3)
    async with open_world(latency=0.1, most_stops=2) as world:
        await world.protect(moved, closed)
        world.inject({At("place_stop", moved.symbol): NO_ORDERS})
        world.feed("105", moved.symbol)
        await trio.sleep(5)
        assert not world.paper.actual(moved.symbol)[0]
        await world.running.close(closed.symbol, "long", deadline=30)
        await world.enter(new)
        assert isinstance(await world.running.protect(new, deadline=10.0), Protected)


async def test_a_position_whose_stop_is_refused_inside_its_move_keeps_no_slot_from_one_that_lost_its_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, retry_for=60.0, retry_then="close")
    moved, other = some_positions(2)
    async with open_world(latency=0.1, most_stops=2, plan=plan) as world:
        _, stop = await world.protect(moved, other)
        await world.running.update(moved.symbol, "long", PLAN)  # its stop is tried for 300 s
        world.inject({At("place_stop", moved.symbol): NO_ORDERS})
        world.feed("105", moved.symbol)
        await trio.sleep(5)
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(120)
        stops, positions = world.paper.actual(other.symbol)
        assert positions
        assert stops
