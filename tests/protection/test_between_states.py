"""Short moments between two states: a record on its way to the store, a close that came too late, an intent settled."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
import trio
import trio.testing
from worlds import BTC, a_position, open_world

from trailing import Market, Protected, StopOrder, StopRejected
from trailing.events import ExitFailed, ExitStarted
from trailing.testing import At, Refuses, Slow
from trailing.testing.faults import Fault


async def test_a_position_that_comes_while_the_last_record_is_written_is_stored_behind_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow: list[bool] = []
    async with open_world(latency=1.0, store_faults=lambda *_: Slow(0.5) if slow else None) as world:
        await world.protect(a_position(id="one"), settle=0.0)
        slow.append(True)
        world.feed("97")
        claim = world.claim()
        with trio.fail_after(30):
            while not claim.is_closed:
                await trio.sleep(0.1)
        assert (await world.record()).position.id == "one"  # its last record is on its way
        await world.enter(a_position(id="two", entry_price=D(97)))
        attempts = world.inside.note_claiming(most=9)
        outcome = await world.running.protect(a_position(id="two", entry_price=D(97)), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert attempts == [BTC]
        assert (await world.record()).position.id == "two"


async def test_a_stop_that_fills_while_its_crossing_is_confirmed_leads_to_no_close_of_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    stuck = [True]

    def latency(operation: str, _: object) -> float:
        return 1.0 if operation == "price" else 0.1

    def fills(order: StopOrder, _: object) -> D:
        return D(0) if stuck else order.quantity

    async with open_world(latency=latency, partial_fills=fills) as world:
        await world.protect(position, settle=0.0)
        world.feed("97")  # the stop is crossed, and not filled
        await trio.sleep(world.plan.exit_grace + 0.2)
        assert world.calls("price") == 1  # being read
        stuck.clear()
        world.feed("97")  # the stop fills
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert not [event for event in world.events if isinstance(event, (ExitStarted, ExitFailed))]
        await world.check(position)


async def test_a_stop_refused_because_the_position_has_shrunk_is_placed_for_what_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(settle=0.0)
        (stop,) = await world.live()
        with world.updates_silenced():
            world.paper.reduce(*BTC, D("0.5"))
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(10)
        assert [(order.quantity, order.price) for order in await world.live()] == [(D("1.0"), D(98))]
        await world.check(a_position(quantity=D("1.0")))


@pytest.mark.parametrize("ways", [{}, {"can_amend": True}, {"two_stops": False}], ids=["place", "amend", "cancel"])
async def test_a_position_that_closed_without_an_update_ends_with_the_first_refused_move(
    ways: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5, markets=[Market(BTC[0], **ways)]) as world:
        await world.protect(settle=0.0)
        with world.updates_silenced():
            world.paper.reduce(*BTC, D("1.5"))
        # A move is wanted every second. Where the stop is still listed, a refusal alone is believed after a minute.
        for price in range(105, 180):
            world.feed(str(price))
            await trio.sleep(1)
        assert (world.running.stops(), world.running.unprotected()) == ({}, {})
        assert await world.live() == ()
        assert (await world.load()).stops == ()


async def test_placings_that_are_refused_leave_no_heap_of_open_intents(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, call): Refuses(StopRejected("no")) for call in (2, 3, 4)}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect(settle=0.0)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        most = 0
        with trio.move_on_after(20):
            while True:
                most = max(most, len((await world.load()).intents))
                await trio.sleep(0.01)
        assert most == 1
        assert len(await world.live()) == 1
        assert (await world.load()).intents == ()


async def test_a_move_that_was_refused_and_is_not_wanted_again_leaves_no_open_intent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, 2): Refuses(StopRejected("no"))}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect(settle=0.0)
        world.claim().want_move(D(99))  # which no rule wants, so that it is not tried again
        await trio.sleep(30)
        assert len(await world.live()) == 1
        assert (await world.load()).intents == ()


async def test_a_position_that_was_closed_and_is_protected_again_is_on_the_books_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position(id="the same")
    async with open_world() as world:
        await world.protect(position, settle=0.0)
        world.feed("97")  # its stop is filled, and the record closed
        await world.running.wait_closed()
        await world.enter(position)
        world.feed("100")
        outcome = await world.running.protect(position, deadline=5.0)
        assert isinstance(outcome, Protected)
        loaded = await world.load()
        assert [record.orders for record in loaded.stops] == [(outcome.stop,)]
        await world.check(position, position)
