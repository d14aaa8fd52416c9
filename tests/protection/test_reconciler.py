"""Stops and intents of ours that belong to no protected position: what is alarmed, cancelled and written off, and when."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal as D

import pytest
import trio
import trio.testing
from rented import RentingStore
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world
from wrong_venues import during, empty, open_wrong_world

from trailing.core.account import PositionReport
from trailing.errors import NoSuchStop
from trailing.events import Alarm
from trailing.exchanges.port import StopRequest
from trailing.protection.reconciler import ALARM_AGAIN
from trailing.stores.port import AddIntent, Intent
from trailing.testing import At, Refuses, Slow

UNPROTECTED = "a stop of ours is live behind a position that is not protected"
HELD_BACK = "a leftover stop can't be cancelled"

OTHER = a_position("ETH/USDT:USDT")

EARLIER = "tr0000" + "1" * 16
"""The id of an order that an earlier instance of this account placed."""


def place_unknown(world: World, price: str = "97") -> str:
    """Place a stop with the manager's own mark that no record has. Returns its client order id."""
    request = StopRequest(SYMBOL, "long", D("1.5"), D(price), world.inside.new_order_id())
    world.paper.place_by_hand(request)
    return request.client_order_id


async def leave_stop(world: World) -> str:
    """Leave a stop with the manager's own mark behind a position that is closed. Returns its client order id."""
    await world.enter(a_position())
    order_id = place_unknown(world)
    world.paper.reduce(*BTC, D("1.5"))
    return order_id


def details(world: World, what: str) -> list[str]:
    """The details of every alarm of a kind."""
    return [event.detail for event in world.events if isinstance(event, Alarm) and event.what == what]


# A stop on an open position that no record has.


async def test_a_stop_of_ours_on_an_open_position_without_a_record_raises_one_alarm_until_it_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        order_id = place_unknown(world)
        await trio.sleep(600)
        (detail,) = details(world, UNPROTECTED)
        assert order_id in detail
        assert [stop.client_order_id for stop in await world.live()] == [order_id]
        world.paper.cancel_by_hand(order_id)
        await trio.sleep(600)
        assert world.alarms() == [UNPROTECTED]
        assert world.calls("cancel_stop") == 0


async def test_each_stop_of_ours_on_an_open_position_without_a_record_raises_an_alarm_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        first = place_unknown(world)
        await trio.sleep(200)
        second = place_unknown(world, "96")
        await trio.sleep(200)
        of_first, of_second = details(world, UNPROTECTED)
        assert first in of_first
        assert second in of_second


async def test_a_stop_that_is_gone_is_forgotten_although_an_alarm_told_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Lists that lose it for a while cause no second alarm."""
    async with open_wrong_world() as (world, venue):
        await world.enter(a_position())
        stays, goes = place_unknown(world), place_unknown(world, "96")
        await trio.sleep(200)
        venue.list_stops = during(130.0, empty)
        await trio.sleep(200)
        world.paper.cancel_by_hand(goes)
        await trio.sleep(ALARM_AGAIN + 200)
        assert world.inside.alarmed_orders() == {stays}
        assert len(details(world, UNPROTECTED)) == 2


async def test_another_instances_stop_that_is_gone_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        world.paper.place_by_hand(StopRequest(SYMBOL, "long", D("1.5"), D(97), EARLIER))
        await trio.sleep(2 * ALARM_AGAIN)
        assert world.inside.alarmed_orders() == {EARLIER}
        world.paper.cancel_by_hand(EARLIER)
        await trio.sleep(ALARM_AGAIN + 200)
        assert world.inside.alarmed_orders() == set()
        assert len(details(world, "another instance is at work on this account")) == 1


# A stop of a position that is closed.


def doubled(true: Sequence[PositionReport]) -> Sequence[PositionReport]:
    """A list that shows another position twice, so that it proves no absence."""
    other = PositionReport("ETH/USDT:USDT", "long", D(1), D(100))
    return (*true, other, other)


async def test_a_leftover_is_not_cancelled_while_the_list_of_positions_proves_no_absence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        venue.list_positions = doubled
        order_id = await leave_stop(world)
        await trio.sleep(300)
        assert [stop.client_order_id for stop in await world.live()] == [order_id]
        assert world.calls("cancel_stop") == 0
        venue.list_positions = lambda true: true
        await trio.sleep(120)
        assert await world.live() == ()


async def test_a_leftover_is_cancelled_once_although_snapshots_show_it_while_it_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("cancel_stop"): Slow(5.0)}) as world:
        await leave_stop(world)
        with trio.fail_after(120):
            while not world.calls("cancel_stop"):
                await trio.sleep(0.1)
        before = world.calls("open_stops")
        for _ in range(8):
            world.inside.reconcile_now()
            await trio.sleep(0.5)
        assert world.calls("open_stops") > before + 1
        assert len(await world.live()) == 1
        await trio.sleep(120)
        assert await world.live() == ()
        assert world.calls("cancel_stop") == 1


async def test_a_leftover_that_is_gone_when_it_is_cancelled_raises_no_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("cancel_stop", None, 1): Refuses(NoSuchStop("it is gone"))}) as world:
        await leave_stop(world)
        await trio.sleep(300)
        assert world.calls("cancel_stop") == 2  # a later snapshot still showed it
        assert HELD_BACK not in world.alarms()


async def test_a_leftover_that_lists_still_show_after_it_was_cancelled_is_not_cancelled_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The lists lag, and other positions ask for them all the time."""
    async with open_world(orders_read_lag=3.0, positions_read_lag=3.0, latency=0.1) as world:
        await world.protect(OTHER)
        await leave_stop(world)
        for _ in range(400):
            world.inside.supervision.reader.want(trio.current_time())
            await trio.sleep(0.5)
        assert await world.live() == tuple(world.running.stops().values())
        assert world.calls("cancel_stop") == 1
        assert HELD_BACK not in world.alarms()


async def test_a_leftover_that_the_lost_lease_keeps_from_being_cancelled_stays_live_with_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        world.store = renting = RentingStore(world.store, 10_000.0)  # type: ignore[assignment]
        async with open_listened(world):
            order_id = await leave_stop(world)
            renting.lease.lost = "another process owns the account"  # before the manager is told
            with trio.fail_after(120):
                while not world.alarms():
                    await trio.sleep(0.1)
            assert details(world, HELD_BACK)[0] == f"{order_id}: not sent: another process owns the account"
            assert world.calls("cancel_stop") == 0
            renting.lease.lost = None
        assert [stop.client_order_id for stop in await world.live()] == [order_id]


# An intent whose position has no record.


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
async def test_no_intent_is_written_off_while_its_stop_is_live(
    is_open: bool, autojump_clock: trio.testing.MockClock
) -> None:
    intent = Intent("paper", "default", *BTC, "unknown", EARLIER, "stop", D("1.5"), D(97), START)
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        world.paper.place_by_hand(StopRequest(SYMBOL, "long", D("1.5"), D(97), EARLIER))
        await world.memory.commit([AddIntent(intent)])
        async with open_listened(world):
            await trio.sleep(300)
            assert [stop.client_order_id for stop in await world.live()] == [EARLIER]
            assert (await world.load()).intents == (intent,)
            if is_open:
                world.paper.cancel_by_hand(EARLIER)
            else:
                world.paper.reduce(*BTC, D("1.5"))
            while await world.live():
                assert (await world.load()).intents == (intent,)
                await trio.sleep(0.1)
            await trio.sleep(120)
            assert (await world.load()).intents == ()
