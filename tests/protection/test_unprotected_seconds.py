"""Unprotected seconds by cause: in outcomes, events, records and statistics."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal as D

import msgspec
import pytest
import trio
import trio.testing
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, a_record, open_listened, open_world

from trailing import (
    AlreadyProtected,
    Exited,
    Market,
    Protected,
    Refused,
    TimedOut,
    UnprotectedTime,
    WouldTrigger,
)
from trailing.events import PositionClosed, StopMoved, StopOpened
from trailing.stores.port import SaveStop
from trailing.testing import At, Fault, Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is tried again after 0.2 s, then 0.4 s, and so on."""
    monkeypatch.setattr(random, "uniform", lambda _, most: most)


async def unprotected_for_one_second(world: World) -> None:
    """Protect the position of BTC; a second of its first five passes without a stop."""
    await world.protect(deadline=4.0, settle=0.0)
    await trio.sleep(5.0 - (trio.current_time() - world.started))


def unprotected_time(world: World) -> UnprotectedTime:
    return world.running.statistics().unprotected_time


def check_events(world: World) -> None:
    """Check that every event has the same unprotected seconds in total and by cause."""
    found = [event for event in world.events if isinstance(event, (StopOpened, StopMoved, PositionClosed))]
    assert found
    assert [event.unprotected_time.total for event in found] == [event.unprotected_seconds for event in found]


# Each cause.


async def test_unprotected_time_before_the_first_stop_counts_as_opening(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=2.0) as world:
        await world.enter(a_position())
        await trio.sleep(7)
        report = await world.running.protect_wave([a_position()], deadline=10.0)
        (outcome,) = report.outcomes
        assert (
            outcome.unprotected_time
            == report.unprotected_time
            == unprotected_time(world)
            == UnprotectedTime(opening=9.0)
        )
        assert (
            outcome.unprotected_seconds
            == report.unprotected_seconds
            == world.running.statistics().unprotected_seconds
            == 9.0
        )
        (opened,) = [event for event in world.events if isinstance(event, StopOpened)]
        assert (opened.unprotected_seconds, opened.unprotected_time) == (9.0, UnprotectedTime(opening=9.0))
        joined = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(joined, AlreadyProtected)
        assert joined.unprotected_time == UnprotectedTime(opening=9.0)
        world.feed("97.9")
        await world.running.wait_closed()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.unprotected_seconds, closed.unprotected_time) == (9.0, UnprotectedTime(opening=9.0))


async def test_a_move_that_has_to_cancel_first_is_bare_by_the_move(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, two_stops=False) as world:
        await unprotected_for_one_second(world)
        world.feed("105")
        await trio.sleep(10)
        (moved,) = [event for event in world.events if isinstance(event, StopMoved)]
        # An update says that the old one is cancelled, half a second before the reply; the new one takes a second after it.
        assert (moved.unprotected_seconds, moved.unprotected_time) == (1.5, UnprotectedTime(move=1.5))
        assert unprotected_time(world) == UnprotectedTime(opening=1.0, move=1.5)
        check_events(world)


async def test_a_rest_that_its_filled_stop_left_is_bare_by_the_move_until_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    coarse = Market(SYMBOL, quantity_step=D(1))
    async with open_world(latency=1.0, markets=[coarse]) as world:
        await unprotected_for_one_second(world)
        world.feed(
            "97.9"
        )  # fills the stop of 1; what is left is closed at once, and an update says so half a second later
        await world.running.wait_closed()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert closed.unprotected_time == unprotected_time(world) == UnprotectedTime(opening=1.0, move=0.5)
        assert closed.quantity == D("1.5")


async def test_while_a_reply_is_lost_a_position_is_bare_by_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=2.0, exchange_faults={At("place_stop", None, 1): ReplyLost()}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Protected)
        assert outcome.unprotected_time == UnprotectedTime(opening=2.0, outage=2.0)  # the request, and the look


async def test_what_a_rate_limit_turns_away_is_bare_by_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop", None, 1): Throttles(5.0)}) as world:
        await world.enter(a_position())
        await trio.sleep(3)
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert outcome.unprotected_time == UnprotectedTime(opening=3.0, outage=6.0)


async def test_what_the_store_does_not_take_first_is_bare_by_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    plan = msgspec.structs.replace(PLAN, on_store_failure="refuse")
    faults: dict[At, Fault] = {At("commit", None, 1): Hangs()}
    async with open_world(latency=1.0, plan=plan, store_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert outcome.unprotected_time == UnprotectedTime(
            opening=1.0
        )  # `journal_wait`; refused then, and an outcome at once
        await trio.sleep(3)
        assert unprotected_time(world) == UnprotectedTime(opening=1.0, outage=trio.current_time() - world.started - 1.0)


async def test_from_the_deadline_on_a_position_is_bare_by_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop", None, 1): Hangs(booked=True)}) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is not None
        assert outcome.unprotected_time == unprotected_time(world) == UnprotectedTime(opening=4.0, outage=1.0)
        check_events(world)


async def test_a_stop_that_came_too_late_and_is_withdrawn_leaves_the_position_bare_by_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_late_order="cancel")
    faults: dict[At, Fault] = {At("place_stop", None, 1): Hangs(booked=True)}
    async with open_world(latency=1.0, plan=plan, exchange_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        assert isinstance(outcome, TimedOut)
        assert (outcome.stop, outcome.elapsed) == (None, 6.0)
        # Found live a second after the deadline, and known to be until an update says that it is cancelled, half a second
        # later and as long before the reply.
        assert outcome.unprotected_time == UnprotectedTime(opening=4.0, outage=1.5)
        await trio.sleep(10)
        assert world.running.stops()[BTC].price == 98
        assert unprotected_time(world) == UnprotectedTime(opening=4.0, outage=2.5)


async def test_what_the_exchange_refuses_is_bare_by_that(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        await world.enter(a_position())
        await trio.sleep(3)
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Refused)
        assert outcome.unprotected_time == UnprotectedTime(opening=3.0)  # refused at once, and an outcome at once
        await trio.sleep(10)
        assert unprotected_time(world).rounded(6) == UnprotectedTime(
            opening=3.0, refused=1.2
        )  # tried again 0.2 s later
        check_events(world)


async def test_a_stop_cancelled_by_hand_leaves_the_position_bare_by_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await unprotected_for_one_second(world)
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(10)
        assert unprotected_time(world) == UnprotectedTime(opening=1.0, cancelled=1.0)
        again = [event for event in world.events if isinstance(event, StopOpened)][-1]
        assert (again.unprotected_seconds, again.unprotected_time) == (2.0, UnprotectedTime(opening=1.0, cancelled=1.0))


# Where the cause changes.


async def test_unprotected_time_of_a_move_becomes_an_outage_if_the_placing_gets_no_reply(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, two_stops=False, exchange_faults={At("place_stop", None, 2): Hangs()}) as world:
        await unprotected_for_one_second(world)
        world.feed("105")
        await trio.sleep(1 + 10)  # cancelled, as an update says half a second before the reply; `call_seconds`
        await trio.testing.wait_all_tasks_blocked()
        assert unprotected_time(world) == UnprotectedTime(opening=1.0, move=10.5)
        await trio.sleep(30)
        # Its absence takes two looks of a second each, a quarter of one between them; then a second for the new one.
        assert unprotected_time(world).rounded(6) == UnprotectedTime(opening=1.0, move=10.5, outage=2.25 + 1.0)
        assert world.running.stops()[BTC].price == D("103.95")
        check_events(world)


async def test_unprotected_time_of_a_move_counts_as_refused_after_the_new_stop_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(
        latency=1.0, two_stops=False, exchange_faults={At("place_stop", None, 2): Refuses()}
    ) as world:
        await unprotected_for_one_second(world)
        world.feed("105")
        await trio.sleep(10)
        # The update of the cancellation comes half a second before its reply. The new one is refused at once; the old
        # price is put back within a second.
        again = [event for event in world.events if isinstance(event, StopOpened)][-1]
        assert (again.price, again.unprotected_time) == (D(98), UnprotectedTime(opening=1.0, move=0.5, refused=1.0))


async def test_what_is_cancelled_while_the_exchange_is_away_is_bare_by_both(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, number): Unreachable() for number in (3, 4)}
    faults[At("place_stop", None, 2)] = Hangs()
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await unprotected_for_one_second(world)
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(60)
        spent = unprotected_time(world)
        assert (spent.opening, spent.cancelled, spent.move, spent.refused) == (1.0, 10.0, 0.0, 0.0)
        assert spent.outage > 2.25 + 1.0
        check_events(world)


async def test_a_price_that_can_not_be_read_makes_a_refusal_an_outage(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {
        At("place_stop", None, 1): Refuses(WouldTrigger("the price is there")),
        At("price", None, 1): Hangs(),
    }
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=4.0)
        # Refused at once; the reading of the positions takes a second, and that of the price hangs until the deadline.
        assert isinstance(outcome, TimedOut)
        await trio.sleep(0.5)
        assert unprotected_time(world) == UnprotectedTime(refused=4.0, outage=0.5)


async def test_a_close_that_is_not_answered_makes_it_an_outage_and_the_stop_that_is_placed_meanwhile_ends_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="close")
    async with open_world(
        latency=1.0, plan=plan, exchange_faults={At("close_position", None, 1): Unreachable()}
    ) as world:
        await unprotected_for_one_second(world)
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(60)
        # It is looked at first, for a second. The close fails, so that a stop is placed meanwhile: another second.
        assert unprotected_time(world).rounded(6) == UnprotectedTime(opening=1.0, cancelled=1.0, outage=1.0)
        assert BTC in world.running.stops()  # the close is taken back


async def test_retry_for_counts_all_unprotected_time_whatever_its_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, retry_for=12.0)
    async with open_world(latency=1.0, plan=plan, exchange_faults={At("place_stop", None, 2): Hangs()}) as world:
        await unprotected_for_one_second(world)
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(60)
        # 10 s without an answer, 0.2 s and two looks: more than 12 s, of which less than 3 s by the present cause.
        assert world.running.unprotected()[BTC].state == "closed"
        assert unprotected_time(world).rounded(6).cancelled == 10.0
        assert await world.live() == ()


async def test_unprotected_time_ends_when_a_position_is_abandoned_even_if_saving_is_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="report")
    async with open_world(
        plan=plan, exchange_faults={At("place_stop"): Refuses()}, store_faults={At("commit"): Slow(0.5)}
    ) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(10)
        assert unprotected_time(world) == UnprotectedTime(
            opening=0.5
        )  # half a second for the intent; its failure ends them


async def test_a_position_that_is_open_again_behind_its_filled_stop_is_bare_by_the_move(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await unprotected_for_one_second(world)
        world.feed("97")
        await world.enter(a_position(quantity=D("0.5")))
        world.feed("99")
        await trio.sleep(30)
        assert "a closed position is open again" in world.alarms()
        assert world.running.stops()[BTC].quantity == D("0.5")
        assert unprotected_time(world) == UnprotectedTime(opening=1.0, move=1.0)  # from when that is known


# Outcomes.


async def test_a_position_closed_at_the_door_is_bare_until_the_close_is_filled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        world.feed("97")
        outcome = await world.running.protect(a_position(), deadline=10.0)
        assert isinstance(outcome, Exited)
        await world.running.wait_closed()
        assert outcome.unprotected_time == unprotected_time(world) == UnprotectedTime(opening=1.0, refused=1.5)


async def test_time_behind_a_failed_claim_counts_as_unprotected(autojump_clock: trio.testing.MockClock) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="report")
    faults: dict[At, Fault] = {At("place_stop", None, 1): Throttles(9.0)}
    async with open_world(latency=1.0, plan=plan, exchange_faults=faults) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(a_position(), deadline=2.0))
            await trio.sleep(0.5)
            outcome = await world.running.protect(a_position(), deadline=20.0)
        assert isinstance(outcome, Protected)
        assert outcome.unprotected_seconds == trio.current_time() - world.started


async def test_a_refusal_before_a_claim_reports_the_unprotected_time_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(markets=[Market(SYMBOL)], hedged=False) as world:
        await unprotected_for_one_second(world)
        short = a_position(side="short", opened_at=START + timedelta(seconds=2))
        outcome = await world.running.protect(short, deadline=10.0)
        assert isinstance(outcome, Refused)
        assert outcome.unprotected_time == UnprotectedTime(opening=3.0)


# Over a restart.


async def test_unprotected_time_survives_a_restart_and_time_without_a_process_is_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        world.inject({At("place_stop"): Refuses()})
        async with open_listened(world) as manager:
            opened_after = trio.current_time() - world.started
            assert isinstance(await manager.protect(a_position(), deadline=5.0), Refused)
            await trio.sleep(6)  # between two tries
        before = UnprotectedTime(opening=opened_after, refused=6.0)
        record = await world.record()
        assert (record.orders, record.unprotected_time.rounded(6)) == ((), before)
        await trio.sleep(100)
        world.inject({})
        async with open_listened(world) as manager:
            await trio.sleep(10)
            # Two seconds more: one for the reading of the account, one for the placing.
            after = before.plus("outage", 102.0)
            assert manager.statistics().unprotected_time.rounded(6) == after
            assert (await world.record()).unprotected_time.rounded(6) == after
        async with open_listened(world) as manager:
            await trio.sleep(1000)
            world.feed("97.9")
            await manager.wait_closed()
        told = [record.event async for record in world.memory.events()]
        (opened,) = [event for event in told if isinstance(event, StopOpened)]
        (closed,) = [event for event in told if isinstance(event, PositionClosed)]
        assert opened.unprotected_time.rounded(6) == closed.unprotected_time.rounded(6) == after
        assert closed.unprotected_seconds == closed.unprotected_time.total


@pytest.mark.parametrize(
    ("saved_after", "outage"), [(10.0, 20.0), (None, 30.0), (60.0, 0.0)], ids=["unprotected", "old", "clock set back"]
)
async def test_a_crash_is_an_outage_from_the_last_record_on(
    saved_after: float | None, outage: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        kept = UnprotectedTime(opening=2.0, move=3.0)
        record = msgspec.structs.replace(
            a_record(),
            state="unprotected",
            saved_at=None if saved_after is None else START + timedelta(seconds=saved_after),
            unprotected_time=kept,
        )
        await world.memory.commit([SaveStop("paper", "default", record)])
        await trio.sleep(30)
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert manager.stops()[BTC].price == 98
            assert manager.statistics().unprotected_time == kept.plus("outage", outage)


async def test_a_restart_counts_no_unprotected_time_with_a_live_stop_and_counts_a_lost_stop_from_its_discovery(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            assert isinstance(await manager.protect(a_position(), deadline=5.0), Protected)
            before = manager.statistics().unprotected_time
            assert before.total == before.opening
        await trio.sleep(100)
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert manager.statistics().unprotected_time == before
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(100)
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert manager.statistics().unprotected_time.rounded(6) == before.plus("cancelled", 1.0).rounded(6)
