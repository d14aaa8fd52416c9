"""Ways in which positions lost their protection: requests that were decided too early, too late or too often."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from inspection.paper import amend_by_hand
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_world
from wrong_venues import alarmed_at, booked_prices, open_wrong_world, requests

from trailing import Market, TrailPlan
from trailing.errors import ExchangeUnreachable, StopRejected
from trailing.testing import At, Fault, Refuses, ReplyLost, Slow, Throttles, Unreachable

D = Decimal


def never_fills(*_: object) -> Decimal:
    """The partial fill of an exchange that triggers a stop and does not fill it."""
    return D(0)


async def tighten_by_hand(world: World, price: str) -> None:
    """Tighten the live stop on the exchange, and have the manager read the account until it knows."""
    (order,) = await world.live()
    amend_by_hand(world.paper, order, D(price))
    world.inside.reconcile_now()
    await trio.sleep(3)


# 39: a decision outlived the stop that it was made for, and loosened a tighter one.


async def test_fm39_a_move_that_waited_for_its_back_off_does_not_loosen_a_stop_that_a_hand_tightened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("amend_stop", None, 1): Throttles(20.0)}
    async with open_world(can_amend=True, record=True, exchange_faults=faults) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(1)
        world.feed("106")  # wants 104.94, as soon as the back-off has ended
        await tighten_by_hand(world, "105.5")
        await trio.sleep(60)
        assert [stop.price for stop in await world.live()] == [D("105.5")]
        assert booked_prices(world) == [98]
        assert world.running.stops()[BTC].price == D("105.5")


async def test_fm39_a_resize_does_not_loosen_an_order_of_unknown_outcome_that_was_found_live(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The position grows and the price rises: one order does both, and its reply is lost.
    async with open_world(record=True) as world:
        await world.protect()
        world.inject({At("place_stop", None, 1): Throttles(5.0), At("place_stop", None, 2): ReplyLost()})
        await world.enter(a_position())
        await trio.sleep(2)
        world.feed("105")
        await trio.sleep(60)
        assert [(stop.price, stop.quantity) for stop in await world.live()] == [(D("103.95"), D(3))]
        prices = booked_prices(world)
        assert prices == sorted(prices)


async def test_fm39_a_move_whose_intent_is_being_stored_does_not_loosen_a_stop_that_a_hand_tightened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that the price of a request is derived again after its intent was stored, before it is sent."""
    plan = TrailPlan(initial_stop=PLAN.initial_stop, rules=PLAN.rules, journal_wait=10.0)
    async with open_world(can_amend=True, record=True, plan=plan) as world:
        await world.protect()
        faults: dict[At, Fault] = {At("commit"): Slow(6.0)}
        world.store.__init__(world.memory, faults)  # type: ignore[misc]
        world.feed("105")  # wants 103.95, once its intent is stored
        await trio.sleep(1)
        await tighten_by_hand(world, "104.5")
        await trio.sleep(60)
        assert [stop.price for stop in await world.live()] == [D("104.5")]
        assert booked_prices(world) == [98]


# 40: one back-off for all work of a position.


@pytest.mark.parametrize("can_amend", [True, False], ids=["amends", "places"])
async def test_fm40_a_cancelled_stop_is_placed_again_at_once_although_a_move_is_throttled(
    can_amend: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that a move that is sent as a new order backs off as a move, not as the placing of a missing stop."""
    throttled = At("amend_stop") if can_amend else At("place_stop", None, 2)
    async with open_world(can_amend=can_amend, exchange_faults={throttled: Throttles(59.0)}) as world:
        (order,) = await world.protect()
        world.feed("105")
        await trio.sleep(1)
        world.paper.cancel_by_hand(order.client_order_id)
        await trio.sleep(2)
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert set(world.running.stops()) == {BTC}


async def test_fm40_an_exit_does_not_wait_for_the_back_off_of_a_move(
    autojump_clock: trio.testing.MockClock,
) -> None:
    throttled: dict[At, Fault] = {At("amend_stop"): Throttles(88.0)}
    async with open_world(can_amend=True, exchange_faults=throttled, partial_fills=never_fills) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(1)
        world.feed("97")  # the exchange triggers the stop and does not fill it
        await trio.sleep(PLAN.exit_grace + 1.5)
        assert await world.paper.positions() == ()


async def test_fm40_a_missing_stop_does_not_wait_for_the_back_off_of_a_look_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that the reconciliation settles a move whose look-up is throttled, and that nothing else waits for that."""
    faults: dict[At, Fault] = {At("amend_stop", None, 1): ReplyLost(), At("find_stop"): Throttles(59.0)}
    async with open_world(can_amend=True, exchange_faults=faults) as world:
        (order,) = await world.protect()
        world.feed("105")
        await trio.sleep(5)
        world.paper.cancel_by_hand(order.client_order_id)
        await trio.sleep(5)
        assert [stop.price for stop in await world.live()] == [D("103.95")]


# 43: the exchange said that the stop does not exist, and the manager went on amending it.


@pytest.mark.parametrize("fault", [None, Refuses(StopRejected("order does not exist"))], ids=["own", "plain"])
async def test_fm43_a_stop_that_an_amendment_does_not_find_is_replaced_within_seconds(
    fault: Fault | None, autojump_clock: trio.testing.MockClock
) -> None:
    """The exchange's own refusal, and one in words of its own that an adapter does not know."""
    faults = {} if fault is None else {At("amend_stop"): fault}
    async with open_world(can_amend=True, exchange_faults=faults) as world:
        (order,) = await world.protect()
        with world.updates_silenced():
            world.paper.cancel_by_hand(order.client_order_id)
        world.feed("105")
        await trio.sleep(4)
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert list(world.running.stops().values()) == list(await world.live())
        assert requests(world, "amend_stop") <= 6


async def test_fm43_a_stop_that_is_gone_is_replaced_within_seconds_where_one_may_stand(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(two_stops=False) as world:
        (order,) = await world.protect()
        with world.updates_silenced():
            world.paper.cancel_by_hand(order.client_order_id)
        world.feed("105")
        await trio.sleep(4)
        assert [stop.price for stop in await world.live()] == [D("103.95")]


# 44: a venue that rounds the trigger price more coarsely than `price_tick` cost requests without end.


@pytest.mark.parametrize("can_amend", [True, False], ids=["amends", "places"])
@pytest.mark.parametrize("rounded", ["103.9", "104.0"], ids=["looser", "tighter"])
async def test_fm44_a_trigger_price_that_the_venue_rounds_is_requested_once(
    can_amend: bool, rounded: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes one alarm per position, not one per rounded stop."""
    markets = [Market(SYMBOL, price_tick=D("0.01"), can_amend=can_amend)]
    async with open_wrong_world(markets=markets, latency=0.1) as (world, venue):
        await world.protect()
        venue.book_price = lambda asked: D(rounded) if asked == D("103.95") else asked
        since = trio.current_time()
        world.feed("105")
        await trio.sleep(50)
        assert requests(world, "amend_stop", "place_stop", since=since) == 1
        assert [stop.price for stop in await world.live()] == [D(rounded)]
        assert world.running.stops()[BTC].price == D(rounded)
        assert len(alarmed_at(world, SYMBOL)) == 1
        world.feed("106")
        await trio.sleep(60)
        assert [stop.price for stop in await world.live()] == [D("104.94")]
        assert requests(world, "amend_stop", "place_stop", since=since) == 2


# 60: one symbol's cancellation failed, and was repeated without a pause.


@pytest.mark.parametrize(
    "error",
    [ExchangeUnreachable("503"), StopRejected("an odd body")],
    ids=["unreachable", "refused"],
)
async def test_fm60_a_cancellation_that_fails_is_repeated_with_a_back_off_and_told_after_a_few_tries(
    error: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that a symbol has an alarm of its own within 15 seconds, which is five tries or so."""
    faults: dict[At, Fault] = {At("find_stop", SYMBOL): Unreachable()}
    other = a_position("ETH/USDT:USDT")
    async with open_wrong_world(faults) as (world, venue):
        await world.protect(a_position(), other)

        async def fail(order: Any) -> None:
            if order.symbol == SYMBOL:
                attempts.append(trio.current_time())
                raise error

        attempts: list[float] = []
        venue.cancel = fail
        since = trio.current_time()
        for price in range(105, 117):
            for symbol in (SYMBOL, other.symbol):
                world.feed(str(price), symbol)
            await trio.sleep(1)
            assert world.running.stops()[other.symbol, "long"].price == D(price) * D("0.99")
            await trio.sleep(9)
        assert [at for at in alarmed_at(world, SYMBOL) if at <= attempts[0] + 15]
        assert len(attempts) + requests(world, symbol=SYMBOL, since=since) <= 60
        assert 1 <= len(world.paper.actual(SYMBOL)[0]) <= 2
