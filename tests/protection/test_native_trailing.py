"""The exchange trails by itself, beside the plain stop: the position is never less protected than where we trail.

Entry 100, initial stop 98, from 101 on at 1 % behind the best price.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world, some_positions

from trailing import Exited, Market, Percent, Protected, Refused, StopOrder, UsageError, plan_recovery
from trailing.core.findings import StopAbsent
from trailing.errors import StopRejected
from trailing.events import ExitStarted, NativeTrailingBegan, NativeTrailingEnded, PositionClosed, StopMoved
from trailing.exchanges.paper import RateLimit
from trailing.exchanges.port import StopRequest
from trailing.stores.port import AddIntent, Intent, Loaded, SaveStop
from trailing.testing import At, Hangs, Refuses, ReplyLost, Unreachable

NATIVE = msgspec.structs.replace(PLAN, native=True, reconcile_every=10.0)
SECOND = At("place_stop", call=2)


async def protected_natively(world: World) -> StopOrder:
    """Protect the position, and return its native order."""
    await world.protect()
    return native_of(await world.live())


def native_of(orders: Any) -> StopOrder:
    (order,) = [order for order in orders if order.callback is not None]
    return order  # type: ignore[no-any-return]


def plain_of(orders: Any) -> StopOrder:
    (order,) = [order for order in orders if order.callback is None]
    return order  # type: ignore[no-any-return]


async def wait_closed(world: World) -> None:
    with trio.fail_after(600):
        await world.running.wait_closed()


def ends(world: World) -> list[str]:
    return [event.reason for event in world.events if isinstance(event, NativeTrailingEnded)]


async def test_it_is_placed_beside_the_stop_which_is_moved_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=1.0) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.elapsed == 1.0  # one request, as without it
        await trio.sleep(5)
        native = native_of(await world.live())
        assert (native.price, native.callback, native.quantity) == (D(101), Percent(1), D("1.5"))
        (began,) = [event for event in world.events if isinstance(event, NativeTrailingBegan)]
        assert (began.activation, began.callback, began.quantity) == (D(101), D(1), D("1.5"))
        (record,) = (await world.load()).stops
        assert (record.native, record.native_task) == (native, None)
        await world.check(a_position())
        for price in ("103", "104", "103.5"):
            world.feed(price)
            await trio.sleep(5)
        assert not any(isinstance(event, StopMoved) for event in world.events)
        assert world.running.stops()[BTC] == outcome.stop
        assert world.claim().target == D("102.96")


async def test_its_fill_ends_the_position_and_takes_the_plain_stop_away(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=0.5) as world:
        await protected_natively(world)
        world.feed("104")
        world.feed("102.96")
        await wait_closed(world)
        assert await world.live() == ()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert closed.profit == D("1.5") * D("2.96")
        assert await world.load() == Loaded((), ())


@pytest.mark.parametrize("how", ["the plain stop", "the bot", "by hand"])
async def test_however_the_position_ends_both_orders_end_with_it(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, latency=0.5) as world:
        await protected_natively(world)
        if how == "the plain stop":
            world.feed("97.9")
        elif how == "the bot":
            assert isinstance(await world.running.close(*BTC, deadline=10), Exited)
        else:
            world.paper.reduce(*BTC, D("1.5"))
        await wait_closed(world)
        assert await world.live() == ()
        assert ends(world) == []


async def test_an_externally_cancelled_trailing_order_is_reported_and_the_plain_stop_is_moved_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE) as world:
        native = await protected_natively(world)
        world.feed("104")
        await trio.sleep(1)
        world.paper.cancel_by_hand(native.client_order_id)
        await trio.sleep(0.1)
        assert world.running.stops()[BTC].price == D("102.96")
        assert ends(world) == ["it is gone, and we did not cancel it"]
        world.feed("105")
        await trio.sleep(60)  # and not placed again
        assert plain_of(await world.live()).price == D("103.95")
        await world.check(a_position())


async def test_one_that_is_lost_unseen_is_missed_by_the_next_reading(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=0.1) as world:
        native = await protected_natively(world)
        world.feed("104")
        world.paper.disconnect()
        world.paper.cancel_by_hand(native.client_order_id)
        await trio.sleep(15)
        assert world.running.stops()[BTC].price == D("102.96")
        assert ends(world) == ["it is gone, and we did not cancel it"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Refuses(), "refused on purpose"),
        (Refuses(StopRejected("too many")), "too many"),
    ],
)
async def test_one_that_is_refused_is_told_of_and_we_trail(
    fault: Refuses, reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, exchange_faults={SECOND: fault}) as world:
        await world.protect(settle=1.0)
        assert ends(world) == [reason]
        world.feed("104")
        await trio.sleep(1)
        assert plain_of(await world.live()).price == D("102.96")
        await world.check(a_position())


async def test_one_that_comes_too_late_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=2.0) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
        await trio.sleep(1.5)
        world.feed("102")
        await trio.sleep(10)
        assert plain_of(await world.live()).price == D("100.98")
        assert ends(world) == ["it comes too late: its stop is trailed by now"]


async def test_one_whose_price_is_reached_before_its_answer_is_withdrawn_and_we_trail(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE, latency=0.5) as world:
        await world.protect(settle=0.0)
        await trio.sleep(0.3)  # booked, and not answered yet
        assert native_of(world.paper.actual(SYMBOL)[0])
        world.feed("102")
        await trio.sleep(5)
        assert plain_of(await world.live()).price == D("100.98")
        assert ends(world) == ["we cancelled it"]
        await world.check(a_position())


async def test_what_is_told_of_another_order_does_not_end_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE) as world:
        native = await protected_natively(world)
        world.inside.lose_native(world.claim(), "another")
        assert world.claim().native == native
        assert ends(world) == []


@pytest.mark.parametrize("fault", [ReplyLost(), Hangs(booked=True)])
async def test_one_whose_reply_is_lost_is_found_and_stands(
    fault: ReplyLost | Hangs, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, latency=0.1, exchange_faults={SECOND: fault}) as world:
        await protected_natively(world)
        await trio.sleep(20)
        native = native_of(await world.live())
        assert world.claim().native == native
        assert (await world.load()).intents == ()
        await world.check(a_position())


@pytest.mark.parametrize("fault", [Unreachable(), Hangs()])
async def test_one_that_never_arrived_is_sent_again(
    fault: Unreachable | Hangs, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, latency=0.1, exchange_faults={SECOND: fault}) as world:
        await world.protect(settle=0.0)
        await trio.sleep(30)
        assert world.claim().native == native_of(await world.live())
        assert ends(world) == []
        await world.check(a_position())


async def test_one_behind_a_stop_that_came_late_is_placed_once_the_peaks_before_it_are_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE, latency=3.0) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=1.0)
        await trio.sleep(20)
        assert native_free(await world.live())
        for _ in range(10):  # until the minute of the price gap is over
            await trio.sleep(10)
            world.feed("100")
        assert native_of(await world.live()).price == 101
        await world.check(a_position())


# A crossing that the exchange does not act on.


@pytest.mark.parametrize("policy", ["exit", "keep"])
async def test_where_the_exchange_does_not_fill_it_we_close_as_if_our_stop_had_been_crossed(
    policy: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(NATIVE, on_would_trigger=policy)

    async with open_world(plan=plan, partial_fills=lambda order, tick: D(0)) as world:
        await protected_natively(world)
        world.feed("104")
        world.feed("102.9")
        await trio.sleep(1)
        assert not any(isinstance(event, ExitStarted) for event in world.events)
        await wait_closed(world)
        (started,) = [event for event in world.events if isinstance(event, ExitStarted)]
        assert "not filled within 2.0 s" in started.reason
        assert await world.live() == ()


# Quantities.


async def test_a_part_of_its_fill_leaves_both_with_the_rest(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, partial_fills=D("0.4")) as world:
        await protected_natively(world)
        world.feed("104")
        world.feed("102.96")
        await trio.sleep(0.1)
        assert world.claim().quantity == D("0.9")
        assert [order.quantity for order in world.inside.natives().values()] == [D("0.9")]
        for _ in range(2):
            world.feed("102.9")
        await wait_closed(world)
        assert await world.live() == ()


@pytest.mark.parametrize("change", ["reduced", "increased"])
async def test_where_the_quantity_changes_from_outside_we_trail_and_the_stop_follows(
    change: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, latency=0.1) as world:
        await protected_natively(world)
        if change == "reduced":
            world.paper.reduce(*BTC, D("0.5"))
        else:
            await world.enter(a_position(quantity=D(1)))
        await trio.sleep(10)
        wanted = D(1) if change == "reduced" else D("2.5")
        assert plain_of(await world.live()).quantity == wanted
        assert native_free(await world.live())
        assert ends(world) == ["we cancelled it"]
        world.feed("104")
        await trio.sleep(1)
        assert plain_of(await world.live()).price == D("102.96")


def native_free(orders: Any) -> bool:
    return all(order.callback is None for order in orders)


async def test_a_stop_beyond_the_liquidation_price_is_tightened_and_we_trail(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE, leverage=100) as world:
        await world.protect(settle=0.0)
        await trio.sleep(30)
        assert plain_of(await world.live()).price == D("99.495")
        world.feed("104")
        await trio.sleep(1)
        price = world.running.stops()[BTC].price
        assert price == D("102.96") or not native_free(await world.live())
        await world.check(a_position())


# Other wishes.


@pytest.mark.parametrize("cancel_stop", [True, False])
async def test_a_release_leaves_both_standing_or_none(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, latency=0.1) as world:
        native = await protected_natively(world)
        await world.running.release(*BTC, cancel_stop=cancel_stop)
        await trio.sleep(30)
        if cancel_stop:
            assert await world.live() == ()
            return
        assert native_of(await world.live()) == native
        assert world.alarms() == []
        # Protected again, the position gets orders of its own, and what was left standing goes.
        await world.running.protect(a_position(id="again"), deadline=5.0)
        world.inside.reconcile_now()
        await trio.sleep(30)
        assert native_of(await world.live()) == world.claim().native != native
        assert plain_of(await world.live()) == world.claim().stop


async def test_one_that_was_left_standing_is_not_adopted_as_the_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE) as world:
        native = await protected_natively(world)
        await world.running.release(*BTC, cancel_stop=False)
        world.paper.cancel_by_hand(plain_of(await world.live()).client_order_id)
        assert await world.live() == (native,)
        outcome = await world.running.adopt(*BTC, deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.stop == plain_of(await world.live())


async def test_another_plan_withdraws_or_replaces_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=0.1) as world:
        first = await protected_natively(world)
        wide = (msgspec.structs.replace(NATIVE.rules[0], distance=Percent(2)),)
        await world.running.update(*BTC, msgspec.structs.replace(NATIVE, rules=wide))
        await trio.sleep(5)
        second = native_of(await world.live())
        assert (second.callback, second == first) == (Percent(2), False)
        await world.running.update(*BTC, PLAN)
        await trio.sleep(5)
        assert native_free(await world.live())
        world.feed("104")
        await trio.sleep(5)
        assert plain_of(await world.live()).price == D("102.96")
        assert ends(world) == ["we cancelled it"] * 2


async def test_one_that_is_filled_while_we_cancel_it_ends_the_position(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=2.0) as world:
        await protected_natively(world)
        await trio.sleep(5)
        world.feed("104")
        await world.running.update(*BTC, PLAN)
        await trio.sleep(0.5)
        world.feed("102.9")
        await wait_closed(world)
        assert await world.live() == ()
        assert ends(world) == []


# Refused at once.


@pytest.mark.parametrize(
    ("paper", "says"),
    [
        ({"native_callbacks": None}, "TrailPlan.native got True, wants False: BTC/USDT:USDT has no trailing order"),
        ({"two_stops": False}, "TrailPlan.native got True, wants False: BTC/USDT:USDT allows one live stop"),
    ],
)
async def test_a_market_that_can_not_carry_the_plan_out_is_refused_before_anything_is_sent(
    paper: dict[str, Any], says: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=PLAN, **paper) as world:
        await world.enter(a_position())
        with pytest.raises(UsageError, match=says):
            await world.running.protect(a_position(), deadline=5.0, plan=NATIVE)
        with pytest.raises(UsageError, match=says):
            await world.running.adopt(*BTC, deadline=5.0, plan=NATIVE)
        assert world.exchange.calls == []
        assert world.running.unprotected() == {}
        await world.running.protect(a_position(), deadline=5.0)
        with pytest.raises(UsageError, match=says):
            await world.running.update(*BTC, NATIVE)
        assert world.claim().plan == PLAN


async def test_an_unknown_symbol_fails_only_its_own_position(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE) as world:
        market = world.paper.market

        def knows(symbol: str) -> Market:
            if symbol.startswith("COIN1"):
                raise UsageError(f"symbol got {symbol!r}")
            return market(symbol)

        world.paper.market = knows  # type: ignore[method-assign]
        wave = some_positions(2)
        await world.enter(wave[0])
        report = await world.running.protect_wave(wave, deadline=5.0)
        assert [type(outcome) for outcome in report.outcomes] == [Protected, Refused]


async def test_a_stored_plan_that_its_market_can_not_carry_out_any_more_is_trailed_by_us(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PLAN, with_manager=False, native_callbacks=None) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
        (record,) = (await world.load()).stops
        record = msgspec.structs.replace(record, plan=NATIVE.encoded, native_task="place")
        await world.memory.commit([SaveStop("paper", "default", record)])
        async with open_listened(world):
            await trio.sleep(5)
            assert world.claim().plan.native
            assert not world.claim().has_native_work
            world.feed("104")
            await trio.sleep(5)
            assert plain_of(await world.live()).price == D("102.96")


# Restarts.


async def test_a_restart_finds_it_by_its_client_order_id_and_it_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await trio.sleep(1)
        before = await world.live()
        native = native_of(before)
        world.feed("104")
        await trio.sleep(3600)
        async with open_listened(world):
            await trio.sleep(5)
            world.feed("104.1")
            await trio.sleep(30)
            assert await world.live() == before
            assert world.claim().native == native
            await world.check(a_position())
            assert ends(world) == []
            world.feed("103")
            await wait_closed(world)
        assert await world.live() == ()


@pytest.mark.parametrize("peak", ["104", "100.5"])
async def test_a_trailing_order_that_ended_without_an_update_is_reported_and_the_plain_stop_is_moved(
    peak: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=NATIVE, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await trio.sleep(1)
            world.feed(peak)
            await trio.sleep(1)
        native = native_of(await world.live())
        world.paper.cancel_by_hand(native.client_order_id)
        found = await plan_recovery(world.exchange, world.store, NATIVE, utc_start=START + timedelta(seconds=9))
        (gone,) = [finding for finding in found if isinstance(finding, StopAbsent)]
        assert gone == StopAbsent(*BTC, native.client_order_id)
        async with open_listened(world) as manager:
            assert gone in manager.recovered
            await trio.sleep(5)
            assert plain_of(await world.live()).price == (D("102.96") if peak == "104" else 98)
            await world.check(a_position())


async def test_a_peak_in_a_price_gap_is_read_before_the_trailing_order_is_placed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE, with_manager=False, latency=0.5, native_callbacks=None) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0, plan=PLAN)
        (record,) = (await world.load()).stops
        record = msgspec.structs.replace(record, plan=NATIVE.encoded, native_task="place")
        await world.memory.commit([SaveStop("paper", "default", record)])
        world.feed("103")
        await trio.sleep(30)
        world.feed("100.99")  # below what the order would begin at, and below where our stop would be
        await trio.sleep(90)
        async with open_listened(world) as manager:
            with trio.fail_after(30):
                await manager.wait_closed()
        assert [call.operation for call in world.exchange.calls].count("place_stop") == 1


async def test_a_process_that_was_killed_before_the_answer_finds_what_it_had_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=NATIVE, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await trio.sleep(1)
        native = native_of(await world.live())
        (record,) = (await world.load()).stops
        intent = Intent(
            exchange="paper",
            account="default",
            symbol=SYMBOL,
            side="long",
            identity=record.position.identity,
            client_order_id=native.client_order_id,
            purpose="stop",
            quantity=native.quantity,
            price=native.price,
            at=START,
        )
        before = msgspec.structs.replace(record, native=None, native_task="place")
        await world.memory.commit([AddIntent(intent), SaveStop("paper", "default", before)])
        async with open_listened(world):
            await trio.sleep(20)
            assert world.claim().native == native == native_of(await world.live())
            await world.check(a_position())
            assert (await world.load()).intents == ()


async def test_a_process_that_ends_before_the_answer_finds_what_it_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=NATIVE, latency=2.0, with_manager=False) as world:
        await world.enter(a_position())
        with trio.move_on_after(5.5):
            async with open_listened(world) as manager:
                await manager.protect(a_position(), deadline=5.0)
                await trio.sleep_forever()
        async with open_listened(world):
            await trio.sleep(20)
            assert world.claim().native == native_of(await world.live())
            await world.check(a_position())


# A rate limit.


async def test_a_trailing_order_waits_until_no_position_waits_for_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limit = RateLimit(
        capacity=1, per_second=1, weights={"place_stop": 1} | dict.fromkeys(("open_stops", "positions"), 0)
    )
    async with open_world(plan=NATIVE, rate_limit=limit) as world:
        wave = some_positions(5)
        await world.enter(*wave)
        report = await world.running.protect_wave(wave, deadline=30)
        assert max(outcome.elapsed for outcome in report.outcomes) == 5  # as without it
        await trio.sleep(60)
        assert sum(order.callback is not None for order in await world.live()) == 5
        await world.check(*wave)


async def test_a_stop_that_comes_later_does_not_wait_for_one(autojump_clock: trio.testing.MockClock) -> None:
    limit = RateLimit(
        capacity=1,
        per_second=1,
        weights=dict.fromkeys(("open_stops", "positions", "set_subscriptions", "find_stop"), 0),
    )
    async with open_world(plan=NATIVE, rate_limit=limit) as world:
        *wave, late = some_positions(5)
        await world.enter(*wave, late)
        await world.running.protect_wave(wave, deadline=30)
        outcome = await world.running.protect(late, deadline=30)
        assert outcome.elapsed <= 1.0
        await trio.sleep(60)
        assert sum(order.callback is not None for order in await world.live()) == 5


async def test_one_by_hand_is_not_ours(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=PLAN) as world:
        await world.enter(a_position())
        by_hand = world.paper.place_by_hand(StopRequest(*BTC, D(1), D(101), "by hand", callback=Percent(1)))
        await world.running.protect(a_position(), deadline=5.0)
        await trio.sleep(130)
        assert native_of(await world.live()) == by_hand
