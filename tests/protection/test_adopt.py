"""Adopt a position that a person opened by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world
from wrong_venues import during, open_wrong_world

import trailing
from trailing import (
    AlreadyProtected,
    AuthenticationFailed,
    ExchangeUnreachable,
    Exited,
    Market,
    Percent,
    Protected,
    RateLimited,
    Refused,
    StopOrder,
    TimedOut,
    TrailPlan,
    UsageError,
)
from trailing.core.model import Side
from trailing.exchanges.port import PartialList, StopRequest
from trailing.stores import MemoryStore
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Slow, Unreachable, cancel_everywhere


async def prices(world: World) -> list[D]:
    return [order.price for order in await world.live()]


# What it takes in.


@pytest.mark.parametrize("side", ["long", "short"])
async def test_an_adopted_position_is_protected_as_the_exchange_reports_it_and_trails(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await trio.sleep(3)
        await world.enter(a_position(side=side))
        outcome = await world.running.adopt(SYMBOL, side, deadline=5.0)
        assert isinstance(outcome, Protected)
        position = outcome.position
        assert (position.quantity, position.entry_price) == (D("1.5"), D(100))
        assert (position.opened_at - START).total_seconds() == 4.0  # once it was read
        assert position.identity == f"adopted {position.opened_at.isoformat()}"
        assert outcome.stop.price == (98 if side == "long" else 102)
        await trio.sleep(5)
        world.feed("105" if side == "long" else "95")
        await trio.sleep(5)
        assert await prices(world) == [D("103.95") if side == "long" else D("95.95")]
        await world.check(a_position(side=side))


async def test_an_adopted_position_has_the_plan_that_it_is_given(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        outcome = await world.running.adopt(*BTC, deadline=5.0, plan=TrailPlan(initial_stop=Percent(5)))
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == 95


async def test_each_side_of_a_hedged_account_is_adopted_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    long, short = a_position(), a_position(side="short", quantity=D("0.5"), entry_price=D(101))
    async with open_world(hedged=True) as world:
        await world.enter(long, short)
        outcome = await world.running.adopt(SYMBOL, "short", deadline=5.0)
        assert isinstance(outcome, Protected)
        assert (outcome.stop.side, outcome.stop.quantity, outcome.stop.price) == ("short", D("0.5"), D("103.02"))
        assert set(world.running.stops()) == {(SYMBOL, "short")}
        assert isinstance(await world.running.adopt(*BTC, deadline=5.0), Protected)
        assert world.running.stops()[BTC].price == 98
        await world.check(long, short)


# What is refused.


async def test_a_position_that_is_not_there_is_refused_on_its_second_absence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0) as world:
        await world.enter(a_position(side="short"))
        started, before = trio.current_time(), world.calls("positions")
        with pytest.raises(UsageError, match="the exchange reports no long position of BTC/USDT:USDT"):
            await world.running.adopt(*BTC, deadline=5.0)
        # The second that is asked for after the read lag decides; one in between could have shown the position.
        assert (trio.current_time() - started, world.calls("positions") - before) == (2.0, 3)
        assert world.running.unprotected() == {}


async def test_fm05_a_position_that_a_read_does_not_show_yet_is_adopted_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(orders_read_lag=2.0, positions_read_lag=2.0) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.adopt(*BTC, deadline=5.0), Protected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbol": "BTCUSDT"}, "symbol got 'BTCUSDT'"),
        ({"side": "buy"}, "side got 'buy'"),
        ({"deadline": 0}, "deadline got 0"),
        ({"stop_price": 98.0}, "stop_price got 98.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_an_adoption_that_can_not_be_right_sends_nothing(
    arguments: dict[str, Any], message: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world() as world:
        given: dict[str, Any] = {"symbol": SYMBOL, "side": "long", "deadline": 5.0} | arguments
        before = len(world.exchange.calls)
        with pytest.raises(UsageError, match=message):
            await world.running.adopt(**given)
        assert len(world.exchange.calls) == before


async def test_a_position_that_is_protected_is_not_protected_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.protect(settle=0.0)
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=D(99))
        assert isinstance(outcome, AlreadyProtected)
        await trio.sleep(70)
        assert await prices(world) == [D(98)]
        assert world.calls("place_stop") == 1


async def test_fm21_many_adoptions_of_one_position_place_one_order(autojump_clock: trio.testing.MockClock) -> None:
    outcomes: list[str] = []
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())

        async def adopt() -> None:
            outcomes.append(type(await world.running.adopt(*BTC, deadline=10.0)).__name__)

        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(adopt)
        assert sorted(outcomes) == ["AlreadyProtected"] * 6 + ["Protected"]
        assert world.calls("place_stop") == 1
        await trio.sleep(10)
        await world.check(a_position())


# The first stop.


@pytest.mark.parametrize("stop_price", ["105", "100"], ids=["beyond the entry", "at the entry"])
async def test_a_winner_may_have_its_first_stop_beyond_its_entry(
    stop_price: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5) as world:
        await world.enter(a_position())
        world.feed("110")
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=D(stop_price))
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == D(stop_price)
        await trio.sleep(60)
        assert await prices(world) == [D(stop_price)]
        world.feed("111")
        world.feed("111.5")
        await trio.sleep(10)
        assert await prices(world) == [D("110.385")]
        await world.check(a_position())


async def test_a_stop_on_the_wrong_side_of_price_and_entry_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=D(101))
        assert isinstance(outcome, Refused)
        assert "Position.stop_price of BTC/USDT:USDT got 101, wants it below the price, 100" in str(outcome.error)
        assert world.calls("place_stop") == 0
        assert set(world.running.unprotected()) == {BTC}


@pytest.mark.parametrize("stop_price", [None, D("98.5")], ids=["the plan's stop", "a given stop"])
@pytest.mark.parametrize("policy", ["exit", "keep"])
async def test_a_loser_beyond_its_first_stop_is_closed_or_kept_by_its_plan(
    policy: Any, stop_price: D | None, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(PLAN, on_would_trigger=policy)
    async with open_world(plan=plan) as world:
        await world.enter(a_position())
        world.feed("97")
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=stop_price)
        await trio.sleep(5)
        if policy == "exit":
            assert isinstance(outcome, Exited)
            assert outcome.fill.price == 97
            assert await world.paper.positions() == ()
        else:
            assert isinstance(outcome, Refused)
            assert len(await world.paper.positions()) == 1


# What stands there already.


async def test_a_manually_placed_stop_is_not_changed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.enter(a_position())
        world.paper.place_by_hand(StopRequest(SYMBOL, "long", D(1), D(97), "by-hand"))
        outcome = await world.running.adopt(*BTC, deadline=5.0)
        assert isinstance(outcome, Protected)
        await trio.sleep(200)
        assert {order.client_order_id: order.price for order in await world.live()} == {
            "by-hand": D(97),
            outcome.stop.client_order_id: D(98),
        }


async def released(world: World, **plan: Any) -> StopOrder:
    """A position of ours that was released, and whose stop stands."""
    await world.enter(a_position())
    outcome = await world.running.protect(
        a_position(), deadline=5.0, plan=TrailPlan(**({"initial_stop": Percent(3)} | plan))
    )
    assert isinstance(outcome, Protected)
    await world.running.release(*BTC, cancel_stop=False)
    return outcome.stop


@pytest.mark.parametrize(
    ("stop_price", "price"), [(D(99), 99), (D(96), 97)], ids=["the first one is tighter", "the old one is tighter"]
)
async def test_after_adopting_a_released_position_one_stop_stands_the_tighter_one(
    stop_price: D, price: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5) as world:
        left = await released(world)
        await trio.sleep(130)
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=stop_price)
        assert isinstance(outcome, Protected)
        assert (outcome.stop, outcome.unprotected_seconds) == (left, 0.0)
        assert world.running.statistics().opening_times.count == 1  # that of the first time
        await trio.sleep(10)
        assert await prices(world) == [price]
        (stop,) = await world.live()
        assert (stop.client_order_id == left.client_order_id) is (price == 97)
        await world.check(a_position())


async def test_a_stop_that_was_left_standing_is_the_adopted_position_s_after_a_restart_in_the_midst_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        async with open_listened(world):
            await released(world)
            await world.running.adopt(*BTC, deadline=5.0)
        async with open_listened(world):
            await trio.sleep(10)
            assert await prices(world) == [98]
            await world.check(a_position())


async def test_where_one_stop_may_stand_the_one_that_was_left_becomes_the_adopted_position_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, markets=[Market(SYMBOL, two_stops=False)]) as world:
        await released(world)
        outcome = await world.running.adopt(*BTC, deadline=5.0)
        assert isinstance(outcome, Protected)
        await trio.sleep(5)
        assert await prices(world) == [98]
        assert world.running.stops()[BTC].price == 98
        await world.check(a_position())


async def test_a_stop_of_a_store_that_was_lost_makes_way_for_the_adopted_position_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0, plan=TrailPlan(initial_stop=Percent(3)))
        store = MemoryStore()
        async with trailing.open_manager(world.paper, store, PLAN, take_over=True, utc_start=START) as manager:
            await trio.sleep(5)
            assert await prices(world) == [97]
            assert isinstance(await manager.adopt(*BTC, deadline=5.0), Protected)
            await trio.sleep(10)
            assert await prices(world) == [98]
            assert list(manager.stops().values()) == list(await world.live())


async def test_protecting_a_released_position_again_leaves_one_stop_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await released(world)
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Protected)
        await trio.sleep(130)
        assert await prices(world) == [98]
        await world.check(a_position())


async def test_a_released_stop_on_the_other_side_stays_untracked(autojump_clock: trio.testing.MockClock) -> None:
    short = a_position(side="short")
    async with open_world(latency=0.5, hedged=True) as world:
        left = await released(world)
        await world.enter(short)
        assert isinstance(await world.running.adopt(SYMBOL, "short", deadline=5.0), Protected)
        await trio.sleep(130)
        assert left in await world.live()
        assert len(await world.live()) == 2
        assert "a stop of ours is live behind a position that is not protected" not in world.alarms()


async def test_of_several_stops_that_were_left_standing_the_tightest_stays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5) as world:
        await released(world)
        for price in (D(96), D("97.5"), D("96.5")):
            mine = world.inside.new_order_id()
            world.paper.place_by_hand(StopRequest(SYMBOL, "long", D(1), price, mine))
        plan = TrailPlan(initial_stop=Percent(20))
        outcome = await world.running.adopt(*BTC, deadline=5.0, plan=plan)
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == D("97.5")
        await trio.sleep(200)
        (stop,) = await world.live()
        assert (stop.price, stop.quantity) == (D("97.5"), D("1.5"))
        await world.check(a_position())


async def test_a_stop_left_with_another_trigger_makes_way_for_one_with_the_plan_s(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, can_amend=True) as world:
        await released(world)
        outcome = await world.running.adopt(*BTC, deadline=5.0, plan=msgspec.structs.replace(PLAN, trigger="mark"))
        assert isinstance(outcome, Protected)
        await trio.sleep(15)
        assert [(order.source, order.price) for order in await world.live()] == [("mark", D(98))]


async def test_a_stop_taken_over_stays_where_the_caller_is_cancelled_behind_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow: list[bool] = []
    faults: Any = lambda *_: Slow(0.9) if slow else None  # noqa: E731
    plan = msgspec.structs.replace(PLAN, on_late_order="cancel")
    async with open_world(latency=0.5, store_faults=faults) as world:
        left = await released(world)
        slow.append(True)
        with trio.move_on_after(1.0) as scope:  # while the store takes its record
            await world.running.adopt(*BTC, deadline=60.0, plan=plan)
        assert scope.cancel_called
        assert left in await world.live()
        await trio.sleep(30)
        assert await prices(world) == [98]
        await world.check(a_position())


async def test_a_stop_taken_over_is_made_to_cover_a_position_that_shrank_while_it_was_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=lambda operation, _: 0.8 if operation == "positions" else 0.2) as world:
        await released(world)
        async with trio.open_nursery() as nursery:
            outcomes: list[Any] = []

            async def adopt() -> None:
                outcomes.append(await world.running.adopt(*BTC, deadline=10.0))

            before = world.calls("positions")
            nursery.start_soon(adopt)
            while world.calls("positions") == before:
                await trio.sleep(0.01)
            await trio.sleep(0.6)  # the answer that is on its way still shows the whole of it
            world.paper.reduce(*BTC, D("0.5"))
        (outcome,) = outcomes
        assert isinstance(outcome, Protected)
        assert outcome.position.quantity == D("1.5")
        await trio.sleep(30)
        assert [(order.price, order.quantity) for order in await world.live()] == [(D(98), D("1.0"))]
        assert world.running.unprotected() == {}
        await world.check(a_position())


async def test_a_stop_is_not_adopted_after_another_claim_had_the_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    again = a_position(id="again", entry_price=D(97))
    async with open_world(latency=0.1) as world:
        (before,) = await world.protect(settle=0.0)
        world.feed("97")  # its stop is filled
        await trio.sleep(0.2)
        assert world.claim().state == "exiting"
        await world.enter(again)
        outcome = await world.inside.protect_over(before, again, PLAN, deadline=20.0)
        assert isinstance(outcome, Protected)
        assert [outcome.stop] == list(await world.live())


async def test_a_stop_whose_claim_ended_while_the_position_was_read_is_not_taken_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world, trio.open_nursery() as nursery:
        await world.protect(settle=0.0)

        async def release() -> None:
            await trio.sleep(1.2)
            await world.running.release(*BTC, cancel_stop=True)

        nursery.start_soon(release)
        _, standing = await world.inside.find_to_adopt(*BTC, PLAN, D(97), within=30.0)
        assert world.inside.claims() == ()
        assert (standing, await world.live()) == (None, ())


async def test_the_stop_of_a_position_being_opened_is_not_found_for_adoption(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
        await trio.sleep(0.1)
        for claimed in (True, False):
            if not claimed:  # it comes while the position is read
                await world.running.release(*BTC, cancel_stop=False)
                nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
            _, standing = await world.inside.find_to_adopt(*BTC, PLAN, None, within=30.0)
            assert standing is None
            assert await world.live()


# The list of abandoned positions.


async def give_up(world: World) -> None:
    plan = TrailPlan(initial_stop=Percent(2), on_unprotected="report")
    await world.enter(a_position())
    assert isinstance(await world.running.protect(a_position(), deadline=5.0, plan=plan), Refused)
    await trio.sleep(5)
    assert world.running.unprotected()[BTC].state == "closed"


async def test_a_position_that_was_given_up_is_off_the_list_once_it_is_adopted_and_stays_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        async with open_listened(world):
            await give_up(world)
            outcome = await world.running.adopt(*BTC, deadline=5.0)
            assert isinstance(outcome, Protected)
            assert outcome.position.identity == a_position().identity  # its record takes the place of the other
            assert world.running.unprotected() == {}
        async with open_listened(world) as manager:
            assert manager.unprotected() == {}
            world.feed("97")
            await manager.wait_closed()
        async with open_listened(world) as manager:
            assert manager.unprotected() == {}
        assert (await world.load()).stops == ()


async def test_what_was_given_up_and_protected_under_another_identity_is_not_listed_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        async with open_listened(world) as manager:
            await give_up(world)
            assert isinstance(await manager.protect(a_position(id="another"), deadline=5.0), Protected)
        async with open_listened(world) as manager:
            assert manager.unprotected() == {}
            assert set(manager.stops()) == {BTC}


async def test_a_position_in_the_place_of_another_is_off_the_list_once_it_is_adopted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    again = a_position(entry_price=D(90))
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
        world.feed("97")  # its stop is filled, and no process runs
        await world.enter(again)
        world.feed("90")
        async with open_listened(world) as manager:
            await trio.sleep(100)
            assert set(manager.unprotected()) == {BTC}
            outcome = await manager.adopt(*BTC, deadline=5.0)
            assert isinstance(outcome, Protected)
            assert outcome.position.identity.startswith("adopted ")
            assert manager.unprotected() == {}
            await world.check(a_position(), again)


# An exchange that does not answer.


@pytest.mark.parametrize("operation", ["positions", "price"])
async def test_a_read_that_fails_is_tried_again(operation: Any, autojump_clock: trio.testing.MockClock) -> None:
    faults: Any = {
        At(operation, None, 1): Unreachable(),
        At(operation, None, 2): Fails(RateLimited("too many", retry_after=1.0)),
    }
    async with open_world(exchange_faults=faults) as world:
        await world.enter(a_position())
        started = trio.current_time()
        outcome = await world.running.adopt(*BTC, deadline=5.0, stop_price=D(99))
        assert isinstance(outcome, Protected)
        assert 1.1 <= trio.current_time() - started <= 1.2


@pytest.mark.parametrize(("fault", "seconds"), [(Unreachable(), None), (Hangs(), 5.0)], ids=["unreachable", "hanging"])
async def test_a_position_that_can_not_be_read_before_the_deadline_is_an_error_of_the_exchange(
    fault: Any, seconds: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(exchange_faults={At("positions"): fault}) as world:
        await world.enter(a_position())
        started = trio.current_time()
        with pytest.raises(ExchangeUnreachable):
            await world.running.adopt(*BTC, deadline=5.0)
        assert trio.current_time() - started <= 5.0
        assert seconds is None or trio.current_time() - started == seconds
        assert world.calls("place_stop") == 0


async def test_a_list_of_which_an_entry_can_not_be_read_does_not_show_that_a_position_is_missing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.enter(a_position())
        venue.list_positions = during(3.0, lambda _: PartialList((), left_out=["a position"]))
        started = trio.current_time()
        assert isinstance(await world.running.adopt(*BTC, deadline=10.0), Protected)
        assert trio.current_time() - started >= 3.0


async def test_an_adoption_ends_once_no_further_read_of_the_price_can_come_before_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: Any = {At("price"): Fails(RateLimited("too many", retry_after=4.0))}
    async with open_world(exchange_faults=faults) as world:
        await world.enter(a_position())
        started = trio.current_time()
        with pytest.raises(RateLimited, match="too many"):
            await world.running.adopt(*BTC, deadline=10.0, stop_price=D(99))
        assert trio.current_time() - started == 8.0  # a third wait would end after the deadline
        assert world.calls("place_stop") == 0


async def test_a_read_that_hangs_for_longer_than_a_call_may_take_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, call_seconds=2.0)
    async with open_world(plan=plan, exchange_faults={At("positions", None, 1): Hangs()}) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.adopt(*BTC, deadline=5.0), Protected)


async def test_a_position_that_is_read_at_the_deadline_is_read_too_late(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        read = world.exchange.positions

        async def read_late() -> Any:
            reports = await read()
            world.inside.set_clock_ahead(5.0)
            return reports

        world.exchange.positions = read_late  # type: ignore[method-assign]
        with pytest.raises(ExchangeUnreachable, match="the long position of BTC/USDT:USDT was not read before"):
            await world.running.adopt(*BTC, deadline=5.0)


async def test_the_deadline_of_an_adoption_counts_from_its_beginning(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=3.0) as world:
        await world.enter(a_position())
        started = trio.current_time()
        outcome = await world.running.adopt(*BTC, deadline=5.0)
        assert trio.current_time() - started <= 5.0 + PLAN.cleanup_seconds
        assert isinstance(outcome, TimedOut)


async def test_credentials_that_are_not_accepted_end_the_manager_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        started = trio.current_time()
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world) as manager:
                world.inject({At("positions"): Fails(AuthenticationFailed("no"))})
                await manager.adopt(*BTC, deadline=5.0)
        assert trio.current_time() == started


@pytest.mark.parametrize("fault", [None, ReplyLost(), Refuses()], ids=["no fault", "lost reply", "refusal"])
async def test_adopting_cancelled_anywhere_leaves_nothing_behind(
    fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    faults: Any = {} if fault is None else {At("place_stop", None, 2): fault}

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with open_world(latency=1.0, exchange_faults=faults) as world:
            await released(world)
            yield world

    async def act(world: World) -> None:
        await world.running.adopt(*BTC, deadline=6.0)

    async def check(world: World, cancelled: bool) -> None:
        await trio.sleep(60)
        claimed = BTC in world.inside.claimed()
        if not claimed:  # not adopted: what was released stands as it was left
            assert [order.client_order_id for order in await world.live()] == [*world.inside.released_stops()]
        else:
            await world.check(a_position())
        assert cancelled or claimed

    assert await cancel_everywhere(world, act, check) > 10
