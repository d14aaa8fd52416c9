"""A wave: every position its own outcome, at its own time, and nothing left behind."""

from __future__ import annotations

import time
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from worlds import BTC, PLAN, START, SYMBOL, a_position, open_listened, open_world, some_positions

from trailing import (
    AlreadyProtected,
    Exited,
    Fill,
    Market,
    NothingToReduce,
    Outcome,
    Percent,
    Position,
    Protected,
    RateLimited,
    Refused,
    StopOrder,
    StopRejected,
    StoreError,
    TimedOut,
    TrailPlan,
    UnprotectedTime,
    UsageError,
    WaveReport,
)
from trailing.events import StopOpened
from trailing.exchanges.paper import RateLimit
from trailing.testing import At, Fails, Fault, Hangs, Refuses, ReplyLost, Slow

D = Decimal


def kinds(report: WaveReport) -> list[str]:
    return [type(outcome).__name__ for outcome in report.outcomes]


STOP = StopOrder(SYMBOL, "long", D(1), D(98), "tr1", "1")
FILL = Fill(SYMBOL, "long", D(1), D(97), "2", "tr2", at=0.0)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Protected, {"stop": STOP}, "protected by a stop at 98"),
        (AlreadyProtected, {"stop": STOP}, "was protected already, by a stop at 98"),
        (TimedOut, {"stop": STOP}, "timed out, with a live stop at 98"),
        (TimedOut, {"stop": None}, "timed out without a stop"),
        (Refused, {"error": StopRejected("-4045: too many")}, "no stop was placed (-4045: too many)"),
        (Exited, {"fill": FILL, "reason": "the price is beyond it"}, "closed at 97 (the price is beyond it)"),
    ],
)
def test_an_outcome_reads_as_a_sentence(kind: type[Outcome], fields: Any, words: str) -> None:
    outcome = kind(
        position=a_position(), elapsed=2.04, uncovered=D(0), unprotected_time=UnprotectedTime(opening=2.0), **fields
    )
    assert str(outcome) == f"{BTC[0]} {BTC[1]}: {words}, after 2.0 s"


# The waves.


async def test_five_positions_take_as_long_as_one(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(5)
    async with open_world(latency=2.0) as world:
        await world.enter(*positions)
        report = await world.running.protect_wave(positions, deadline=10.0)
        assert kinds(report) == ["Protected"] * 5
        assert report.elapsed == 2.0
        assert [outcome.position for outcome in report.outcomes] == list(positions)
        assert {outcome.elapsed for outcome in report.outcomes} == {2.0}
        assert report.protected == report.outcomes
        assert report.unprotected == ()
        assert report.unprotected_seconds == 10.0
        assert (report.opening_times.count, report.opening_times.mean) == (5, 2.0)


async def test_fifty_concurrent_protects_of_one_symbol_place_one_order(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        outcomes: list[Any] = []

        async def protect() -> None:
            outcomes.append(await world.running.protect(a_position(), deadline=10.0))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(protect)
        assert Counter(type(outcome) for outcome in outcomes) == {Protected: 1, AlreadyProtected: 49}
        assert {outcome.elapsed for outcome in outcomes} == {2.0}
        assert world.calls("place_stop") == 1
        (live,) = await world.live()
        assert {outcome.stop for outcome in outcomes} == {live}


async def test_a_hanging_a_refused_and_a_lost_one_of_five_delay_and_spoil_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hangs, refused, lost, *good = positions = some_positions(5)
    faults: dict[At, Fault] = {
        At("place_stop", hangs.symbol, 1): Hangs(),
        At("place_stop", refused.symbol, 1): Refuses(),
        At("place_stop", lost.symbol, 1): ReplyLost(),
    }
    async with open_world(latency=2.0, exchange_faults=faults) as world:
        await world.enter(*positions)
        report = await world.running.protect_wave(positions, deadline=10.0)
        opened = [event for event in world.events if isinstance(event, StopOpened)]
        live_after = {event.symbol: (event.at - START).total_seconds() for event in opened}
        assert kinds(report) == ["TimedOut", "Refused", "Protected", "Protected", "Protected"]
        # Its deadline, and four of the clean-up's five seconds: the last one is the store's.
        assert report.outcomes[0].elapsed == 14.0
        assert report.outcomes[0].stop is None  # type: ignore[union-attr]
        assert report.outcomes[1].elapsed == 0.0
        assert isinstance(report.outcomes[1].error, StopRejected)  # type: ignore[union-attr]
        assert report.outcomes[2].elapsed == 4.0  # its reply and a look
        assert [outcome.elapsed for outcome in report.outcomes[3:]] == [2.0, 2.0]
        assert [live_after[position.symbol] for position in good] == [2.0, 2.0]
        assert report.elapsed == 14.0
        assert len(report.protected) == 3
        assert len(report.unprotected) == 2
        await trio.sleep(60)
        await world.check(*positions)
        assert len(await world.live()) == 5  # what had none was covered afterwards


# What an outcome tells.


async def test_an_outcome_reports_unprotected_time_and_the_quantity_that_a_coarse_step_leaves_unprotected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    coarse = Market(SYMBOL, quantity_step=D(1))
    async with open_world(latency=2.0, markets=[coarse]) as world:
        await world.enter(a_position())
        await trio.sleep(7)
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert (outcome.elapsed, outcome.unprotected_seconds, outcome.uncovered) == (2.0, 9.0, D("0.5"))
        assert outcome.stop.quantity == 1
        again = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(again, AlreadyProtected)
        assert (again.elapsed, again.uncovered, again.stop) == (0.0, D("0.5"), outcome.stop)


async def test_a_later_caller_gets_the_unprotected_time_until_the_stop_was_live(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(a_position(), deadline=10.0))
            await trio.sleep(0.5)
            joined = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(joined, AlreadyProtected)
        assert (joined.elapsed, joined.unprotected_seconds) == (1.5, 2.0)
        await trio.sleep(1000)
        later = await world.running.protect(a_position(), deadline=10.0)
        assert (later.elapsed, later.unprotected_seconds) == (0.0, 2.0)


async def test_a_caller_that_joins_an_opening_and_whose_deadline_strikes_first_gets_no_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(a_position(), deadline=10.0))
            await trio.sleep(0.5)
            joined = await world.running.protect(a_position(), deadline=1.0)
            assert isinstance(joined, TimedOut)
            assert (joined.stop, joined.uncovered, joined.elapsed) == (None, D("1.5"), 1.0)
        assert [stop.price for stop in await world.live()] == [98]  # the opening that it joined goes on


async def test_an_unprotected_outcome_reports_the_unprotected_time_and_the_whole_quantity(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop"): Hangs()}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert (outcome.uncovered, outcome.unprotected_seconds) == (D("1.5"), outcome.elapsed)


# Late orders.


async def test_a_late_order_that_is_live_as_planned_is_adopted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0, exchange_faults={At("place_stop", None, 1): Slow(4.5)}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is None  # cancelled before it was sent
        await trio.sleep(60)
        await world.check(a_position())
    async with open_world(latency=lambda operation, symbol: 5.0 if operation == "place_stop" else 1.0) as world:
        await world.enter(a_position())
        report = await world.running.protect_wave([a_position()], deadline=4.0)
        (outcome,) = report.outcomes
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is not None
        assert (outcome.elapsed, outcome.uncovered) == (
            5.0,
            D(0),
        )  # the look begins at 4 and finds what was booked at 2.5
        assert report.protected == (outcome,)
        assert await world.live() == (outcome.stop,)
        assert world.running.stops() == {BTC: outcome.stop}
        await world.check(a_position())


async def test_a_late_order_is_cancelled_where_the_plan_says_so_and_then_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_late_order="cancel")
    slow_once = {At("place_stop", None, 1): Hangs(booked=True)}
    async with open_world(latency=1.0, plan=plan, exchange_faults=slow_once) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is None
        assert outcome.elapsed == 6.0  # found after a second, cancelled after another
        await trio.sleep(30)
        assert world.calls("cancel_stop") == 1
        assert world.calls("place_stop") == 2
        await world.check(a_position())
        assert len(await world.live()) == 1


async def test_what_is_acknowledged_at_the_deadline_is_not_thrown_away(autojump_clock: trio.testing.MockClock) -> None:
    for deadline in (1.999, 2.0, 2.001):
        async with open_world(latency=2.0) as world:
            await world.enter(a_position())
            outcome = await world.running.protect(a_position(), deadline=deadline)
            assert isinstance(outcome, (Protected, TimedOut))
            assert outcome.stop is not None
            assert await world.live() == (outcome.stop,)


# Cancelled from outside.


async def test_a_wave_cancelled_from_outside_is_cleaned_up_reported_and_not_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quick, slow = some_positions(2)

    def latency(operation: str, symbol: str | None) -> float:
        return 3.0 if (operation, symbol) == ("place_stop", slow.symbol) else 0.5

    async with open_world(latency=latency) as world:
        await world.enter(quick, slow)
        with trio.move_on_after(1.0) as scope:
            await world.running.protect_wave([quick, slow], deadline=10.0)
        assert scope.cancelled_caught
        assert trio.current_time() - world.started == 2.25  # booked at 1.5, found at 1.75, cancelled
        assert {order.symbol for order in await world.live()} == {quick.symbol}
        assert set(world.running.stops()) == {(quick.symbol, "long")}
        assert set(world.running.unprotected()) == {(slow.symbol, "long")}
        await trio.sleep(400)
        assert world.calls("place_stop") == 2
        await world.check(quick, slow)


# Bugs.


async def test_a_bug_in_one_position_is_raised_at_the_end_and_its_siblings_are_protected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad, *good = positions = some_positions(3)
    faults: dict[At, Fault] = {At("place_stop", bad.symbol): Fails(ZeroDivisionError("a bug"))}
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(*positions)
        with pytest.raises(ExceptionGroup) as caught:
            await world.running.protect_wave(positions, deadline=10.0)
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
        assert set(world.running.stops()) == {(position.symbol, "long") for position in good}
        assert set(world.running.unprotected()) == {(bad.symbol, "long")}


# The end of a wave, whatever hangs.

HANGING: dict[str, dict[str, Any]] = {
    "placing": {"exchange_faults": {At("place_stop"): Hangs()}},
    "placing-booked": {"exchange_faults": {At("place_stop"): Hangs(booked=True), At("find_stop"): Hangs()}},
    "looking": {"exchange_faults": {At("place_stop"): ReplyLost(), At("find_stop"): Hangs()}},
    "cancelling": {
        "plan": msgspec.structs.replace(PLAN, on_late_order="cancel"),
        "exchange_faults": {At("place_stop"): Hangs(booked=True), At("cancel_stop"): Hangs()},
    },
    "report": {"exchange_faults": {At("positions"): Hangs()}},
    "store": {"store_faults": {At("commit"): Hangs()}},
    "store-strict": {
        "plan": msgspec.structs.replace(PLAN, on_store_failure="refuse"),
        "store_faults": {At("commit"): Hangs()},
    },
    "everything": {
        "exchange_faults": {At(name): Hangs(booked=True) for name in ("place_stop", "find_stop", "positions")},
        "store_faults": {At("commit"): Hangs()},
    },
    "door-price": {"exchange_faults": {At("place_stop"): Refuses(), At("price"): Hangs()}},
}


@pytest.mark.parametrize("hanging", HANGING)
@pytest.mark.parametrize("deadline", [0.001, 0.5, 4.0])
async def test_a_wave_returns_by_its_deadline_and_the_clean_ups_seconds(
    hanging: str, deadline: float, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(3)
    async with open_world(latency=1.0, **HANGING[hanging]) as world:
        await world.enter(*positions)
        real, started = time.perf_counter(), trio.current_time()
        await world.running.protect_wave(positions, deadline=deadline)
        assert trio.current_time() - started <= deadline + PLAN.cleanup_seconds
        assert time.perf_counter() - real < 2.0  # virtual time hides a busy loop


async def test_a_clean_up_that_begins_after_the_deadline_still_ends_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The stop stands just before the deadline, the report contradicts it just after, and its cancelling hangs.
    def latency(operation: str, symbol: str | None) -> float:
        return {"place_stop": 3.9, "positions": 4.8}.get(operation, 0.5)

    faults: dict[At, Fault] = {At("cancel_stop"): Hangs()}
    stores: dict[At, Fault] = {At("commit", None, number): Hangs() for number in range(2, 9)}
    async with open_world(latency=latency, exchange_faults=faults, store_faults=stores) as world:
        await world.enter(a_position(quantity=D("0.5")))
        await world.enter(a_position(quantity=D("1")))
        started = trio.current_time()
        beyond = a_position(entry_price=D(120), stop_price=D(98))
        outcome = await world.running.protect(beyond, deadline=4.0)
        assert isinstance(outcome, Refused)
        assert trio.current_time() - started <= 4.0 + PLAN.cleanup_seconds


@pytest.mark.parametrize(("cleanup", "journal_wait"), [(1.2, 1.0), (0.5, 1.0)])
async def test_a_wave_returns_within_a_short_clean_up_although_lists_and_store_hang(
    cleanup: float, journal_wait: float, autojump_clock: trio.testing.MockClock
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), cleanup_seconds=cleanup, journal_wait=journal_wait)
    stores: dict[At, Fault] = {At("commit", None, number): Hangs() for number in range(2, 9)}
    faults: dict[At, Fault] = {At("positions"): Hangs()}
    async with open_world(plan=plan, latency=1.0, exchange_faults=faults, store_faults=stores) as world:
        await world.enter(a_position())
        started = trio.current_time()
        outcome = await world.running.protect(a_position(), deadline=1.1)
        assert isinstance(outcome, Protected)
        assert trio.current_time() - started <= 1.1 + cleanup


async def test_a_wave_takes_no_real_time_to_end() -> None:
    positions = some_positions(20)
    async with open_world() as world:
        await world.enter(*positions)
        started = time.perf_counter()
        report = await world.running.protect_wave(positions, deadline=10.0)
        assert kinds(report) == ["Protected"] * 20
        assert time.perf_counter() - started < 0.5


# Rate limits.


async def test_positions_whose_turn_comes_after_their_deadline_are_told_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(6)
    async with open_world(latency=0.5, rate_limit=RateLimit(capacity=7, per_second=0.25)) as world:
        await world.enter(*positions)
        report = await world.running.protect_wave(positions, deadline=5.0)
        assert Counter(kinds(report)) == {"Protected": 3, "Refused": 3}  # two lists take two of the five turns
        for outcome in report.outcomes:
            if isinstance(outcome, Refused):
                assert isinstance(outcome.error, RateLimited)
                assert outcome.error.retry_after > 5.0
                assert outcome.elapsed == 0.0


# Sanity at the door.


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm06_an_entry_price_far_from_the_exchanges_own_is_refused_and_its_stop_withdrawn(
    side: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position(side=side))
        wrong = a_position(side=side, entry_price=D(80) if side == "long" else D(120))
        outcome = await world.running.protect(wrong, deadline=10.0)
        assert isinstance(outcome, Refused)
        assert "Position.entry_price of BTC/USDT:USDT got" in str(outcome.error)
        await trio.sleep(400)
        assert await world.live() == ()
        assert len(await world.paper.positions()) == 1
        assert world.calls("place_stop") == 1
        assert set(world.running.unprotected()) == {(SYMBOL, side)}


async def test_an_entry_price_of_an_invisible_position_is_held_against_the_last_price(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, orders_read_lag=2.0, positions_read_lag=2.0) as world:
        await world.enter(a_position())
        world.feed("100")
        wrong = a_position(entry_price=D(80))
        outcome = await world.running.protect(wrong, deadline=10.0)
        assert isinstance(
            outcome, Protected
        )  # nothing says otherwise yet: no price was seen, the position isn't visible


@pytest.mark.parametrize(
    ("changes", "market", "message"),
    [
        ({"quantity": D("0.4")}, Market(SYMBOL, quantity_step=D(1)), "Position.quantity of BTC/USDT:USDT got 0.4"),
        ({"quantity": D("1.5")}, Market(SYMBOL, min_quantity=D(2)), "wants at least 2"),
        ({"stop_price": D("99.99")}, Market(SYMBOL, price_tick=D("0.01")), "wants at least 2 ticks of 0.01 from 100"),
    ],
)
async def test_what_the_market_does_not_take_is_refused_and_nothing_sent(
    changes: dict[str, Any], market: Market, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, markets=[market]) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(**changes), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, UsageError)
        assert message in str(outcome.error)
        assert outcome.elapsed == 0.0
        assert world.calls("place_stop") == 0
        await trio.sleep(60)
        assert world.calls("place_stop") == 0


async def test_a_quantity_beyond_the_reported_position_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position(quantity=D(1)))
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        await trio.sleep(60)
        await world.check(a_position())


async def test_a_position_that_is_not_there_is_refused_and_not_called_unprotected_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    absent, slow = some_positions(2)

    def latency(operation: str, symbol: str | None) -> float:
        return 20.0 if (operation, symbol) == ("place_stop", slow.symbol) else 0.5

    async with open_world(latency=latency, request_validity=60.0) as world:
        await world.enter(slow)
        report = await world.running.protect_wave([absent, slow], deadline=30.0)
        assert kinds(report) == ["Refused", "Protected"]
        await trio.sleep(60)
        assert world.running.unprotected() == {}


@pytest.mark.parametrize(("side", "stop_price"), [("long", "101"), ("short", "99")])
async def test_fm06_a_given_stop_on_the_wrong_side_is_refused_and_closes_nothing(
    side: Any, stop_price: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        position = a_position(side=side, stop_price=D(stop_price))
        await world.enter(position)
        outcome = await world.running.protect(position, deadline=10.0)
        assert isinstance(outcome, Refused)
        assert "Position.stop_price of BTC/USDT:USDT got" in str(outcome.error)
        assert world.calls("close_position") == 0
        assert len(await world.paper.positions()) == 1


async def test_an_adopted_winners_stop_may_be_beyond_its_entry(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        winner = a_position(stop_price=D(110))
        await world.enter(winner)
        world.feed("120")
        outcome = await world.running.protect(winner, deadline=10.0)
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == 110


@pytest.mark.parametrize(("side", "tightened"), [("long", "95.475"), ("short", "104.475")])
async def test_a_stop_beyond_the_liquidation_price_is_tightened_with_an_alarm(
    side: Any, tightened: str, autojump_clock: trio.testing.MockClock
) -> None:
    plan = TrailPlan(initial_stop=Percent(6))
    async with open_world(latency=1.0, plan=plan, leverage=20) as world:
        await world.enter(a_position(side=side))
        await world.running.protect(a_position(side=side), deadline=10.0)
        assert "the stop lies beyond the liquidation price" in world.alarms()
        await trio.sleep(5)
        (stop,) = await world.live()
        assert stop.price == D(tightened)  # half a percent of the liquidation price before it
        await world.check(a_position(side=side))


# The price is already beyond the stop.


async def test_a_price_beyond_the_stop_closes_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        world.feed("97")
        report = await world.running.protect_wave([a_position()] * 3, deadline=10.0)
        assert Counter(kinds(report))["Exited"] == 1
        (exited,) = [outcome for outcome in report.outcomes if isinstance(outcome, Exited)]
        assert (exited.fill.price, exited.fill.quantity) == (D(97), D("1.5"))
        assert world.calls("close_position") == 1
        assert await world.paper.positions() == ()


async def test_a_price_beyond_the_stop_is_left_alone_where_the_plan_says_keep(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_would_trigger="keep")
    async with open_world(latency=1.0, plan=plan) as world:
        await world.enter(a_position())
        world.feed("97")
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert world.calls("close_position") == 0
        await trio.sleep(20)
        world.feed("99")
        await trio.sleep(31)
        assert world.running.stops()[BTC].price == 98  # tried again until the price was back


# The store at the door.


async def test_a_position_is_protected_even_if_the_store_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("commit"): Hangs()}
    async with open_world(latency=1.0, store_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert outcome.unprotected_seconds == 2.0  # `journal_wait`, then the placing
        assert "an order is placed that the store does not know of" in world.alarms()


async def test_a_store_that_takes_nothing_refuses_where_the_plan_is_strict(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_store_failure="refuse", on_unprotected="report")
    faults: dict[At, Fault] = {At("commit"): Fails(StoreError("disk full"))}
    async with open_world(latency=1.0, plan=plan, store_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert str(outcome.error) == "disk full"
        await trio.sleep(10)
        assert world.calls("place_stop") == 0
        assert set(world.running.unprotected()) == {BTC}


# Joining what stands.


async def test_a_larger_quantity_of_the_same_position_waits_until_the_stop_covers_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(a_position(quantity=D(1), id="one"))
        world.paper.disconnect()  # the manager gets no update of the increase
        await world.enter(a_position(quantity=D(2), id="one"))
        outcome = await world.running.protect(a_position(quantity=D(3), id="one"), deadline=20.0)
        assert isinstance(outcome, AlreadyProtected)
        assert (outcome.stop.quantity, outcome.uncovered) == (D(3), D(0))
        await trio.sleep(5)
        (live,) = await world.live()
        assert live == outcome.stop


async def test_a_tick_during_the_reading_does_not_pass_for_its_answer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=4.0, can_amend=True) as world:
        await world.protect(a_position(quantity=D(1), id="one"), settle=0.0)
        await trio.sleep(20)
        await world.enter(a_position(quantity=D(2), id="one"))

        async def shake() -> None:
            for number in range(60):
                await trio.sleep(0.25)
                world.feed(str(102 + D(number) / 100))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake)
            outcome = await world.running.protect(a_position(quantity=D(3), id="one"), deadline=60.0)
        assert isinstance(outcome, AlreadyProtected)
        assert (outcome.stop.quantity, outcome.uncovered) == (D(3), D(0))


async def test_in_one_way_mode_the_other_side_is_never_called_protected(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(settle=0.0)
        outcome = await world.running.protect(a_position(side="short", id="other"), deadline=20.0)
        assert isinstance(outcome, (Refused, TimedOut))
        assert outcome.uncovered == D("1.5")
        assert [order.side for order in await world.live()] == ["long"]
        await world.check(a_position())


async def test_a_new_position_gets_its_own_stop_if_the_end_of_the_old_one_was_unnoticed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(a_position(id="one"), settle=0.0)
        world.paper.disconnect()
        world.paper.reduce(*BTC, D("1.5"))
        await world.enter(a_position(side="short", id="two"))
        outcome = await world.running.protect(a_position(side="short", id="two"), deadline=30.0)
        assert isinstance(outcome, Protected)
        assert [(order.side, order.price) for order in await world.live()] == [("short", D(102))]
        loaded = await world.load()
        assert [record.position.id for record in loaded.stops] == ["two"]


async def test_a_position_given_back_and_protected_again_is_in_the_store_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await manager.release(*BTC, cancel_stop=True)
            outcome = await manager.protect(a_position(), deadline=5.0)
            assert isinstance(outcome, Protected)
            await world.check(a_position())
        async with open_listened(world) as manager:
            assert manager.stops() == {BTC: outcome.stop}


async def test_a_position_opened_earlier_has_unprotected_time_from_its_opening(
    autojump_clock: trio.testing.MockClock,
) -> None:
    early = Position(SYMBOL, "long", D("1.5"), D(100), START.replace(year=2025, month=12, day=31))
    async with open_world(latency=2.0) as world:
        await world.enter(early)
        outcome = await world.running.protect(early, deadline=10.0)
        assert outcome.unprotected_seconds == 86402.0


@pytest.mark.parametrize(("handed_in", "placed"), [(a_position(), 1), (a_position(id="another one"), 2)])
async def test_a_position_that_is_handed_in_again_while_its_end_is_read_is_not_protected_anew(
    handed_in: Position, placed: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        manager = world.running
        await manager.protect(a_position(), deadline=5.0)
        world.feed("97")  # its stop is filled; that nothing is left of it has to be read
        await trio.sleep(0.1)
        assert manager.stops() == {}
        outcome = await manager.protect(handed_in, deadline=10.0)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, NothingToReduce)
        assert world.calls("place_stop") == placed
        await trio.sleep(30)
        assert manager.unprotected() == {}
        loaded = await world.load()
        assert (loaded.stops, loaded.intents) == ((), ())


async def test_a_position_that_is_reduced_by_hand_while_it_is_opened_keeps_its_live_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = {"place_stop": 1.0, "positions": 1.2, "open_stops": 1.2}
    async with open_world(latency=lambda operation, _: slow.get(operation, 0.0)) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:

            async def protect() -> None:
                await world.running.protect(a_position(), deadline=10.0)

            nursery.start_soon(protect)
            await trio.sleep(0.55)  # its stop is booked, and the list is read a moment later
            world.paper.reduce(*BTC, D("0.5"))  # a take-profit; the exchange pushes the position
        await trio.sleep(100)
        assert world.paper.actual(SYMBOL)[0], world.running.unprotected()
