"""What a manager finds when it opens, comes back to after an outage, and looks for every minute."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
import trio.testing
from inspection.paper import set_liquidation_price
from worlds import BTC, PLAN, START, SYMBOL, a_position, a_record, open_listened, open_world, some_positions
from wrong_venues import WrongVenue

import trailing
from trailing import LeaseLost, Percent, Protected, StopOrder, Tick, TrailPlan
from trailing.core.evidence import UNANNOUNCED as CONTRADICTED_LOOK
from trailing.core.findings import ForeignInstance
from trailing.core.model import Side
from trailing.events import PeaksRead, PositionClosed, StopGone
from trailing.exchanges.port import StopRequest
from trailing.stores import MemoryStore
from trailing.stores.port import AddIntent, Intent, SaveStop
from trailing.testing import At, FaultyExchange, Hangs, ReplyLost, Unreachable
from trailing.testing.faults import Fault

LISTS = {"open_stops", "positions"}


def reads(exchange: FaultyExchange, since: int) -> list[str]:
    return [call.operation for call in exchange.calls[since:]]


async def test_a_thousand_stored_positions_are_resumed_by_one_reading_of_each_list(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(1000)
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(*positions)
        before = len(world.exchange.calls)
        async with open_listened(world) as manager:
            assert len(manager.stops()) == 1000
            asked = [one for one in reads(world.exchange, before) if one not in {"candles", "price"}]
            assert sorted(asked) == ["open_stops", "positions", "set_subscriptions"]
            await world.check(*positions)


async def test_a_thousand_resumed_positions_are_saved_at_once_in_a_few_commits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(1000)
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(*positions)
        commits = world.memory.commits
        async with open_listened(world):
            await trio.sleep(2)  # candles and price take half a second each
            assert all(claim.is_stored for claim in world.inside.claims())
            assert world.memory.commits - commits < 10


async def test_while_the_store_is_stuck_no_heap_of_records_is_handed_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions, stuck = some_positions(20), list[bool]()
    async with open_world(
        plan=TrailPlan(initial_stop=Percent(2), stale_after=100_000.0),
        latency=0.5,
        with_manager=False,
        store_faults=lambda operation, *_: Hangs() if stuck and operation == "commit" else None,
    ) as world:
        await world.protect_and_end(*positions)
        stuck.append(True)
        async with open_listened(world):
            await trio.sleep(100)
            waiting = world.inside.entries_waiting()
            await trio.sleep(300)
            assert world.inside.entries_waiting() == waiting
            stuck.clear()


async def test_nothing_stored_is_believed_before_the_read_lag_is_over(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0, with_manager=False) as world:
        await world.protect_and_end(a_position())
        await trio.sleep(10)
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)  # which a read does not show for two seconds
        async with open_listened(world) as manager:
            await trio.sleep(5)
            assert manager.stops()[BTC].client_order_id != stop.client_order_id
            await trio.sleep(3)
            await world.check(a_position())


async def test_fm23_a_stop_that_vanished_unseen_while_it_runs_is_noticed_within_a_minute_and_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, Protected)
        world.silence_updates()
        world.paper.cancel_by_hand(outcome.stop.client_order_id)
        await trio.sleep(65)
        assert world.running.stops()[BTC].price == outcome.stop.price
        await world.check(a_position())
        assert any(isinstance(event, StopGone) for event in world.events)


async def test_fm23_a_stop_that_vanished_while_the_process_was_dead_is_replaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)
        async with open_listened(world) as manager:
            await trio.sleep(2)
            assert manager.stops()[BTC].price == stop.price
            await world.check(a_position())


async def test_an_externally_cancelled_stop_releases_its_position_if_the_plan_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), on_stop_cancelled="release")
    async with open_world(plan=plan, latency=0.5) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, Protected)
        world.paper.cancel_by_hand(outcome.stop.client_order_id)
        await world.running.wait_closed()
        assert await world.live() == ()
        assert world.running.unprotected() == {}


async def test_fm15_a_position_entered_again_while_the_process_was_dead_is_not_taken_for_the_old_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.feed("97")  # the old one's stop is filled, and no process runs
        again = a_position(entry_price=D(90))
        await world.enter(again)
        world.feed("90")  # beyond the stop of the old one
        async with open_listened(world) as manager:
            await trio.sleep(100)
            (report,) = await world.paper.positions()
            assert report.quantity == again.quantity  # it was not closed
            assert set(manager.unprotected()) == {BTC}  # it is told of
            assert "another position has taken the place of one that is protected" in await world.stored_alarms()
            outcome = await manager.protect(again, deadline=5.0)
            assert isinstance(outcome, Protected)
            assert manager.unprotected() == {}
            await world.check(a_position(), again)


async def test_a_position_closed_while_the_process_was_dead_is_closed_in_the_books(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.feed("97")
        async with open_listened(world) as manager:
            with trio.fail_after(5):
                await manager.wait_closed()
            assert any(isinstance(event, PositionClosed) for event in world.events)
        assert (await world.load()).stops == ()


async def test_fm16_a_stop_left_behind_by_a_closed_position_is_cancelled_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        by_hand = StopRequest(SYMBOL, "long", D(1), D(90), "another-bots")
        world.paper.place_by_hand(by_hand)
        world.paper.reduce(*BTC, D("1.5"))  # its stops are left standing
        async with open_listened(world):
            await trio.sleep(3 * CONTRADICTED_LOOK)  # an answer without any position may be a stumble
            assert [stop.client_order_id for stop in await world.live()] == ["another-bots"]


async def test_a_position_that_was_given_up_is_on_the_list_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), on_unprotected="report")
    faults: dict[At, Fault] = {At("place_stop"): Unreachable()}
    async with open_world(plan=plan, exchange_faults=faults, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=2.0)
            await trio.sleep(60)
            assert set(manager.unprotected()) == {BTC}
        async with open_listened(world) as manager:
            assert set(manager.unprotected()) == {BTC}


@pytest.mark.parametrize("side", ["long", "short"])
async def test_peaks_that_passed_while_the_process_was_dead_come_back_from_candles(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    peak, price, wanted = ("110", "109.5", "108.9") if side == "long" else ("90", "90.5", "90.9")
    position = a_position(side=side)
    async with open_world(latency=0.5, with_manager=False) as world:
        await trio.sleep(1)
        await world.protect_and_end(position)
        await trio.sleep(90)
        world.feed(peak)
        await trio.sleep(60)
        world.feed(price)
        await trio.sleep(60)
        async with trailing.open_manager(world.exchange, world.store, PLAN) as manager:
            await trio.sleep(5)
            assert manager.stops()[SYMBOL, side].price == D(wanted)


async def test_peaks_of_an_outage_of_the_stream_come_back_and_are_told_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        await trio.sleep(120)
        world.paper.disconnect()
        await trio.sleep(90)
        world.feed("110")
        await trio.sleep(5)
        world.feed("109.5")
        await trio.sleep(60)
        world.paper.reconnect()
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == D("108.9")
        await trio.sleep(70)
        peaks = [event for event in world.events if isinstance(event, PeaksRead)]
        assert peaks[-1].best == 110
        assert peaks[-1].candles >= 1


async def test_a_peak_from_before_the_position_was_opened_is_not_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        world.feed("150")
        world.feed("100")
        await trio.sleep(30)
        position = a_position(opened_at=START.replace(second=30))
        await world.protect_and_end(position)
        await trio.sleep(120)
        async with open_listened(world) as manager:
            await trio.sleep(90)
            assert manager.stops()[BTC].price == 98


async def test_whether_a_stop_is_crossed_is_judged_by_the_price_now_and_not_by_candles(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        await trio.sleep(90)
        world.feed("110")
        await trio.sleep(60)
        world.feed("105")  # beyond the stop of 108.9 that was never sent
        await trio.sleep(60)
        async with open_listened(world) as manager:
            with trio.fail_after(30):
                await manager.wait_closed()
            assert await world.paper.positions() == ()


async def test_candles_that_can_not_be_read_keep_no_move_from_being_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("candles"): Unreachable()}
    async with open_world(latency=0.5, with_manager=False, exchange_faults=faults) as world:
        await world.protect_and_end(a_position())
        async with open_listened(world) as manager:
            await trio.sleep(20)
            world.feed("105")
            await trio.sleep(2)
            assert manager.stops()[BTC].price == D("103.95")


async def test_fm31_a_second_instance_stops_before_it_writes(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        other = MemoryStore()
        stops = await world.live()
        with pytest.raises(LeaseLost, match="take_over=True"):
            async with trailing.open_manager(world.paper, other, PLAN):
                pytest.fail("it opened")
        assert other.commits == 0
        assert await world.live() == stops
        assert world.alarms() == []


async def test_fm31_stops_that_are_not_ours_stand_whatever_becomes_of_the_position_beside_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ids = ("tradingview-1", "tr" + "f" * 19, "x-tr" + "f" * 20, "tr" + "F" * 20, "97")
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        for client_order_id in ids:
            world.paper.place_by_hand(StopRequest(SYMBOL, "long", D(1), D(90), client_order_id))
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            world.feed("105")
            await trio.sleep(200)
        async with open_listened(world) as manager:
            await trio.sleep(200)
            assert len(await world.live()) == len(ids) + 1
            await manager.close(*BTC, deadline=30.0)
            await trio.sleep(200)
        assert {stop.client_order_id for stop in await world.live()} == set(ids)
        assert set(await world.stored_alarms()) <= {
            "no price of its trigger source",
            "the stream of the exchange is opened again",
        }


async def test_fm31_the_first_instance_is_told_of_a_second_one(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        world.paper.place_by_hand(StopRequest(SYMBOL, "long", D("1.5"), D(97), "tr" + "f" * 20))
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(200)
        assert world.alarms().count("another instance is at work on this account") == 1
        assert len(await world.live()) == 2


async def test_fm31_another_instance_that_a_later_snapshot_shows_is_among_what_the_manager_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    other = StopOrder(SYMBOL, "long", D("1.5"), D(97), "tr" + "f" * 20, "another")
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position())
        (stop,) = await world.live()
        world.paper.cancel_by_hand(stop.client_order_id)  # so that the first snapshot alone settles nothing
        world.exchange = venue = WrongVenue(world.paper, {At("find_stop"): Unreachable()})
        venue.list_stops = lambda true: (*true, other) if world.calls("open_stops") > 1 else true
        async with open_listened(world) as manager:
            assert [one.order for one in manager.recovered if isinstance(one, ForeignInstance)] == [other]
            assert "another instance is at work on this account" in await world.stored_alarms()


async def test_stops_of_an_instance_that_is_no_more_are_taken_over_where_that_is_wanted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.protect_and_end(a_position())
        (stop,) = await world.live()
        async with trailing.open_manager(world.paper, MemoryStore(), PLAN, take_over=True) as manager:
            await trio.sleep(5)
            assert await world.live() == (stop,)  # its position has no plan, so that it stays
            world.paper.reduce(*BTC, D("1.5"))
            await trio.sleep(70)
            assert await world.live() == ()
            assert manager.stops() == {}


async def test_a_released_stop_stays_untracked_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await manager.release(*BTC, cancel_stop=False)
            await trio.sleep(130)
        async with open_listened(world):
            await trio.sleep(130)
        assert world.alarms() == []
        assert len(await world.live()) == 1


async def test_an_exchange_that_can_not_be_read_is_asked_again_and_told_of_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = [True]
    async with open_world(
        latency=0.5,
        with_manager=False,
        exchange_faults=lambda operation, *_: Unreachable() if down and operation in LISTS else None,
    ) as world:
        down.clear()
        await world.protect_and_end(a_position())
        down.append(True)
        async with open_listened(world) as manager:
            assert set(manager.unprotected()) == {BTC}
            await trio.sleep(300)
            assert manager.stops()[BTC].price == 98  # each position looks for its own stop meanwhile
            assert (await world.stored_alarms()).count("the account can't be read") == 1
            down.clear()
            await trio.sleep(60)
            await world.check(a_position())


async def test_fm60_a_look_up_that_hangs_while_a_manager_opens_keeps_no_other_position_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sick = a_position("ETH/USDT:USDT")
    faults: dict[At, Fault] = {At("find_stop", sick.symbol): Hangs()}
    async with open_world(with_manager=False, exchange_faults=faults) as world, trio.open_nursery() as opening:
        await world.protect_and_end(a_position(), sick)
        (stop,) = [order for order in await world.live() if order.symbol == sick.symbol]
        world.paper.cancel_by_hand(stop.client_order_id)
        never_sent = Intent(
            "paper", "default", *BTC, a_position().identity, "tr" + "0" * 20, "stop", D(1), D(98), START
        )
        await world.memory.commit([AddIntent(never_sent)])  # so that two snapshots and a look-up settle it
        opened = trio.Event()

        async def open_it() -> None:
            async with open_listened(world) as manager:
                opened.set()
                await trio.sleep(60)  # it can't be looked up time and again, so that the lists count
                assert manager.stops()[sick.symbol, "long"].price == 98

        opening.start_soon(open_it)
        await trio.sleep(4)  # the validity of a request, and a little more
        world.feed("105")
        await trio.sleep(1)
        assert not opened.is_set()
        assert {order.price for order in await world.live()} == {D("103.95")}


@pytest.mark.parametrize("lag", [0.0, 1.0])
@pytest.mark.parametrize("latency", [0.0, 0.1])
async def test_a_position_whose_stop_was_never_sent_gets_one_once_the_intent_can_not_be_executed_any_more(
    latency: float, lag: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(
        with_manager=False, latency=latency, orders_read_lag=lag, positions_read_lag=lag, request_validity=4.0
    ) as world:
        await world.enter(a_position())
        own, started = "tr" + "0" * 20, trio.current_time()
        never_sent = Intent("paper", "default", *BTC, a_position().identity, own, "stop", D("1.5"), D(98), START)
        await world.memory.commit([SaveStop("paper", "default", a_record()), AddIntent(never_sent)])
        async with open_listened(world) as manager:
            while BTC not in manager.stops():
                await trio.sleep(0.05)
            most = 4.0 + lag + 3 * latency  # seconds: validity and lag, then the list, the next stop, and its reply
            assert trio.current_time() - started <= most + 0.1
            await trio.sleep(20)
            await world.check(a_position())
            assert (await world.load()).intents == ()
        assert await world.stored_alarms() == []


async def test_a_reading_that_hangs_does_not_keep_a_manager_from_opening(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, exchange_faults={At("positions", None, 3): Hangs()}) as world:
        await world.protect_and_end(a_position())
        started = trio.current_time()
        async with open_listened(world) as manager:
            assert trio.current_time() - started == PLAN.call_seconds
            await trio.sleep(70)
            assert manager.stops()[BTC].price == 98


async def test_after_a_run_of_calls_that_reached_nothing_the_account_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = []
    async with open_world(
        exchange_faults=lambda operation, *_: Unreachable() if down and operation == "place_stop" else None
    ) as world:
        await world.protect(settle=0.0)
        down.append(True)
        world.feed("105")
        await trio.sleep(8)
        down.clear()
        before = len(world.exchange.calls)
        await trio.sleep(20)
        assert set(reads(world.exchange, before)) >= LISTS


async def test_a_stop_beyond_the_liquidation_price_is_found_while_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(leverage=10) as world:
        await world.enter(a_position(side="short", entry_price=D(100)))
        plan = TrailPlan(initial_stop=Percent(5))
        await world.running.protect(a_position(side="short"), deadline=5.0, plan=plan)
        assert world.running.stops()[SYMBOL, "short"].price == 105
        set_liquidation_price(world.paper, SYMBOL, "short", D(103))
        await trio.sleep(70)
        stop: StopOrder = world.running.stops()[SYMBOL, "short"]
        assert stop.price < D(103)
        assert "the stop lies beyond the liquidation price" in world.alarms()


async def test_an_intent_whose_record_is_missing_is_written_off(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.feed("97")
        position = (await world.record()).position
        intent = Intent(
            "paper", "default", position.symbol, "long", "unknown", "tr" + "0" * 20, "stop", D(1), D(1), START
        )
        await world.memory.commit([AddIntent(intent)])
        async with open_listened(world):
            await trio.sleep(70)
        assert (await world.load()).intents == ()


async def test_a_position_that_closed_without_an_update_is_found_closed_within_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        world.silence_updates()
        world.paper.feed(Tick(SYMBOL, D(97), trio.current_time()))
        with trio.fail_after(70):
            await world.running.wait_closed()
        assert world.alarms() == ["no price of its trigger source"]


async def test_peaks_of_a_death_are_not_lost_where_the_process_dies_again_before_it_has_read_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    deaf: list[bool] = [True]
    faults = lambda operation, *_: Unreachable() if deaf and operation == "candles" else None  # noqa: E731
    async with open_world(with_manager=False, exchange_faults=faults) as world:
        world.exchange = FaultyExchange(world.paper, faults)
        await world.protect_and_end(a_position())
        await trio.sleep(60)
        world.feed("105")
        await trio.sleep(1)
        world.feed("104.5")
        await trio.sleep(100)
        async with open_listened(world) as manager:
            await trio.sleep(30)
            assert manager.stops()[BTC].price == D(98)
        deaf.clear()
        async with open_listened(world) as manager:
            await trio.sleep(5)
            assert manager.stops()[BTC].price == D("103.95")


async def test_a_position_that_stands_after_a_close_of_unknown_outcome_is_not_closed_where_it_is_another_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, exchange_faults={At("close_position", None, 1): ReplyLost()}) as world:
        await world.protect(settle=0.0)
        await trio.sleep(70)  # a reading has told its entry price
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await world.running.close(*BTC, deadline=60.0)

            nursery.start_soon(close)
            await trio.sleep(0.6)
            await world.enter(a_position(entry_price=D(90), quantity=D(3)))
        (report,) = await world.paper.positions()
        assert (report.quantity, report.entry_price) == (D(3), D(90))
        assert [call.operation for call in world.exchange.calls].count("close_position") == 1
        assert set(world.running.unprotected()) == {BTC}


async def test_a_reading_that_was_under_way_when_the_stop_was_filled_does_not_bring_the_position_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        await world.enter(
            a_position(quantity=D("0.5"), entry_price=D(101))
        )  # a person adds to it, and the account is read
        await trio.sleep(0.7)  # by now the reading is booked
        world.feed("97")
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert "close_position" not in [call.operation for call in world.exchange.calls]
        assert set(world.running.unprotected()) == {BTC}  # the added quantity is untracked, and reported
