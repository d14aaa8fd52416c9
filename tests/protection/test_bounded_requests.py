"""Invariant 13: a venue that rounds coarsely, or keeps no stop, gets no requests without end."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
import trio
import wrong_venues
from worlds import BTC, SYMBOL, a_position
from wrong_venues import WrongVenue, open_wrong_world, requests

from trailing import Percent, StopOrder, TrailPlan
from trailing.events import Alarm
from trailing.exchanges.port import StopRequest
from trailing.testing.invariants import MOST_REPEATS

D = Decimal


async def test_a_venue_that_rounds_prices_by_more_than_half_a_percent_gets_no_endless_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect()
        venue.book_price = lambda asked: asked // 2 * 2
        began = trio.current_time()
        world.feed("105")  # the stop is to be moved to 103.95, and 102 is booked
        await trio.sleep(60)
        placed = requests(world, "place_stop", since=began)
        alarms = sum(isinstance(event, Alarm) for event in world.events)
        assert placed <= MOST_REPEATS, f"{placed} stops placed and as many cancelled in 60 s, {alarms} alarms"


class _RoundsQuantities(WrongVenue):
    async def place_stop(self, request: StopRequest) -> StopOrder:
        return await super().place_stop(msgspec.structs.replace(request, quantity=request.quantity // 1))

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        return await super().amend_stop(order, price=price, quantity=quantity // 1)


async def test_a_venue_whose_step_is_coarser_than_it_states_gets_no_endless_requests(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(wrong_venues, "WrongVenue", _RoundsQuantities)
    async with open_wrong_world() as (world, _):
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        began = trio.current_time()
        await trio.sleep(60)  # without a price or an update
        changes = requests(world, "place_stop", "amend_stop", since=began)
        assert changes <= MOST_REPEATS, f"{changes} changes in 60 s"


async def test_a_stop_that_the_venue_ends_again_and_again_is_placed_within_bounds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), retry_for=10.0, retry_then="close")
    async with open_wrong_world(plan=plan, latency=0.05) as (world, _):
        await world.protect()

        async def end_stops() -> None:
            while True:
                stops = world.paper.actual(SYMBOL)[0]
                await trio.sleep(0.1)
                for stop in stops:
                    world.paper.cancel_by_hand(stop.client_order_id)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_stops)
            await trio.sleep(120)
            nursery.cancel_scope.cancel()
        placed = requests(world, "place_stop", since=began)
        listed = BTC in world.running.unprotected()
        assert placed <= 12 * MOST_REPEATS, f"{placed} stops placed in 120 s, listed as unprotected: {listed}"
