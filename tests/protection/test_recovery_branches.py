"""Ways through recovery and reconciliation that only something going wrong takes: each is walked here once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D

import msgspec
import pytest
import trio
import trio.testing
from inspection.paper import push_stream_state
from worlds import (
    BTC,
    PLAN,
    START,
    SYMBOL,
    World,
    a_position,
    a_record,
    open_listened,
    open_world,
    refuse_credentials,
)

import trailing
from trailing import AuthenticationFailed, ExchangeUnreachable, StoreError, Tick, UsageError
from trailing.events import Alarm, PeaksRead, PositionClosed, PositionReleased, StopGone
from trailing.exchanges.port import StopRequest
from trailing.stores.port import AddIntent, Intent, SaveStop
from trailing.testing import At, Fails, Hangs, Unreachable
from trailing.testing.faults import Fault

LISTS = {"open_stops", "positions"}
PATIENT = msgspec.structs.replace(PLAN, stale_after=100_000.0)
"""No silence is too long: the stream is lost and comes back when a test says so."""


def an_unknown_stop(world: World, price: str = "97") -> StopRequest:
    """A stop that carries the manager's own mark, and that it knows nothing of."""
    return StopRequest(SYMBOL, "long", D("1.5"), D(price), world.inside.new_order_id())


# What the stream says.


async def test_a_stream_that_is_said_to_be_lost_again_has_been_lost_since_the_first_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PATIENT) as world:
        await world.protect(settle=0.0)
        await trio.sleep(120)
        world.feed("100")
        await trio.testing.wait_all_tasks_blocked()
        push_stream_state(world.paper, connected=False)
        await trio.sleep(90)
        push_stream_state(world.paper, connected=False)
        await trio.sleep(90)
        push_stream_state(world.paper, connected=True)
        await trio.sleep(70)
        (peaks,) = [event for event in world.events if isinstance(event, PeaksRead)]
        assert (peaks.since, peaks.until) == (START + timedelta(seconds=60), START + timedelta(seconds=300))


async def test_a_stream_that_is_there_again_and_never_said_that_it_was_lost_is_read_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect(settle=0.0)
        await trio.sleep(60)
        before = len(world.exchange.calls)
        push_stream_state(world.paper, connected=True)
        await trio.sleep(5)
        assert {call.operation for call in world.exchange.calls[before:]} == {*LISTS, "candles", "price"}


async def test_a_silence_in_which_no_bar_opened_is_told_and_costs_no_reads(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PATIENT) as world:
        young = a_position(opened_at=START + timedelta(seconds=1))
        await world.enter(young)
        assert isinstance(await world.running.protect(young, deadline=5.0), trailing.Protected)
        world.feed("100")
        await trio.sleep(30)
        before = len(world.exchange.calls)
        push_stream_state(world.paper, connected=True)
        await trio.sleep(80)
        assert {call.operation for call in world.exchange.calls[before:]} <= LISTS
        (peaks,) = [event for event in world.events if isinstance(event, PeaksRead)]
        assert (peaks.candles, peaks.missing, peaks.best) == (0, 30.0, D(100))


async def test_a_bot_with_its_own_prices_misses_none_while_the_stream_is_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, receive = trio.open_memory_channel[Tick](1)
    async with (
        open_world(with_manager=False) as world,
        trailing.open_manager(world.exchange, world.store, PLAN, ticks=receive, utc_start=START) as manager,
    ):
        await world.enter(a_position())
        await manager.protect(a_position(), deadline=5.0)
        world.paper.disconnect()
        await trio.sleep(90)
        before = len(world.exchange.calls)
        world.paper.reconnect()
        await trio.sleep(5)
        assert {call.operation for call in world.exchange.calls[before:]} == LISTS


# What a reading finds.


async def test_a_flip_without_an_update_closes_the_record_with_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PATIENT, latency=0.5) as world:
        await world.protect(settle=0.0)
        world.silence_updates()
        world.paper.reduce(*BTC, D("1.5"))
        await world.enter(a_position(side="short"))
        with trio.fail_after(70):
            await world.running.wait_closed()
        alarms = [(event.what, event.detail) for event in world.events if isinstance(event, Alarm)]
        assert ("the position was flipped", "1.5 short at 100") in alarms
        assert await world.live() == ()
        (report,) = await world.paper.positions()
        assert (report.side, report.quantity) == ("short", D("1.5"))  # untracked and unchanged


async def test_an_intent_that_came_to_nothing_is_settled_by_the_reading_and_its_position_is_covered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    position = a_position()
    async with open_world(with_manager=False) as world:
        await world.enter(position)
        intent = Intent("paper", "default", *BTC, position.identity, "tr" + "0" * 20, "stop", D("1.5"), D(98), START)
        await world.memory.commit([SaveStop("paper", "default", a_record(position)), AddIntent(intent)])
        async with open_listened(world) as manager:
            await trio.sleep(5)
            assert manager.stops()[BTC].price == 98
            assert world.calls("find_stop") == 1  # with two lists, it proves that the order is absent
            assert world.calls("place_stop") == 1
            await world.check(position)
        assert (await world.load()).intents == ()
        assert not [
            one for one in [record.event async for record in world.memory.events()] if isinstance(one, StopGone)
        ]


async def test_a_stop_of_ours_beside_the_one_that_counts_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        (stop,) = await world.protect(settle=0.0)
        world.paper.place_by_hand(an_unknown_stop(world))
        await trio.sleep(70)
        assert await world.live() == (stop,)
        assert world.running.stops() == {BTC: stop}


async def test_an_unknown_stop_of_ours_is_adopted_by_its_unprotected_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = [True]
    async with open_world(
        exchange_faults=lambda operation, *_: Unreachable() if down and operation == "place_stop" else None
    ) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
        request = an_unknown_stop(world)
        world.paper.place_by_hand(request)
        await trio.sleep(70)
        assert world.running.stops()[BTC].client_order_id == request.client_order_id
        assert world.running.unprotected() == {}
        down.clear()
        await trio.sleep(60)
        assert len(await world.live()) == 1


# What can't be carried out.


async def test_an_intent_that_can_not_be_written_off_raises_an_alarm_and_is_written_off_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    full: list[bool] = []
    async with open_world(
        with_manager=False,
        store_faults=lambda operation, *_: Fails(StoreError("full")) if full and operation == "commit" else None,
    ) as world:
        intent = Intent("paper", "default", *BTC, "unknown", "tr" + "0" * 20, "stop", D(1), D(98), START)
        await world.memory.commit([AddIntent(intent)])
        async with open_listened(world):
            full.append(True)
            await trio.sleep(30)
            assert world.alarms() == ["intents that are settled can't be written off"]
            assert (await world.load()).intents == (intent,)
            full.clear()
            await trio.sleep(60)
            assert (await world.load()).intents == ()


@pytest.mark.parametrize(
    ("fault", "detail"),
    [(Unreachable(), "not sent, on purpose"), (Hangs(), "no answer within 10.0 s")],
    ids=["unreachable", "hangs"],
)
async def test_a_leftover_that_can_not_be_cancelled_raises_an_alarm_and_is_cancelled_later(
    fault: Fault, detail: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(exchange_faults={At("cancel_stop", None, 1): fault}) as world:
        await world.enter(a_position())
        world.paper.place_by_hand(an_unknown_stop(world))
        world.paper.reduce(*BTC, D("1.5"))
        with trio.fail_after(90):
            while not world.alarms():
                await trio.sleep(0.1)
        (alarm,) = [event for event in world.events if isinstance(event, Alarm)]
        assert alarm.what == "a leftover stop can't be cancelled"
        assert alarm.detail.endswith(detail)
        assert len(await world.live()) == 1
        await trio.sleep(60)
        assert await world.live() == ()


async def test_a_list_that_is_not_answered_raises_an_alarm_and_is_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PATIENT, exchange_faults={At("open_stops", None, 2): Hangs()}) as world:
        (stop,) = await world.protect(settle=0.0)
        world.silence_updates()
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(60 + PLAN.call_seconds + 1)
        (alarm,) = [event for event in world.events if isinstance(event, Alarm) and event.symbol is None]
        assert (alarm.what, alarm.detail) == (
            "the account can't be read",
            "a read was not answered: no answer within 10.0 s",
        )
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == 98


async def test_a_stop_that_is_gone_is_missed_although_the_peaks_of_a_silence_can_never_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patient = msgspec.structs.replace(PATIENT, call_seconds=50.0)
    async with open_world(plan=patient, exchange_faults={At("candles"): Hangs()}) as world:
        (stop,) = await world.protect(settle=0.0)
        await trio.sleep(60)
        push_stream_state(world.paper, connected=True)
        await trio.sleep(5)
        assert world.calls("candles") == 1
        world.silence_updates()
        world.paper.cancel_by_hand(stop.client_order_id)
        with trio.fail_after(62):
            while world.running.stops().get(BTC) in {None, stop}:
                await trio.sleep(0.1)
        assert world.running.statistics().unprotected_time.cancelled < 1


async def test_a_close_does_not_wait_for_candles_that_never_come(autojump_clock: trio.testing.MockClock) -> None:
    patient = msgspec.structs.replace(PATIENT, call_seconds=50.0)
    async with open_world(plan=patient, exchange_faults={At("candles"): Hangs()}) as world:
        await world.protect(settle=0.0)
        await trio.sleep(60)
        push_stream_state(world.paper, connected=True)
        await trio.sleep(5)
        assert world.calls("candles") == 1
        with trio.fail_after(1):
            await world.running.close(*BTC, deadline=5.0)


async def test_credentials_that_are_not_taken_any_more_end_the_manager_and_leave_its_stops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused = Fails(AuthenticationFailed("the key was withdrawn"))
    faults = lambda operation, *_: refused if trio.current_time() > 100 and operation in LISTS else None  # noqa: E731
    async with open_world(plan=PATIENT, with_manager=False, exchange_faults=faults) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect(settle=0.0)
                await trio.sleep(200)
                pytest.fail("it went on")
        assert trio.current_time() < 121  # the next snapshot; nothing is waited for that can't come
        assert [stop.price for stop in await world.live()] == [D(98)]


async def test_an_opening_that_can_not_be_settled_when_the_manager_fails_is_left_on_the_books(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refuse = refuse_credentials("open_stops", AuthenticationFailed("the key was withdrawn"), first=3)
    others_fail: dict[str, Fault] = {"place_stop": Hangs(booked=True), "find_stop": Unreachable()}
    faults = lambda operation, *rest: others_fail.get(operation) or refuse(operation, *rest)  # noqa: E731
    async with open_world(with_manager=False, exchange_faults=faults) as world, trio.open_nursery() as others:
        await world.enter(a_position())

        async def protect(manager: trailing.Manager) -> None:
            with pytest.raises(UsageError, match="the manager has ended meanwhile"):
                await manager.protect(a_position(), deadline=30.0)

        with pytest.raises(AuthenticationFailed):
            async with open_listened(world) as manager:
                await trio.sleep(59)
                others.start_soon(protect, manager)
                await trio.sleep(1)
                world.inside.reconcile_now()
                await trio.sleep(100)
                pytest.fail("it went on")
        assert trio.current_time() < 60 + PLAN.cleanup_seconds  # no wait for a task that can't end
        loaded = await world.load()
        (stop,) = await world.live()
        assert [intent.client_order_id for intent in loaded.intents] == [stop.client_order_id]


# What a position's own task finds.


async def test_a_position_that_was_closed_before_it_was_released_ends_as_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect(settle=0.0)
        world.paper.reduce(*BTC, D("1.5"))
        await trio.testing.wait_all_tasks_blocked()  # an update says that it is flat; no snapshot has confirmed it
        await world.running.release(*BTC, cancel_stop=False)
        assert await world.live() == ()
        assert any(isinstance(event, PositionClosed) for event in world.events)
        assert not any(isinstance(event, PositionReleased) for event in world.events)


async def test_a_silence_that_comes_while_the_last_one_is_read_is_read_with_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PATIENT, latency=lambda operation, _: 2.0 if operation == "candles" else 0.0) as world:
        await world.protect(settle=0.0)
        await trio.sleep(120)
        world.feed("100")
        await trio.testing.wait_all_tasks_blocked()
        world.paper.disconnect()
        await trio.sleep(60)
        world.paper.reconnect()
        await trio.sleep(1)
        world.paper.disconnect()
        world.feed("109")
        world.feed("110")
        world.feed("109.5")
        world.paper.reconnect()
        await trio.sleep(5)
        assert world.calls("candles") == 2
        await trio.sleep(70)
        (peaks,) = [event for event in world.events if isinstance(event, PeaksRead)]
        assert (peaks.since, peaks.until) == (START + timedelta(seconds=60), START + timedelta(seconds=181))
        assert world.running.stops()[BTC].price == D("108.9")


async def test_a_silence_that_comes_while_the_last_one_can_not_be_read_is_read_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("candles", None, 1): Fails(ExchangeUnreachable("the line broke"), booked=True)}
    slow = lambda operation, _: 2.0 if operation == "candles" else 0.0  # noqa: E731
    async with open_world(plan=PATIENT, latency=slow, exchange_faults=faults) as world:
        await world.protect(settle=0.0)
        await trio.sleep(120)
        world.feed("100")
        await trio.testing.wait_all_tasks_blocked()
        world.paper.disconnect()
        await trio.sleep(60)
        world.paper.reconnect()
        await trio.sleep(1)
        world.paper.disconnect()
        world.paper.reconnect()
        await trio.sleep(2)
        first, second = [call.at for call in world.exchange.calls if call.operation == "candles"]
        assert second - first < 3  # and not READ_AGAIN later
        await trio.sleep(70)
        (peaks,) = [event for event in world.events if isinstance(event, PeaksRead)]
        assert peaks.since == START + timedelta(seconds=60)


async def test_candles_that_the_credentials_do_not_allow_end_the_manager_and_leave_its_stops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults = refuse_credentials("candles", AuthenticationFailed("not with this key"))
    async with open_world(plan=PATIENT, with_manager=False, exchange_faults=faults) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect(settle=0.0)
                world.paper.disconnect()
                await trio.sleep(10)
                world.paper.reconnect()
                await trio.sleep(10)
                pytest.fail("it went on")
        assert [stop.price for stop in await world.live()] == [D(98)]
