"""Failure modes of opening: waves, claims, cancellation, and bugs of one position."""

from __future__ import annotations

import io
import json
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import structlog
import trio
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_listened, open_world, some_positions

from trailing import (
    AlreadyProtected,
    AuthenticationFailed,
    History,
    OutcomeUnknown,
    Percent,
    Protected,
    Refused,
    Rule,
    State,
    StoreError,
    TimedOut,
    TrailPlan,
)
from trailing import events as event_kinds
from trailing.events import Alarm, Event
from trailing.testing import At, Fails, Fault, Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable

D = Decimal


def places(world: World) -> int:
    """How many requests to place a stop were made."""
    return sum(call.operation == "place_stop" for call in world.exchange.calls)


# 07: no stop at all until the trailing activated.


async def test_fm07_protected_before_return(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        started = trio.current_time()
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert trio.current_time() - started == 2.0
        live, _ = world.paper.actual(SYMBOL)  # as it is booked at this moment, no request in between
        assert isinstance(outcome, Protected)
        assert list(live) == [outcome.stop]
        assert outcome.stop.price == 98
        assert world.running.stops() == {BTC: outcome.stop}


@pytest.mark.parametrize("fault", [Hangs(), Fails(OutcomeUnknown("the line broke"))], ids=["hanging", "unknown"])
async def test_fm07_a_stop_that_was_not_acknowledged_is_not_called_protected(
    fault: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=2.0, exchange_faults={At("place_stop"): fault}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is None
        assert world.running.stops() == {}
        assert set(world.running.unprotected()) == {BTC}


# 11: opening new positions made every other position's tick raise, and the errors were swallowed.


async def test_fm11_opening_positions_drops_no_tick_of_others(autojump_clock: trio.testing.MockClock) -> None:
    first, *others = some_positions(20)
    async with open_world(latency=1.0) as world:
        await world.enter(first, *others)
        await world.running.protect(first, deadline=5.0)
        fed = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect_wave(others, deadline=5.0))
            for step in range(10):
                await trio.sleep(0.125)
                world.feed(str(D(100) + step), first.symbol)
                fed += 1
        await trio.sleep(10)
        assert world.running.statistics().ticks == fed
        assert world.running.stops()[first.symbol, "long"].price == D(109) * D("0.99")
        assert len(world.running.stops()) == 20


class Stumbles(Rule, frozen=True):
    """A bot's own rule with a bug, which shows at a price."""

    at: Decimal

    def propose(self, history: History) -> Decimal | None:
        if history.best >= self.at:
            raise ZeroDivisionError("a rule's bug")
        return None


async def test_fm11_an_exception_while_a_tick_is_taken_is_not_discarded(autojump_clock: trio.testing.MockClock) -> None:
    one, other = some_positions(2)
    async with open_world(latency=1.0) as world:
        await world.enter(one, other)
        buggy = TrailPlan(initial_stop=Percent(2), rules=(Stumbles(D(102)),))
        await world.running.protect(one, deadline=5.0, plan=buggy)
        await world.running.protect(other, deadline=5.0)
        world.feed("103", one.symbol)
        world.feed("103", other.symbol)
        await trio.sleep(5)
        (alarm,) = [event for event in world.events if isinstance(event, Alarm)]
        assert (alarm.symbol, alarm.what) == (one.symbol, "frozen: its stop stays live and is not moved")
        assert alarm.detail == "ZeroDivisionError: a rule's bug"
        prices = {symbol: stop.price for (symbol, _), stop in world.running.stops().items()}
        assert prices == {one.symbol: D(98), other.symbol: D("101.97")}


async def test_fm11_a_bug_of_one_position_is_told_of_and_keeps_no_tick_from_another_of_its_symbol(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, other = a_position(), a_position(side="short")
    async with open_world(latency=1.0, hedged=True) as world:
        await world.enter(one, other)
        await world.running.protect_wave([one, other], deadline=5.0)
        await trio.sleep(5)
        world.claim().break_candles()
        world.feed("98.5")
        await trio.sleep(5)
        (alarm,) = [event for event in world.events if isinstance(event, Alarm)]
        assert (alarm.side, alarm.what) == ("long", "frozen: its stop stays live and is not moved")
        assert alarm.detail == "ZeroDivisionError: a bug"
        assert world.running.stops()[other.symbol, "short"].price == D("99.485")


# 13: some creation paths skipped the stop or the subscription.


async def _by_wave(world: World) -> None:
    await world.running.protect_wave([a_position()], deadline=4.0)


async def _by_itself(world: World) -> None:
    await world.running.protect(a_position(), deadline=4.0)


async def _joined(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_by_itself, world)
        nursery.start_soon(_by_itself, world)


async def _adopted(world: World) -> None:
    await world.running.adopt(*BTC, deadline=4.0)


async def _adopted_behind_the_stop_that_was_left(world: World) -> None:
    await _by_itself(world)
    await world.running.release(*BTC, cancel_stop=False)
    await _adopted(world)


PATHS: dict[str, tuple[Any, dict[At, Fault]]] = {
    "wave": (_by_wave, {}),
    "single": (_by_itself, {}),
    "joined": (_joined, {}),
    "adopted": (_adopted, {}),
    "adopted-behind-a-stop": (_adopted_behind_the_stop_that_was_left, {}),
    "late": (_by_itself, {At("place_stop", None, 1): Hangs(booked=True)}),
    "lost": (_by_itself, {At("place_stop", None, 1): ReplyLost()}),
    "refused-then-covered": (_by_itself, {At("place_stop", None, 1): Refuses()}),
    "timed-out-then-covered": (_by_itself, {At("place_stop", None, 1): Hangs()}),
}


@pytest.mark.parametrize("path", PATHS)
async def test_fm13_every_way_in_leads_to_a_stop_that_trails(path: str, autojump_clock: trio.testing.MockClock) -> None:
    act, faults = PATHS[path]
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(a_position())
        await act(world)
        await trio.sleep(60)
        assert world.running.stops()[BTC].price == 98
        world.feed("105")
        await trio.sleep(10)
        assert world.running.stops()[BTC].price == D("103.95")
        assert [order.price for order in await world.live()] == [D("103.95")]
        await world.check(a_position())


async def test_fm13_a_restart_leads_to_a_stop_that_trails(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=4.0)
        async with open_listened(world) as manager:
            await trio.sleep(5)
            world.feed("105")
            await trio.sleep(10)
            assert manager.stops()[BTC].price == D("103.95")
            await world.check(a_position())


# 20: a wave was run twice.


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0, 100.0])
async def test_fm20_the_same_wave_handed_in_twice_yields_the_same_stops(
    apart: float, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(7)
    async with open_world(latency=2.0) as world:
        await world.enter(*positions)
        reports: list[Any] = []

        async def run(after: float) -> None:
            await trio.sleep(after)
            reports.append(await world.running.protect_wave(positions, deadline=10.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, 0.0)
            nursery.start_soon(run, apart)
        assert places(world) == 7
        assert len(await world.live()) == 7
        stops = [[outcome.stop for outcome in report.outcomes] for report in reports]
        assert stops[0] == stops[1]
        kinds = sorted(type(outcome).__name__ for report in reports for outcome in report.outcomes)
        assert kinds == ["AlreadyProtected"] * 7 + ["Protected"] * 7


async def test_fm20_the_claim_comes_before_anything_is_written_or_sent(autojump_clock: trio.testing.MockClock) -> None:
    claimed: list[bool] = []

    def look(operation: str, symbol: str | None, number: int) -> None:
        if world.manager is not None and operation in {"commit", "place_stop"}:
            claimed.append(BTC in world.inside.claimed())

    async with open_world(latency=2.0, exchange_faults=look, store_faults=look, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            assert len(claimed) >= 2
            assert all(claimed)


# 21: five concurrent creations of one symbol placed five orders and tracked one.


async def test_fm21_concurrent_creations_place_one_order(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        report = await world.running.protect_wave([a_position()] * 5, deadline=10.0)
        assert places(world) == 1
        assert report.elapsed == 2.0
        assert sorted(type(outcome).__name__ for outcome in report.outcomes) == ["AlreadyProtected"] * 4 + ["Protected"]
        (live,) = await world.live()
        assert all(outcome.stop == live for outcome in report.outcomes)  # type: ignore[union-attr]


@pytest.mark.parametrize("after", [0.0, 0.25, 0.5, 0.75, 0.875])
async def test_fm21_a_cancelled_creation_leaves_nothing_and_the_others_take_over(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        outcomes: list[Any] = []

        async def protect() -> None:
            outcomes.append(await world.running.protect(a_position(), deadline=30.0))

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as first:
                async with trio.open_nursery() as cancelled:
                    cancelled.start_soon(protect)
                    while not places(world):
                        await trio.lowlevel.checkpoint()
                    for _ in range(4):
                        nursery.start_soon(protect)
                    await trio.sleep(after)
                    first.cancel()
        assert [type(outcome) for outcome in outcomes].count(Protected) == 1
        assert [type(outcome) for outcome in outcomes].count(AlreadyProtected) == 3
        assert places(world) == 2
        await trio.sleep(30)
        await world.check(a_position())
        assert len(await world.live()) == 1


# 26: error paths crashed themselves.

FAULTS: dict[str, tuple[Fault, str]] = {
    "refused": (Refuses(), "Refused"),
    "unreachable": (Unreachable(), "Protected"),
    "limited": (Throttles(1.0), "Protected"),
    "limited-too-long": (Throttles(60.0), "Refused"),
    "lost": (ReplyLost(), "Protected"),
    "hanging": (Hangs(), "TimedOut"),
    "hanging-booked": (Hangs(booked=True), "TimedOut"),
    "slow": (Slow(2.0), "Protected"),
    "unauthorized-once": (Fails(AuthenticationFailed("bad key")), "Protected"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_fm26_every_failure_of_an_opening_ends_in_its_outcome_and_blocks_no_position(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    bad, good = some_positions(2)
    struck, expected = FAULTS[fault]
    async with open_world(latency=1.0, exchange_faults={At("place_stop", bad.symbol, 1): struck}) as world:
        await world.enter(bad, good)
        report = await world.running.protect_wave([bad, good], deadline=10.0)
        assert type(report.outcomes[0]).__name__ == expected
        assert isinstance(report.outcomes[1], Protected)
        assert report.outcomes[1].elapsed == 1.0
        await trio.sleep(61)
        await world.check(bad, good)
        world.feed("105", good.symbol)
        await trio.sleep(10)
        assert world.running.stops()[good.symbol, "long"].price == D("103.95")


def _sample(kind: type[Event]) -> Event:
    values: dict[Any, Any] = {
        Decimal: D("1.50"),
        Decimal | None: D("1.50"),
        str: "100% {of} %s",
        float: 0.5,
        bool: True,
        int: 3,
        datetime: a_position().opened_at,
        dict[str, Any]: PLAN.encoded,
    }
    hints = typing.get_type_hints(kind)
    fields = {name: values[hints[name]] for name in kind.__struct_fields__ if hints[name] in values}
    return kind(**(fields | {"symbol": BTC[0], "side": "long"}))


@pytest.mark.parametrize("kind", typing.get_args(event_kinds.Event), ids=lambda kind: kind.__name__)
async def test_fm26_every_event_can_be_logged_stored_and_received(
    kind: type[Event], autojump_clock: trio.testing.MockClock
) -> None:
    lines = io.StringIO()
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.processors.JSONRenderer(default=str)],
        logger_factory=structlog.PrintLoggerFactory(lines),
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
    event = _sample(kind)
    async with open_world() as world, world.running.subscribe() as received:
        world.inside.publish(event)
        assert await received.receive() == event
        await trio.sleep(1)
        (stored,) = [record.event async for record in world.memory.events()]
        assert stored == event
    (line,) = lines.getvalue().splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["level"], logged["symbol"]) == (kind.__name__, kind.level, BTC[0])


# 37: a cancelled finally raised at its lock, and the symbol stayed claimed for ever.


@pytest.mark.parametrize("after", [0.0, 0.5, 0.999])
async def test_fm37_a_cancelled_creation_leaves_no_claim_without_a_holder(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        with trio.move_on_after(after) as scope:
            await world.running.protect(a_position(), deadline=10.0)
        assert scope.cancelled_caught
        assert world.inside.claims() == ()
        with trio.fail_after(2.0):  # at once, and not only after the claim is released
            outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)


async def test_fm37_a_store_that_fails_while_a_creation_is_cancelled_leaves_no_claim(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("commit", None, number): Fails(StoreError("disk full")) for number in range(2, 20)}
    async with open_world(latency=1.0, store_faults=faults) as world:
        await world.enter(a_position())
        with trio.move_on_after(0.5):
            await world.running.protect(a_position(), deadline=10.0)
        assert world.inside.claims() == ()
        await trio.sleep(30)
        assert await world.live() == ()


# 38: a shielded clean-up found the exchange's own tasks already cancelled.


@asynccontextmanager
async def open_program(found: dict[str, Any], **world: Any) -> AsyncIterator[World]:
    """A program with all that it opens; what is live and what is stored when it has ended is found afterwards."""
    async with open_world(latency=1.0, with_manager=False, **world) as opened:
        try:
            yield opened
        finally:
            with trio.move_on_after(30, shield=True):
                found["live"] = await opened.live()
                found["loaded"] = await opened.memory.load("paper", "default")


@pytest.mark.parametrize("after", [0.25, 0.5, 0.75])
async def test_fm38_clean_up_gets_its_answer_when_the_whole_program_is_cancelled(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    positions, found = some_positions(3), dict[str, Any]()
    after += 1.0  # that long the manager reads the account
    started = trio.current_time()
    with trio.move_on_after(after) as scope:
        async with open_program(found) as world:
            await world.enter(*positions)
            async with open_listened(world) as manager:
                await manager.protect_wave(positions, deadline=10.0)
    assert scope.cancelled_caught
    assert found["live"] == ()
    assert [record.state for record in found["loaded"].stops] == [State.CLOSED] * 3
    assert found["loaded"].intents == ()
    # The request's answer, the cancelling and its answer, and the last reading here: no clean-up ran into its deadline.
    assert trio.current_time() - started <= after + 1.0 + 1.0 + 1.0
    assert "a clean-up did not end in time" not in world.alarms()


@pytest.mark.parametrize("after", [0.25, 0.75, 1.25, 1.75])
async def test_fm38_a_move_is_brought_to_its_end_when_the_whole_program_is_cancelled(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    found: dict[str, Any] = {}
    with trio.CancelScope() as scope:
        async with open_program(found) as world:
            await world.enter(a_position())
            async with open_listened(world) as manager:
                await manager.protect(a_position(), deadline=10.0)
                await trio.sleep(5)
                world.feed("105")
                await trio.sleep(after)  # placing and cancelling take a second each
                scope.cancel()
                await trio.sleep_forever()
    assert [stop.price for stop in found["live"]] == [D("103.95")]
    (record,) = found["loaded"].stops
    assert record.orders == tuple(found["live"])
    assert found["loaded"].intents == ()


async def test_fm38_what_was_handed_in_is_written_when_the_whole_program_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found: dict[str, Any] = {}
    with trio.CancelScope() as scope:
        async with open_program(found, store_faults={At("commit"): Slow(1.5)}) as world:
            await world.enter(a_position())
            async with open_listened(world) as manager, trio.open_nursery() as nursery:
                nursery.start_soon(lambda: manager.protect(a_position(), deadline=10.0))
                await trio.sleep(1.25)  # the intent takes longer than is waited for, and the stop is on its way
                scope.cancel()
    assert found["live"] == ()
    assert [record.state for record in found["loaded"].stops] == [State.CLOSED]
    assert found["loaded"].intents == ()


async def test_fm26_a_bug_is_refused_to_its_position_and_raised_at_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad, good = some_positions(2)
    faults: dict[At, Fault] = {At("place_stop", bad.symbol, 1): Fails(KeyError("enum member"))}
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(bad, good)
        with pytest.raises(ExceptionGroup) as caught:
            await world.running.protect_wave([bad, good], deadline=10.0)
        (bug,) = caught.value.exceptions
        assert isinstance(bug, KeyError)
        assert set(world.running.stops()) == {(good.symbol, "long")}
        await trio.sleep(30)
        await world.check(bad, good)


async def test_fm26_a_plan_that_gives_no_stop_is_an_outcome(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=PLAN) as world:
        cheap = a_position(entry_price=D("0.00000001"))
        await world.enter(cheap)
        outcome = await world.running.protect(cheap, deadline=5.0, plan=TrailPlan(initial_stop=D("0.00000001")))
        assert isinstance(outcome, Refused)
        assert "wants a distance that gives a stop above 0" in str(outcome.error)
        assert set(world.running.unprotected()) == {BTC}
