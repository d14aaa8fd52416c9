"""Failure mode 26: ways through the code that only a failure takes. Each is walked here once."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal as D

import msgspec
import pytest
import structlog
import trio
import trio.testing
from inspection.manager import check_given_stop, check_reported
from worlds import BTC, PLAN, START, World, a_position, a_record, open_listened, open_world

from trailing import Market, Position, Protected, Refused, StopRejected, TimedOut
from trailing.core.account import PositionReport
from trailing.errors import AuthenticationFailed, NothingToReduce, OutcomeUnknown, UsageError, WouldTrigger
from trailing.stores.port import AddIntent, Intent, SaveStop
from trailing.testing import At, Fails, Hangs, Refuses, Slow
from trailing.testing.faults import Fault, Faults


async def test_fm26_a_stop_said_to_trigger_at_a_price_that_does_not_is_placed_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, 1): Refuses(WouldTrigger("not so"))}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=10.0), Protected)
        assert (world.calls("place_stop"), world.calls("close_position")) == (2, 0)
        await world.check(a_position())


async def test_fm26_a_stop_of_unknown_outcome_that_is_absent_is_placed_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, 1): Fails(OutcomeUnknown("the line broke"))}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert outcome.elapsed > world.paper.request_validity, "before, it may still have been executed"
        assert len(await world.live()) == 1
        await world.check(a_position())


async def test_fm26_a_position_that_can_not_be_reduced_at_the_door_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {
        At("place_stop"): Refuses(WouldTrigger("it is there")),
        At("close_position", None, 1): Refuses(NothingToReduce("flat")),
    }
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(a_position())
        world.feed("97")
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, NothingToReduce)
        await trio.sleep(60)
        assert await world.paper.positions() == ()


async def test_fm26_a_close_at_the_door_that_hangs_is_settled_by_the_positions_task(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("close_position", None, 1): Hangs(booked=True)}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(a_position())
        world.feed("97")
        outcome = await world.running.protect(a_position(), deadline=2.0)
        assert isinstance(outcome, TimedOut)
        await world.running.wait_closed()
        assert world.calls("close_position") == 1
        await world.check(a_position())


async def test_fm26_a_clean_up_that_the_exchange_does_not_let_in_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused: list[bool] = []

    def fault(operation: str, _: str | None, number: int) -> Fault | None:
        if operation == "place_stop" and number == 1:
            return Hangs(booked=True)
        if (operation, number) == ("find_stop", 1) or (operation == "positions" and refused):
            refused.append(True)
            return Fails(AuthenticationFailed("no")) if len(refused) <= 2 else None
        return None

    async with open_world(latency=0.1, exchange_faults=fault) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=2.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is None
        assert BTC in world.running.unprotected()
        assert "a clean-up failed" in world.alarms()
        await trio.sleep(60)
        assert world.running.stops().keys() == {BTC}
        await world.check(a_position())


async def test_fm26_a_deadline_that_strikes_while_the_record_is_written_leaves_it_protected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, store_faults={At("commit", None, 2): Slow(0.9)}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=1.5)
        assert isinstance(outcome, Protected)
        assert outcome.elapsed == 1.0  # one wait for the store, after the wave, is enough for all its positions
        await trio.sleep(5)
        await world.check(a_position())


async def test_fm26_a_resize_that_would_trigger_puts_the_stop_back(autojump_clock: trio.testing.MockClock) -> None:
    markets = [Market(BTC[0], two_stops=False)]
    faults: dict[At, Fault] = {At("place_stop", None, 2): Refuses(WouldTrigger("for a moment"))}
    async with open_world(latency=0.1, markets=markets, exchange_faults=faults) as world:
        await world.protect(settle=0.0)
        await world.enter(a_position(quantity=D("0.5")))
        await trio.sleep(30)
        assert [(order.price, order.quantity) for order in await world.live()] == [(D(98), D(2))]
        assert world.calls("close_position") == 0
        await world.check(a_position(quantity=D(2)))


async def test_fm26_a_close_of_what_the_exchange_reports_and_can_not_reduce_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("close_position", None, n): Refuses(NothingToReduce("flat")) for n in (1, 2)}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect(settle=0.0)
        await world.running.close(*BTC, deadline=60.0)
        assert world.calls("close_position") == 3
        await world.check(a_position())


async def test_fm26_a_read_that_is_not_answered_is_made_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.1, exchange_faults={At("positions", None, 2): Hangs()}) as world:
        await world.protect(settle=0.0)
        number = world.claim().check()
        await trio.sleep(30)
        assert world.claim().checked_at >= number
        assert world.calls("positions") == 3


async def test_fm26_a_move_to_where_the_stop_is_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.1) as world:
        await world.protect(settle=0.0)
        world.claim().want_move(D(98))
        await trio.sleep(5)
        assert world.calls("place_stop") == 1
        assert not world.claim().has_request_wanted


async def test_fm26_a_refusal_before_the_claim_takes_nothing_from_who_holds_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1) as world:
        await world.protect(settle=0.0)
        impossible = msgspec.structs.replace(PLAN, initial_stop=D(1000))
        outcome = await world.running.protect(a_position(id="two"), deadline=5.0, plan=impossible)
        assert isinstance(outcome, Refused)
        assert world.running.unprotected() == {}
        assert world.running.stops().keys() == {BTC}


async def stored_records(world: World, positions: Sequence[Position]) -> None:
    for position in positions:
        await world.memory.commit([SaveStop("paper", "default", a_record(position))])


async def test_fm26_two_records_of_one_position_raise_an_alarm(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(a_position())
        await stored_records(world, [a_position(id="one"), a_position(id="two")])
        async with open_listened(world):
            await trio.sleep(1)
        assert "two records claim one position" in await world.stored_alarms()


async def test_fm26_a_record_written_before_its_intent_is_covered_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(a_position())
        await stored_records(world, [a_position()])
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert manager.stops().keys() == {BTC}
            await world.check(a_position())


async def test_fm26_an_intent_without_a_record_raises_an_alarm(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        intent = Intent("paper", "default", *BTC, "one", "tr" + "0" * 20, "stop", D(1), D(98), START)
        await world.memory.commit([AddIntent(intent)])
        async with open_listened(world):
            await trio.sleep(1)
        assert await world.stored_alarms() == ["an intent without a record"]


async def test_fm26_more_than_the_exchange_reports_is_refused_at_the_door() -> None:
    with pytest.raises(UsageError, match="wants at most the 1 that the exchange reports"):
        check_reported(a_position(), PositionReport(*BTC, D(1), D(100)), PLAN)


def test_fm26_a_given_stop_that_the_price_has_crossed_since_the_entry_is_no_mistake() -> None:
    check_given_stop(a_position(stop_price=D(95)), D(94))
    with pytest.raises(UsageError, match="stop_price"):
        check_given_stop(a_position(stop_price=D(101)), D(100))


async def test_fm26_without_a_configured_log_only_what_wants_a_look_is_printed(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    faults: Faults = {At("place_stop", None, 1): Refuses(StopRejected("no"))}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(5)
    out = capsys.readouterr().out
    assert "OpeningFailed" in out
    assert "StopOpened" not in out
