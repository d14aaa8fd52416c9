"""The position task when one of its steps fails, or when the market moves during a step."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from inspection.manager import bug_on_ticks_of
from worlds import BTC, PLAN, SYMBOL, a_position, open_world, some_positions

from trailing import Exited, Market, Pacing, Protected, StopRejected
from trailing.events import ExitFilled, ExitStarted, MoveFailed, PositionClosed
from trailing.testing import At, Fault, Hangs, Refuses, ReplyLost, Unreachable

D = Decimal


async def test_what_a_stop_leaves_that_is_too_small_for_another_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market(SYMBOL, quantity_step=D("0.5"), min_quantity=D("0.5"))
    position = a_position(quantity=D("1.2"))
    async with open_world(markets=[market]) as world:
        await world.enter(position)
        outcome = await world.running.protect(position, deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.uncovered == D("0.2")
        world.feed("97")
        await world.running.wait_closed()
        assert await world.paper.positions() == ()
        (closed,) = (event for event in world.events if isinstance(event, PositionClosed))
        assert closed.quantity == D("1.2")


async def test_fm52_a_stop_that_triggers_and_is_not_filled_is_noticed_although_no_further_price_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(trigger_delay=600.0) as world:
        await world.protect()
        world.feed("97")
        world.feed("99")
        await trio.sleep(PLAN.exit_grace + 1)
        assert world.calls("place_stop") == 2  # the one that triggered protects nothing


async def test_a_position_that_has_become_too_small_for_a_stop_keeps_the_one_it_has(
    autojump_clock: trio.testing.MockClock,
) -> None:
    market = Market(SYMBOL, quantity_step=D("0.5"), min_quantity=D("0.5"))
    position = a_position(quantity=D("1.5"))
    async with open_world(markets=[market]) as world:
        await world.protect(position, settle=0.0)
        world.paper.reduce(*BTC, D("1.3"))
        await trio.sleep(5)
        (stop,) = await world.live()
        assert (stop.quantity, world.alarms()) == (D("1.5"), [])
        assert not [event for event in world.events if isinstance(event, MoveFailed)]
        world.paper.cancel_by_hand(stop.client_order_id)  # now it is unprotected, and no stop can be placed
        await world.running.wait_closed()
        assert await world.paper.positions() == ()
        (closed,) = (event for event in world.events if isinstance(event, PositionClosed))
        assert closed.reason == "what is left is too small for a stop"


async def test_a_price_that_passes_the_stop_while_it_is_put_back_leads_to_one_close(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(latency=1.0) as world:
        await world.protect(position, settle=1.0)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(0.25)  # the new stop is on its way
        world.feed("97")
        await world.running.wait_closed()
        assert await world.live() == ()
        assert [event.price for event in world.events if isinstance(event, ExitFilled)] == [D(97)]
        await world.check(position)


async def test_a_position_that_goes_away_while_its_stop_is_put_back_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(latency=1.0) as world:
        await world.protect(position, settle=1.0)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(0.25)
        world.paper.reduce(*BTC, position.quantity)
        await world.running.wait_closed()
        assert await world.live() == ()
        assert not [event for event in world.events if isinstance(event, ExitStarted)]
        assert world.running.unprotected() == {}


async def test_a_position_that_can_not_be_read_at_once_is_read_again(autojump_clock: trio.testing.MockClock) -> None:
    position = a_position()
    faults = {At("positions", None, 2): Unreachable()}
    async with open_world(exchange_faults=faults) as world:
        await world.protect(position, settle=0.0)
        world.paper.reduce(*BTC, D("0.5"))
        await trio.sleep(5)
        assert [order.quantity for order in await world.live()] == [D("1.0")]
        await world.check(position)


async def test_a_crossing_whose_price_can_not_be_read_at_once_is_not_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    plan = msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=1000.0))
    async with open_world(plan=plan, exchange_faults={At("price", None, 1): Unreachable()}) as world:
        await world.protect(position, settle=0.0)
        for price in ("102", "105", "103.5"):  # 103.95 had to wait, and is crossed
            world.feed(price)
            await trio.sleep(1)
        await world.running.wait_closed()
        assert [event.price for event in world.events if isinstance(event, ExitFilled)] == [D("103.5")]


@pytest.mark.parametrize("fault", [Hangs(), Refuses(StopRejected("not now"))])
async def test_a_close_that_was_not_executed_is_sent_again(fault: Any, autojump_clock: trio.testing.MockClock) -> None:
    position = a_position()
    async with open_world(exchange_faults={At("close_position", None, 1): fault}) as world:
        await world.protect(position, settle=0.0)
        outcome = await world.running.close(*BTC, deadline=60.0)
        assert isinstance(outcome, Exited)
        assert outcome.fill.quantity == position.quantity
        assert await world.live() == ()
        loaded = await world.load()
        assert (loaded.stops, loaded.intents) == ((), ())


async def test_a_lost_reply_is_looked_up_until_the_exchange_answers(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, _: least)  # the back-off ends before the next snapshot
    position = a_position()
    faults: dict[At, Fault] = {At("place_stop", None, 1): ReplyLost(), At("find_stop", None, 1): Unreachable()}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(position)
        outcome = await world.running.protect(position, deadline=10.0)
        assert isinstance(outcome, Protected)
        assert outcome.elapsed == pytest.approx(0.1 + 0.1 + 0.1)  # the placing, the back-off, the second look-up
        assert [call.operation for call in world.exchange.calls].count("find_stop") == 2


async def test_a_bug_in_the_core_freezes_its_position_and_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first, second = a_position(), a_position("ETH/USDT:USDT")
    async with open_world() as world:
        await world.enter(first, second)
        await world.running.protect_wave((first, second), deadline=5.0)
        await trio.sleep(1)
        with bug_on_ticks_of(SYMBOL):
            world.feed("102")
            world.feed("102", "ETH/USDT:USDT")
            await trio.sleep(1)
        assert world.running.stops()[BTC].price == D(98)
        assert world.running.stops()["ETH/USDT:USDT", "long"].price == D("100.98")
        assert "frozen: its stop stays live and is not moved" in world.alarms()


@pytest.mark.parametrize(
    ("fault", "alarm"),
    [(Hangs(), "the positions were not read beside the wave"), (Unreachable(), "the account can't be read")],
)
async def test_a_wave_whose_report_does_not_come_says_so_and_protects_all_the_same(
    fault: Any, alarm: str, autojump_clock: trio.testing.MockClock
) -> None:
    position = a_position()
    async with open_world(exchange_faults={At("positions", None, 1): fault}) as world:
        await world.enter(position)
        assert isinstance(await world.running.protect(position, deadline=5.0), Protected)
        assert world.alarms() == [alarm]


async def test_positions_that_are_protected_one_after_another_wait_for_no_pause_between_snapshots(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1) as world:
        for position in some_positions(6):
            await world.enter(position)
            outcome = await world.running.protect(position, deadline=5.0)
            assert isinstance(outcome, Protected)
            assert outcome.elapsed < 0.5
            await trio.sleep(0.5)
        assert world.alarms() == []


async def test_a_stop_trails_while_its_entry_is_being_checked(autojump_clock: trio.testing.MockClock) -> None:
    def latency(operation: str, _: object) -> float:
        return 0.9 if operation == "positions" else 0.1

    async with open_world(latency=latency) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
        await trio.sleep(0.5)
        assert not world.claim().is_opened
        world.feed("105")
        await trio.sleep(0.3)
        assert not world.claim().is_opened
        assert world.running.stops()[BTC].price == D("103.95")
