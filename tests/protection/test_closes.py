"""A close hits its own position alone, is settled, and gives way to a release or a live stop."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
import wrong_venues
from inspection.paper import push_update
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world
from wrong_venues import WrongVenue, open_wrong_world

from trailing import Exited, Fill, Percent, Protected, StopRejected, Tick, TrailPlan
from trailing.core.account import PositionReport
from trailing.events import StopOpened
from trailing.testing import At, Hangs, ReplyLost, Unreachable

D = Decimal
JUNK = "JUNK/USDT:USDT"


def no_close(operation: str, *_: object) -> Unreachable | None:
    return Unreachable() if operation == "close_position" else None


async def test_a_close_that_is_tried_again_spares_the_position_that_was_handed_in_behind_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow_lists = lambda operation, _: 1.0 if operation in ("positions", "open_stops") else 0.0  # noqa: E731
    async with open_world(latency=slow_lists, cancel_on_flat=True) as world:
        await world.protect()
        world.inject(no_close)
        await world.running.close(*BTC, deadline=0.3)
        with world.updates_silenced():
            world.paper.reduce(*BTC, D("1.5"))  # closed by hand
            other = a_position(entry_price=D(120), opened_at=START + timedelta(seconds=trio.current_time()))
            await world.enter(other)
            world.feed("120")
        world.inject({})
        outcome = await world.running.protect(other, deadline=10.0)
        assert BTC[1] in world.paper.actual(SYMBOL)[1], "the other position was closed at market"
        assert isinstance(outcome, Protected)


@pytest.mark.parametrize("lag", [0.0, 1.0])
async def test_a_close_that_was_pending_when_the_process_died_spares_another_position(
    lag: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(
        with_manager=False, cancel_on_flat=True, orders_read_lag=lag, positions_read_lag=lag
    ) as world:
        async with open_listened(world):
            await world.protect()
            await trio.sleep(5)
            world.inject(no_close)
            await world.running.close(*BTC, deadline=3.0)
        world.inject({})
        world.paper.reduce(*BTC, D("1.5"))  # closed by hand; the exchange cancels its stop
        await trio.sleep(10)
        world.feed("120")
        await world.enter(a_position(entry_price=D(120)))
        await trio.sleep(600)
        async with open_listened(world) as manager:
            await trio.sleep(100)
            assert world.paper.actual(SYMBOL)[1], "the other position was closed at market"
            assert BTC in manager.unprotected()  # without the pending close, it is


def with_doubled_junk(true: Sequence[PositionReport]) -> Sequence[PositionReport]:
    """A list in which the entry of another symbol is doubled, so that it is never complete."""
    return (*true, *(report for report in true if report.symbol == JUNK))


class _FirstCloseHangs:
    def __init__(self) -> None:
        self.closes = 0

    def __call__(self, operation: str, *_: object) -> Hangs | None:
        if operation != "close_position":
            return None
        self.closes += 1
        return Hangs(booked=False) if self.closes == 1 else None


async def test_a_close_of_unknown_outcome_is_settled_by_a_list_that_shows_the_position_although_it_is_incomplete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect(a_position(), a_position(JUNK))
        venue.__init__(world.paper, _FirstCloseHangs())  # type: ignore[misc]
        venue.list_positions = with_doubled_junk
        assert isinstance(await world.running.close(*BTC, deadline=120.0), Exited)


async def test_an_exit_of_unknown_outcome_is_tried_again_although_the_list_of_positions_is_incomplete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        stop, _ = await world.protect(a_position(), a_position(JUNK))
        faults = _FirstCloseHangs()
        venue.__init__(world.paper, faults)  # type: ignore[misc]
        venue.list_positions = with_doubled_junk
        world.paper.cancel_by_hand(stop.client_order_id)
        world.feed("97")  # beyond the stop that is missing: software closes the position
        for price in range(97, 87, -1):
            world.feed(str(price))
            await trio.sleep(60)
        assert not world.paper.actual(SYMBOL)[1], f"open without a stop for 600 s, after {faults.closes} close"


class _RefusesCloses(WrongVenue):
    """Refuses closes after a second; its own price stays below the stop."""

    async def close_position(self, *_: Any) -> Fill:
        await trio.sleep(1)
        raise StopRejected("not now")

    async def price(self, symbol: str, source: Any) -> Tick:
        return msgspec.structs.replace(await super().price(symbol, source), price=D("97.9"))


async def test_a_release_while_software_closes_is_not_forgotten_when_the_close_is_refused(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(wrong_venues, "WrongVenue", _RefusesCloses)
    async with open_wrong_world() as (world, _):
        await world.protect()
        push_update(world.paper, Tick(SYMBOL, D("97.9"), trio.current_time(), "last"))
        await trio.sleep(2.5)  # `exit_grace` is over, and the close is under way
        with trio.move_on_after(600) as waiting:
            async with trio.open_nursery() as nursery:

                async def release() -> None:
                    await world.running.release(*BTC, cancel_stop=False)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(release)
                await trio.sleep(0.1)
                while True:  # the price is healthy again
                    push_update(world.paper, Tick(SYMBOL, D(100), trio.current_time(), "last"))
                    await trio.sleep(10)
        assert not waiting.cancelled_caught, f"release() has not returned after 600 s; the claim: {world.claim()}"


@pytest.mark.parametrize("seed", range(8))
async def test_a_position_that_got_its_stop_after_an_outage_is_not_closed_because_no_stop_could_be_placed(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    random.seed(seed)  # of the back-offs
    plan = TrailPlan(initial_stop=Percent(2), on_unprotected="close")
    async with open_world(plan=plan) as world:
        (stop,) = await world.protect()
        until = trio.current_time() + 30
        world.inject(lambda *_: Unreachable() if trio.current_time() < until else None)
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(120)
        opened = [event for event in world.events if isinstance(event, StopOpened)][1:]
        assert not opened or world.paper.actual(SYMBOL)[1], (
            f"it had a live stop again, and was closed: {world.events[-1]}"
        )


@pytest.mark.parametrize("cancel_on_flat", [True, False])
async def test_a_close_whose_reply_is_lost_is_not_repeated_on_another_position(
    cancel_on_flat: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(
        cancel_on_flat=cancel_on_flat, exchange_faults={At("close_position", None, 1): ReplyLost()}
    ) as world:
        await world.protect()
        await trio.sleep(70)  # a snapshot has told its entry price
        with world.updates_silenced():
            async with trio.open_nursery() as nursery:

                async def close() -> None:
                    await world.running.close(*BTC, deadline=5.0)

                nursery.start_soon(close)  # executed at once
                await trio.sleep(0.5)
                world.feed("120")
                await world.enter(a_position(entry_price=D(120), quantity=D(3)))
            await trio.sleep(60)
        assert world.paper.actual(SYMBOL)[1] == {"long": D(3)}, "the other position was closed at market"


def feed_in_silence(world: World, price: str) -> None:
    """Push a price, and let it be the exchange's own, without filling a stop that it crosses."""
    tick = Tick(SYMBOL, D(price), trio.current_time(), "last")
    world.paper.remember(tick)
    push_update(world.paper, tick)


@pytest.mark.parametrize("by_software", [False, True])
async def test_a_position_to_which_a_person_adds_while_a_close_is_unknown_is_still_this_one(
    by_software: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(cancel_on_flat=True) as world:
        await world.protect()
        await trio.sleep(70)
        world.inject({At("close_position", None, 1): Hangs(booked=False)})
        async with trio.open_nursery() as nursery:
            if by_software:
                feed_in_silence(world, "97.9")
                await trio.sleep(2.6)
                feed_in_silence(world, "101")
            else:
                nursery.start_soon(lambda: world.running.close(*BTC, deadline=60))
                await trio.sleep(0.5)
                world.feed("102")
            await world.enter(a_position(entry_price=D(102)))
        await trio.sleep(120)
        stops, positions = world.paper.actual(SYMBOL)
        assert stops or not positions
        assert "another position has taken the place of one that is protected" not in world.alarms()


async def test_an_owners_close_that_failed_is_sent_again_while_lists_fail_and_the_stream_comes_and_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect()
        await trio.sleep(10)
        until = trio.current_time() + 15

        def faults(operation: str, *_: object) -> Unreachable | None:
            fails = operation in ("positions", "open_stops")
            return Unreachable() if fails or (operation == "close_position" and trio.current_time() < until) else None

        async def come_and_go() -> None:
            while True:
                world.paper.disconnect()
                await trio.sleep(1)
                world.paper.reconnect()
                await trio.sleep(8)

        world.inject(faults)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_and_go)
            await trio.sleep(2)
            await world.running.close(*BTC, deadline=100)
            nursery.cancel_scope.cancel()
        assert not world.paper.actual(SYMBOL)[1]


def slow_closes(operation: str, _: str | None) -> float:
    return 1.0 if operation in ("close_position", "positions", "open_stops") else 0.0


@pytest.mark.parametrize("cancel_stop", [False, True])
async def test_a_release_while_software_closes_returns_although_another_order_covers_the_position(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=slow_closes) as world:
        await world.protect()
        world.paper.take_profit_by_hand(*BTC, D("1.5"), D(150))
        feed_in_silence(world, "97.9")
        await trio.sleep(2.6)
        with trio.fail_after(900):
            await world.running.release(*BTC, cancel_stop=cancel_stop)


@pytest.mark.parametrize("cancel_stop", [False, True])
async def test_a_release_while_software_closes_returns_although_the_position_is_opened_again(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=slow_closes) as world:
        await world.protect()
        await trio.sleep(70)
        feed_in_silence(world, "97.9")
        await trio.sleep(2.3)
        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: world.running.release(*BTC, cancel_stop=cancel_stop))
                await trio.sleep(0.8)  # the close is executed
                feed_in_silence(world, "101")
                await world.enter(a_position())
