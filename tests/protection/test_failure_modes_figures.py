"""Ways in which positions lost their protection: absurd or wrong figures were acted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from inspection.paper import push_update
from worlds import BTC, SYMBOL, World, a_position, open_world
from wrong_venues import alarmed_at, booked_prices, during, open_wrong_world, requests

from trailing import Protected, StopOrder, Tick, UsageError
from trailing.core.account import PositionReport
from trailing.core.model import Side

D = Decimal


# 46: two agreeing bad ticks closed a healthy position.


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("count", [2, 3, 10])
async def test_fm46_ticks_that_agree_and_are_ten_times_off_close_nothing_and_move_no_stop(
    count: int, side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(record=True) as world:
        (stop,) = await world.protect(a_position(side=side))
        wrong = D(1000) if side == "long" else D(10)
        for _ in range(count):
            push_update(world.paper, Tick(SYMBOL, wrong, trio.current_time()))
            await trio.sleep(0.5)
        for price in ("100", "100.1", "100"):
            world.feed(price)
            await trio.sleep(10)
        assert requests(world, "close_position") == 0
        assert await world.live() == (stop,)
        assert world.running.stops()[SYMBOL, side] == stop
        assert booked_prices(world) == [stop.price]
        good = D(105) if side == "long" else D(95)
        world.feed(str(good))
        await trio.sleep(5)
        assert world.running.stops()[SYMBOL, side].price == good * (D("0.99") if side == "long" else D("1.01"))


async def test_fm46_bad_ticks_between_good_ones_move_no_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(record=True) as world:
        await world.protect()
        for price in ("1000", "1000", "100", "1000", "1001", "100", "999", "1000"):
            push_update(world.paper, Tick(SYMBOL, D(price), trio.current_time()))
        await trio.sleep(30)
        assert requests(world, "close_position") == 0
        assert booked_prices(world) == [98]


async def test_fm46_a_jump_that_the_exchanges_own_price_confirms_becomes_the_peak(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect()
        for _ in range(2):
            world.feed("150")
            await trio.sleep(1)
        await trio.sleep(4)
        assert world.running.stops()[BTC].price == D("148.5")


# 47: one tick that can't be a price froze a position.


def absurd_ticks() -> Iterator[Tick]:
    """Ticks with prices that can't be any, as far as such ticks can be built."""
    for price in ("1E+999999", "1E-999999", "1E+400", "1E-400", "9" * 60, "100." + "0" * 60 + "1"):
        with suppress(UsageError):
            yield Tick(SYMBOL, D(price), trio.current_time())


async def test_fm47_ticks_that_can_not_be_prices_freeze_no_position(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        for tick in absurd_ticks():
            push_update(world.paper, tick)
            push_update(world.paper, tick)
        await trio.sleep(5)
        assert requests(world, "close_position") == 0
        for price in ("104", "105"):
            world.feed(price)
            await trio.sleep(2)
        assert world.running.stops()[BTC].price == D("103.95")
        assert not [what for what in world.alarms() if "bug" in what]


@pytest.mark.parametrize("price", ["1E+999999", "1E-999999"])
def test_fm47_a_tick_and_a_position_refuse_what_can_not_be_a_price(price: str) -> None:
    with pytest.raises(UsageError, match=r"Tick\.price"):
        Tick(SYMBOL, D(price), 0.0)
    with pytest.raises(UsageError, match=r"Position\.entry_price"):
        a_position(entry_price=D(price))
    with pytest.raises(UsageError, match=r"Position\.quantity"):
        a_position(quantity=D(price))


# 61: a liquidation price on the wrong side of the market, or near it, closed a healthy position.


def with_liquidation(price: str) -> Callable[[Sequence[PositionReport]], Sequence[PositionReport]]:
    """A list whose positions have a liquidation price."""
    return lambda true: tuple(msgspec.structs.replace(one, liquidation_price=D(price)) for one in true)


LIQUIDATIONS = {
    "long-wrong-side": ("long", "150"),
    "long-near-at-the-price": ("long", "100"),
    "long-near": ("long", "99.8"),
    "short-wrong-side": ("short", "50"),
    "short-near": ("short", "100.2"),
}


async def assert_no_exit(world: World, stop: StopOrder, *, near: bool) -> None:
    """Assert that the position stands with its stop, tightened at most as far as the market allows, and an alarm."""
    side = stop.side
    assert requests(world, "close_position") == 0
    assert len(await world.paper.positions()) == 1
    (live,) = await world.live()
    assert world.running.stops()[SYMBOL, side] == live
    if near:
        assert stop.price <= live.price < 100 if side == "long" else 100 < live.price <= stop.price
    else:
        assert live.price == stop.price
    assert alarmed_at(world, SYMBOL)
    assert requests(world, "place_stop") + requests(world, "amend_stop") <= 6


@pytest.mark.parametrize("name", LIQUIDATIONS)
async def test_fm61_a_liquidation_price_on_the_wrong_side_or_near_the_market_is_no_exit_at_the_opening(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that a price on the wrong side is ignored, and that one near the market tightens at most up to it."""
    side: Any
    side, price = LIQUIDATIONS[name]
    async with open_wrong_world() as (world, venue):
        venue.list_positions = with_liquidation(price)
        await world.enter(a_position(side=side))
        outcome = await world.running.protect(a_position(side=side), deadline=5.0)
        assert isinstance(outcome, Protected)
        await trio.sleep(30)
        first = D(98) if side == "long" else D(102)
        await assert_no_exit(world, msgspec.structs.replace(outcome.stop, price=first), near="near" in name)


@pytest.mark.parametrize("name", LIQUIDATIONS)
async def test_fm61_a_liquidation_price_that_is_reported_later_is_no_exit_either(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    side: Any
    side, price = LIQUIDATIONS[name]
    async with open_wrong_world() as (world, venue):
        (stop,) = await world.protect(a_position(side=side))
        venue.list_positions = with_liquidation(price)
        for _ in range(5):
            world.inside.reconcile_now()
            await trio.sleep(5)
        await assert_no_exit(world, stop, near="near" in name)


# 63: an acknowledgement, or a list, that said another price than asked was believed.


def with_trigger_price(price: str) -> Callable[[StopOrder], StopOrder]:
    """An acknowledgement with another trigger price."""
    return lambda true: msgspec.structs.replace(true, price=D(price))


@pytest.mark.parametrize("price", ["120", "60"])
async def test_fm63_an_acknowledged_stop_at_another_price_than_asked_is_looked_up_and_is_no_exit(
    price: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that the outcome of the opening may be any; what is listed in the end is what the exchange holds."""
    async with open_wrong_world(latency=0.1) as (world, venue):
        venue.acknowledge = with_trigger_price(price)
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(30)
        assert requests(world, "close_position") == 0
        assert requests(world, "place_stop") <= 3
        assert requests(world, "find_stop", "open_stops") >= 1
        assert alarmed_at(world, SYMBOL)
        assert [stop.price for stop in await world.live()] == [98]
        assert world.running.stops()[BTC].price == 98


@pytest.mark.parametrize("can_amend", [True, False], ids=["amends", "places"])
@pytest.mark.parametrize("price", ["120", "60"])
async def test_fm63_a_moved_stop_that_is_acknowledged_at_another_price_is_looked_up_and_never_loosened(
    price: str, can_amend: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_wrong_world(can_amend=can_amend, record=True, latency=0.1) as (world, venue):
        await world.protect()
        venue.acknowledge = with_trigger_price(price)
        since = trio.current_time()
        world.feed("105")
        await trio.sleep(30)
        assert requests(world, "close_position") == 0
        assert requests(world, "place_stop", "amend_stop", since=since) <= 3
        assert alarmed_at(world, SYMBOL)
        prices = booked_prices(world)
        assert prices == sorted(prices)
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert world.running.stops()[BTC].price == D("103.95")


async def test_fm63_a_list_that_shows_a_stop_at_an_impossible_price_is_no_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that placings are bounded while the list is wrong, and that the stop is known by its true price afterwards."""
    async with open_wrong_world() as (world, venue):
        (stop,) = await world.protect()
        show = with_trigger_price("120")
        venue.list_stops = during(10, lambda true: tuple(map(show, true)))
        for _ in range(10):
            world.inside.reconcile_now()
            await trio.sleep(1)
        world.feed("100.1")
        await trio.sleep(5)
        world.inside.reconcile_now()
        await trio.sleep(10)
        assert requests(world, "close_position") == 0
        assert requests(world, "place_stop", "amend_stop") <= 3
        assert [one.price for one in await world.live()] == [stop.price]
        assert world.running.stops()[BTC].price == stop.price
