"""Failure modes: what the lists and answers of an exchange show, and what must not be concluded from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from inspection.paper import amend_by_hand
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world, refuse_credentials, some_positions
from wrong_venues import WrongVenue, during, empty, open_wrong_world, requests

import trailing
from trailing import AuthenticationFailed, Percent, Protected, Refused, TrailPlan, UsageError
from trailing.core.account import PositionReport
from trailing.core.model import Side
from trailing.errors import NoSuchPosition
from trailing.events import OpeningFailed, PositionClosed, StopOpened
from trailing.testing import At, Fault, Hangs, Refuses, ReplyLost, Unreachable
from trailing.testing.faults import Faults

D = Decimal


# 04: raw and unified symbols were compared; every position looked orphaned, and its stop was deleted.


@pytest.mark.parametrize("foreign", ["BTCUSDT", "BTC/USDT", "BTC/USD:BTC"])
async def test_fm04_a_foreign_form_is_refused_at_the_door_and_nothing_is_sent(
    foreign: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(record=True) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Protected)
        smuggled = a_position(id="another")
        msgspec.structs.force_setattr(smuggled, "symbol", foreign)  # as a bot's own decoder might
        commits, bookings = world.memory.commits, len(world.paper.log)
        outcome = await world.running.protect(smuggled, deadline=5.0)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, UsageError)
        assert f"{foreign!r}, wants a linear contract in unified form" in str(outcome.error)
        with pytest.raises(UsageError, match="is not protected"):
            await world.running.close(foreign, "long", deadline=5.0)
        assert len(world.paper.log) == bookings
        assert world.memory.commits == commits
        assert set(world.running.stops()) == {BTC}


async def test_fm04_an_adapter_that_reports_a_foreign_form_is_told_and_no_position_looks_orphaned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        read = world.paper.positions

        async def unconverted() -> Sequence[PositionReport]:
            return [msgspec.structs.replace(report, symbol="BTCUSDT") for report in await read()]

        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            world.paper.positions = unconverted  # type: ignore[method-assign]
            await trio.sleep(200)
            assert "the account can't be read" in world.alarms()
            assert BTC in manager.stops()
        assert len(await world.live()) == 1
        assert len((await world.load()).stops) == 1


# 05: an entry that was filled and not visible yet was "rolled back" by an order the wrong way: the position doubled.


async def check_untouched(world: World, side: Side) -> None:
    """Check that the position has its entered quantity, no close was sent, and it is claimed and protected."""
    (report,) = await world.paper.positions()
    assert (report.side, report.quantity) == (side, D("1.5"))
    assert world.calls("close_position") == 0
    assert world.running.stops()[SYMBOL, side].quantity == D("1.5")
    assert world.running.unprotected() == {}
    await world.check(a_position(side=side))


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm05_an_entry_that_is_not_visible_yet_is_protected_and_not_closed(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    position = a_position(side=side)
    async with open_world(orders_read_lag=5.0, positions_read_lag=5.0, latency=0.5) as world:
        await trio.sleep(10)
        await world.enter(position)
        assert await world.paper.positions() == ()
        world.inside.reconcile_now()
        outcome = await world.running.protect(position, deadline=3.0)
        assert isinstance(outcome, Protected)
        world.claim(SYMBOL, side).check()
        await trio.sleep(70)
        assert (await world.live()) == (outcome.stop,)
        await check_untouched(world, side)


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm05_an_entry_that_the_exchange_itself_does_not_know_of_yet_is_neither_closed_nor_given_up(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    position, visible_from = a_position(side=side), 13.0

    def refuse(operation: str, *_: object) -> Fault | None:
        early = trio.current_time() < visible_from
        return Refuses(NoSuchPosition("no such position")) if early and operation == "place_stop" else None

    async with open_world(orders_read_lag=3.0, positions_read_lag=3.0, latency=0.1, exchange_faults=refuse) as world:
        await trio.sleep(10)
        await world.enter(position)
        assert isinstance(await world.running.protect(position, deadline=2.0), Refused)
        assert set(world.running.unprotected()) == {(SYMBOL, side)}
        await trio.sleep(70)
        assert not any(isinstance(event, PositionClosed) for event in world.events)
        await check_untouched(world, side)


async def _look(world: World) -> None:
    world.inside.reconcile_now()


async def _check(world: World) -> None:
    world.claim().check()


@pytest.mark.parametrize("reading", [_look, _check])
async def test_fm05_absence_in_one_read_proves_nothing(reading: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        read, blind = world.paper.positions, [True]

        async def positions() -> Sequence[PositionReport]:
            shown = await read()
            return () if blind and blind.pop() else shown

        world.paper.positions = positions  # type: ignore[method-assign]
        await reading(world)
        await trio.sleep(70)
        assert blind == []
        await check_untouched(world, "long")


async def test_fm05_an_unknown_outcome_stays_tracked_until_it_is_settled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = [True]

    def lose(operation: str, symbol: str | None, number: int) -> Fault | None:
        if operation == "place_stop" and number == 1:
            return ReplyLost()
        return Unreachable() if down and operation in {"find_stop", "open_stops"} else None

    async with open_world(latency=0.5, exchange_faults=lose) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=3.0)
        (stop,) = await world.live()
        for _ in range(60):
            await trio.sleep(2)
            assert world.running.unprotected()[BTC].state == "unresolved"
            (intent,) = (await world.load()).intents
            assert intent.client_order_id == stop.client_order_id
        down.clear()
        await trio.sleep(5)
        assert world.running.stops() == {BTC: stop}
        assert world.calls("place_stop") == 1
        await check_untouched(world, "long")


async def test_fm05_a_stop_whose_answer_is_lost_and_that_no_read_shows_yet_is_not_placed_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lost: dict[At, Fault] = {At("place_stop", None, 1): ReplyLost()}
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, latency=0.5, exchange_faults=lost) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert world.calls("find_stop") > 1  # the first did not show it
        assert world.calls("place_stop") == 1
        assert await world.live() == (outcome.stop,)
        await check_untouched(world, "long")


# 08: a creation that timed out was logged as "continuing without" and forgotten.


@pytest.mark.parametrize("fault", [Refuses(), Unreachable(), ReplyLost(), Hangs(), Hangs(booked=True)], ids=repr)
async def test_fm08_a_creation_that_can_not_finish_is_on_the_list_at_every_moment_until_it_is_covered(
    fault: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    down: list[bool] = [True]
    async with open_world(
        latency=0.5,
        exchange_faults=lambda operation, *_: (
            None if not down else fault if operation == "place_stop" else Unreachable() if "stop" in operation else None
        ),
    ) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(a_position(), deadline=2.0))
            await trio.sleep(0.1)
            for _ in range(600):
                assert set(world.running.unprotected()) == {BTC}
                assert world.running.stops() == {}
                await trio.sleep(0.05)
        (failure,) = [event for event in world.events if isinstance(event, OpeningFailed)]
        assert (failure.symbol, failure.side) == BTC
        assert failure.unresolved is isinstance(fault, (ReplyLost, Hangs))
        assert world.running.unprotected()[BTC].state == ("unresolved" if failure.unresolved else "unprotected")
        down.clear()
        for _ in range(1000):
            assert set(world.running.unprotected()) ^ set(world.running.stops()) == {BTC}  # on one list or the other
            await trio.sleep(0.05)
        assert set(world.running.stops()) == {BTC}
        assert len([event for event in world.events if isinstance(event, StopOpened)]) == 1
        await world.check(a_position())


@pytest.mark.parametrize("then", ["report", "close"])
async def test_fm08_a_creation_that_never_finishes_is_reported_for_good_or_closed(
    then: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), retry_for=60.0, retry_then=then)
    async with open_world(latency=0.5, plan=plan, exchange_faults={At("place_stop"): Refuses()}) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
        while trio.current_time() < 60.0:
            assert set(world.running.unprotected()) == {BTC}
            await trio.sleep(0.5)
        tries = world.calls("place_stop")
        assert tries > 5
        await trio.sleep(300)
        assert world.calls("place_stop") <= tries + 1
        failures = [event for event in world.events if isinstance(event, OpeningFailed)]
        if then == "report":
            assert len(failures) == 2  # when its wave ended, and when it was given up
            given_up = world.running.unprotected()[BTC]
            assert (given_up.state, str(given_up.error)) == ("closed", "refused on purpose")
        else:
            assert world.running.unprotected() == {}
            assert await world.paper.positions() == ()
            assert any(isinstance(event, PositionClosed) for event in world.events)


async def test_fm05_a_report_that_may_still_show_the_position_before_takes_no_stop_away_from_the_new_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, latency=0.5) as world:
        smaller = a_position(quantity=D("0.5"))
        await world.enter(smaller)
        await trio.sleep(10)
        world.paper.reduce(*BTC, D("0.5"))
        again = a_position(opened_at=START + timedelta(seconds=10))  # of 1.5: for 2 s a read shows 0.5
        await world.enter(again)
        outcome = await world.running.protect(again, deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.unprotected_seconds == 0.5
        await trio.sleep(70)
        await world.check(smaller, again)


# 16: an empty answer counted as "no positions"; a cleaner deleted live stops.


@pytest.mark.parametrize("lists", [("positions",), ("open_stops",), ("positions", "open_stops")], ids=" and ".join)
async def test_fm16_a_reading_that_fails_deletes_nothing(
    lists: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    down: list[bool] = []
    async with open_world(
        latency=0.5, exchange_faults=lambda operation, *_: Unreachable() if down and operation in lists else None
    ) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, Protected)
        await trio.sleep(1)
        down.append(True)
        world.inside.reconcile_now()
        for _ in range(30):
            await trio.sleep(10)
            assert await world.live() == (outcome.stop,)
            assert world.running.stops() == {BTC: outcome.stop}
            assert len((await world.load()).stops) == 1
        assert "the account can't be read" in world.alarms()
        await check_untouched(world, "long")


@pytest.mark.parametrize(
    ("lists", "seconds"), [({"positions"}, 50.0), ({"positions", "open_stops"}, 1.5)], ids=["positions", "both"]
)
async def test_fm16_an_exchange_that_answers_with_nothing_for_a_while_loses_no_position_its_stop(
    lists: set[str], seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    positions, empty = some_positions(5), list[bool]()
    async with open_world(latency=0.1) as world:
        for name in lists:
            read = getattr(world.paper, name)

            async def nothing(read: Any = read) -> Sequence[Any]:
                shown = await read()
                return () if empty else shown

            setattr(world.paper, name, nothing)
        await world.enter(*positions)
        await world.running.protect_wave(positions, deadline=5.0)
        await trio.sleep(5)
        stops = await world.live()
        empty.append(True)
        world.inside.reconcile_now()
        await trio.sleep(seconds)
        empty.clear()
        await trio.sleep(100)
        assert await world.live() == stops
        assert len(world.running.stops()) == 5
        await world.check(*positions)


async def hide_all_stops(world: World, venue: WrongVenue, faults: Faults) -> None:
    """Protect five positions; then list no stops for two minutes, and ask for a snapshot.

    Args:
        faults: of the venue from then on. Its calls are counted from then on, too.
    """
    await world.protect(*some_positions(5))
    world.inject(faults)
    venue.list_stops = during(120.0, empty)
    world.inside.reconcile_now()


async def test_fm16_an_empty_list_of_stops_that_exist_by_their_ids_places_none_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await hide_all_stops(world, venue, {})
        await trio.sleep(180)
        # One that exists is enough: no position looks its own stop up.
        assert 0 < requests(world, "find_stop") <= requests(world, "open_stops")
        assert requests(world, "place_stop") == 0
        assert len(world.running.stops()) == 5


async def test_fm39_a_look_up_beside_an_empty_list_shows_what_a_person_amended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await hide_all_stops(world, venue, {})
        first = next(iter(world.running.stops().values()))
        with world.updates_silenced():
            amend_by_hand(world.paper, first, D("99.5"))
        await trio.sleep(10)
        shown = {stop.client_order_id: stop.price for stop in world.running.stops().values()}
        assert shown[first.client_order_id] == D("99.5")


async def test_fm16_an_empty_list_of_stops_is_believed_once_their_ids_do_not_exist_either(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, _):
        stops = await world.protect(*some_positions(5))
        with world.updates_silenced():
            for stop in stops:
                world.paper.cancel_by_hand(stop.client_order_id)
        world.inside.reconcile_now()
        await trio.sleep(30)
        assert len(await world.live()) == 5
        await world.check(*some_positions(5))


async def test_fm16_an_empty_list_of_stops_proves_nothing_while_none_can_be_looked_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await hide_all_stops(world, venue, {At("find_stop"): Unreachable()})
        await trio.sleep(180)
        assert requests(world, "find_stop") > 1  # it is tried again
        assert requests(world, "place_stop") == 0
        assert len(world.running.stops()) == 5


async def test_fm16_credentials_that_are_refused_for_a_look_up_end_the_manager_and_leave_its_stops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refuse = refuse_credentials("find_stop", AuthenticationFailed("the key was withdrawn"))
    async with open_world(with_manager=False) as world:
        world.exchange = venue = WrongVenue(world.paper, {})
        with pytest.raises(AuthenticationFailed, match="the key was withdrawn"):
            async with open_listened(world):
                await hide_all_stops(world, venue, refuse)
                await trio.sleep(10)
                pytest.fail("it went on")
        assert requests(world, "open_stops") == 1  # no further snapshot is taken
        assert len(await world.live()) == 5


# 14: the exchange moved its stops to another endpoint; they became invisible and were created without end.


@pytest.mark.parametrize("shown_first", [True, False])
@pytest.mark.parametrize("can_be_found", [True, False])
async def test_fm14_a_stop_that_can_not_be_listed_back_is_not_created_without_end(
    can_be_found: bool, shown_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    blind: list[bool] = []
    async with open_world(latency=0.5) as world:
        listed, found = world.paper.open_stops, world.paper.find_stop

        async def open_stops() -> Sequence[trailing.StopOrder]:
            stops = await listed()
            return () if blind else stops

        async def find_stop(symbol: str, client_order_id: str) -> trailing.StopOrder | None:
            stop = await found(symbol, client_order_id)
            return stop if can_be_found or not blind else None

        world.paper.open_stops = open_stops  # type: ignore[method-assign]
        world.paper.find_stop = find_stop  # type: ignore[method-assign]
        await world.protect(settle=0.0)
        await trio.sleep(70 if shown_first else 1)
        blind.append(True)
        for _ in range(100):
            await trio.sleep(10)
            assert len(world.paper.actual(SYMBOL)[0]) in (1, 2)
        # One that vanishes from lists and look-ups has to be replaced; one that a look-up shows is live.
        assert world.calls("place_stop") == (1 if can_be_found else 2)
        assert world.alarms().count("a stop that was acknowledged is not listed") == 1
        listed_why = [str(one.error) for one in world.running.unprotected().values()]
        unseen = "the exchange acknowledged its stop, and neither lists nor look-ups show it"
        assert listed_why == ([] if can_be_found else [unseen])
        world.feed("105")
        await trio.sleep(200)
        (moved,) = world.paper.actual(SYMBOL)[0]
        assert moved.price == D("103.95")
        assert world.running.stops() == {BTC: moved}
        assert list(world.running.unprotected()) == ([] if can_be_found else [BTC])
        blind.clear()
        await trio.sleep(70)
        assert world.running.unprotected() == {}
        await world.check(a_position())
        world.silence_updates()
        world.paper.cancel_by_hand(moved.client_order_id)  # the list shows again what stands: this one is gone
        await trio.sleep(70)
        assert world.running.stops()[BTC].client_order_id != moved.client_order_id
        await world.check(a_position())


async def test_fm14_a_stop_that_was_listed_back_is_placed_again_when_it_vanishes_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        world.silence_updates()
        for _ in range(3):
            (stop,) = await world.live()
            world.paper.cancel_by_hand(stop.client_order_id)
            with trio.fail_after(70):
                while not await world.live():
                    await trio.sleep(1)
            await trio.sleep(10)  # well before the next regular snapshot
        assert "a stop that was acknowledged is not listed" not in world.alarms()
        await world.check(a_position())


async def test_fm14_two_stops_that_vanish_at_once_are_no_sign_of_a_wrong_list(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, exchange_faults={At("cancel_stop"): Unreachable()}, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await trio.sleep(1)
            world.feed("105")
            await trio.sleep(10)  # the old one can't be cancelled
        assert len(await world.live()) == 2
        for stop in await world.live():
            world.paper.cancel_by_hand(stop.client_order_id)
        async with open_listened(world):
            await trio.sleep(10)
            assert [stop.price for stop in await world.live()] == [D("103.95")]
            told = await world.stored_alarms()
            assert "a stop that was acknowledged is not listed" not in told
            await world.check(a_position())
