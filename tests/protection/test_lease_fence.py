"""What changes something on the exchange is sent only if it is over before the account can be another's."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from rented import RentedLease, RentingStore
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_listened, open_world, some_positions

import trailing
from trailing import ExchangeUnreachable, LeaseLost, Market, OutcomeUnknown, Pacing, StoreError, TrailPlan, UsageError
from trailing.testing import At, Fails, Fault, FaultyExchange, Hangs, ReplyLost

D = Decimal

CALL, VALIDITY = 10.0, 3.0  # the plan's and the paper exchange's
LEASE = 60.0
WRITES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}
UNPACED = msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=0.0))


@asynccontextmanager
async def open_rented(plan: TrailPlan = UNPACED, **options: Any) -> AsyncIterator[tuple[World, RentedLease]]:
    """A world whose manager has a lease without renewals, and a protected position."""
    async with open_world(with_manager=False, plan=plan, **options) as world:
        world.store = renting = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        async with open_listened(world):
            await world.enter(a_position())
            assert isinstance(await world.running.protect(a_position(), deadline=5.0), trailing.Protected)
            await trio.sleep(2)
            yield world, renting.lease


def writes(world: World) -> list[str]:
    return [call.operation for call in world.exchange.calls if call.operation in WRITES]


async def place(world: World) -> None:
    await world.running.protect(a_position("ETH/USDT:USDT"), deadline=2.0)


async def move(world: World) -> None:
    world.feed("103")
    await trio.sleep(1)


async def close(world: World) -> None:
    await world.running.close(*BTC, deadline=2.0)


async def withdraw(world: World) -> None:
    with trio.move_on_after(2):
        await world.running.release(*BTC, cancel_stop=True)


AMENDS = (Market(SYMBOL, can_amend=True),)
CHANGES = [(place, ()), (move, ()), (move, AMENDS), (close, ()), (withdraw, ())]


@pytest.mark.parametrize(("change", "markets"), CHANGES, ids=["place", "move", "amend", "close", "cancel"])
async def test_nothing_is_sent_that_could_be_executed_after_the_lease(
    change: Callable[[World], Awaitable[None]], markets: tuple[Market, ...], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_rented(markets=markets) as (world, lease):
        before = writes(world)
        lease.until = trio.current_time() + CALL + VALIDITY - 0.001
        await world.enter(a_position("ETH/USDT:USDT"))
        await change(world)
        assert writes(world) == before
        lease.renew()
        await trio.sleep(5)
        assert len(writes(world)) > len(before)


@pytest.mark.parametrize(("change", "markets"), CHANGES, ids=["place", "move", "amend", "close", "cancel"])
async def test_what_is_over_before_the_lease_at_its_slowest_is_sent(
    change: Callable[[World], Awaitable[None]], markets: tuple[Market, ...], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_rented(markets=markets) as (world, lease):
        before = writes(world)
        lease.until = trio.current_time() + CALL + VALIDITY
        await world.enter(a_position("ETH/USDT:USDT"))
        await change(world)
        assert len(writes(world)) > len(before)


async def test_a_turn_of_the_rate_limit_counts_too(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rented() as (world, lease):
        inside, now = world.inside, trio.current_time()
        lease.until = now + 20
        assert inside.check_may_send(20 - CALL - VALIDITY, CALL) == now
        with pytest.raises(ExchangeUnreachable, match="not sent: the account is owned for 20.0 s more only"):
            inside.check_may_send(20 - CALL - VALIDITY + 0.1, CALL)


async def test_a_leftover_is_not_cancelled_after_the_lease(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rented() as (world, lease):
        order = world.running.stops()[BTC]
        await world.running.release(*BTC, cancel_stop=False)
        lease.until = trio.current_time()
        with pytest.raises(ExchangeUnreachable, match="not sent"):
            await world.inside.send_cancel(order, call_seconds=CALL)
        assert "cancel_stop" not in writes(world)


async def test_what_was_not_sent_is_surely_absent_and_is_not_looked_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rented() as (world, lease):
        lease.until = trio.current_time()
        await world.enter(a_position("ETH/USDT:USDT"))
        outcome = await world.running.protect(a_position("ETH/USDT:USDT"), deadline=2.0)
        assert isinstance(outcome, trailing.Refused)
        assert isinstance(outcome.error, ExchangeUnreachable)
        assert not any(call.operation == "find_stop" for call in world.exchange.calls)
        assert world.inside.with_unknown_request() == set()


async def test_a_lease_that_is_not_renewed_raises_an_alarm_once_and_all_goes_on_as_soon_as_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(UNPACED, stale_after=1000.0)
    async with open_rented(plan=plan) as (world, lease):
        await trio.sleep_until(lease.held_until - CALL - VALIDITY - 0.01)
        assert world.alarms() == []
        await trio.sleep(0.02)
        assert world.alarms() == ["nothing is sent to the exchange"]
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(100)  # it is tried further and further apart
        assert list(world.running.unprotected()) == [BTC]
        assert world.alarms() == ["nothing is sent to the exchange"]
        lease.renew()
        await trio.sleep(0.5)
        assert list(world.running.stops()) == [BTC]
        await trio.sleep_until(lease.held_until - CALL - VALIDITY + 0.01)
        assert world.alarms() == ["nothing is sent to the exchange"] * 2
        await world.check(a_position())


async def test_a_lease_that_is_renewed_in_time_is_not_noticed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_rented() as (world, lease):
        for step in range(30):
            await trio.sleep(20)
            lease.renew()
            world.feed(f"{103 + step}")
            await trio.sleep(1)
            assert world.running.stops()[BTC].price == (D(103 + step) * D("0.99")).quantize(D("0.01"))
        assert "nothing is sent to the exchange" not in world.alarms()


async def test_a_store_that_is_down_costs_no_protection_while_the_lease_lasts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    down: list[bool] = []

    def fault(operation: str, _symbol: str | None, _number: int) -> Fault | None:
        return Fails(StoreError("no way to the store")) if down and operation == "commit" else None

    async with open_rented(store_faults=fault) as (world, _lease):
        down.append(True)
        await world.enter(*some_positions(5))
        report = await world.running.protect_wave(some_positions(5), deadline=5.0)
        assert len(report.protected) == 5
        await move(world)
        assert world.running.stops()[BTC].price > D(101)
        await trio.sleep(25)
        down.clear()
        await trio.sleep(10)
        await world.check(a_position(), *some_positions(5))


async def test_a_lost_lease_ends_the_manager_as_itself_and_leaves_the_stops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, plan=UNPACED) as world:
        world.store = renting = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        with pytest.raises(LeaseLost, match="^another owner has it now$"):
            async with open_listened(world) as manager:
                await world.enter(a_position())
                await manager.protect(a_position(), deadline=5.0)
                await trio.sleep(2)
                renting.lease.lose()
                before, lost_at = writes(world), trio.current_time()
                world.feed("103")
                await trio.sleep_forever()
        assert trio.current_time() == lost_at
        assert writes(world) == before
        assert "another process owns the account now" in world.alarms()
        assert len(await world.live()) == 1
        await world.check(a_position())


async def test_nothing_of_a_wave_is_sent_or_withdrawn_once_the_lease_is_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(4)

    def takes(operation: str, symbol: str | None) -> float:
        return {"COIN0/USDT:USDT": 0.5, "COIN1/USDT:USDT": 8.0}.get(symbol or "", 2.0)

    async with open_world(with_manager=False, latency=takes) as world:
        world.store = renting = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        await world.enter(*positions)
        with pytest.raises(LeaseLost):
            async with open_listened(world) as manager, trio.open_nursery() as nursery:

                async def protect() -> None:
                    await manager.protect_wave(positions, deadline=20.0)

                nursery.start_soon(protect)
                await trio.sleep(1)
                sent = writes(world)
                renting.lease.lose()
                await trio.sleep_forever()
        assert sent == ["place_stop"] * 4
        assert writes(world) == sent
        await trio.sleep(10)
        loaded = await world.load()
        assert {intent.symbol for intent in loaded.intents} >= {position.symbol for position in positions[1:]}


async def test_an_order_is_not_placed_where_the_store_says_that_another_one_owns_the_account(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The store is asked first: with `on_store_failure="protect"` any other failure of it would be gone over.
    async with open_rented() as (world, lease):
        before = writes(world)
        claim = world.claim()
        lease.lost = "another owner has it now"  # which the manager has not noticed yet
        with pytest.raises(LeaseLost, match="another owner"):
            await world.inside.send_place(claim, D(98), D(1))
        assert writes(world) == before
        assert "an order is placed that the store does not know of" not in world.alarms()
        with pytest.raises(LeaseLost, match="^not sent: another owner has it now$"):
            await world.inside.send_cancel(world.running.stops()[BTC], call_seconds=CALL)
        lease.lost = None


async def test_an_error_of_the_block_stands_beside_the_lost_lease(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        world.store = renting = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_listened(world):
                try:
                    renting.lease.lose()
                    await trio.sleep_forever()
                finally:
                    raise ZeroDivisionError
        assert caught.group_contains(LeaseLost)
        assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(("fault", "waited"), [(ReplyLost(), 0.0), (Hangs(booked=True), 1.0)], ids=repr)
async def test_the_lease_is_not_given_up_before_what_may_still_be_executed(
    fault: Fault, waited: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_rented(exchange_faults={At("place_stop", "ETH/USDT:USDT"): fault}) as (world, lease):
        assert lease.busy_until < trio.current_time()
        await world.enter(a_position("ETH/USDT:USDT"))
        asked_at = trio.current_time()
        await world.running.protect(a_position("ETH/USDT:USDT"), deadline=1.0)
        assert lease.busy_until == asked_at + waited + VALIDITY
        inside, now = world.inside, trio.current_time()
        inside.extend_busy_until(inside.check_may_send(5.0, CALL) + 5.0)
        assert lease.busy_until == now + 5.0 + VALIDITY


async def test_a_process_that_is_stopped_behind_the_decision_finds_its_deadline_over(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rented() as (world, _lease):
        deadlines: list[float] = []

        async def cancel_stop() -> None:
            deadlines.append(trio.current_effective_deadline())
            await trio.lowlevel.checkpoint()

        def go_on_much_later(_order: object) -> Awaitable[None]:
            autojump_clock.jump(30)
            return cancel_stop()

        monkeypatch.setattr(world.exchange, "cancel_stop", go_on_much_later)
        with pytest.raises(OutcomeUnknown):
            await world.inside.send_cancel(world.running.stops()[BTC], call_seconds=CALL)
        assert deadlines == [-math.inf], "it is over before the request is made"
        monkeypatch.undo()


async def test_what_was_answered_or_not_sent_keeps_no_lease(autojump_clock: trio.testing.MockClock) -> None:
    faults = {At("place_stop", "ETH/USDT:USDT"): Fails(ExchangeUnreachable("not sent"))}
    async with open_rented(exchange_faults=faults) as (world, lease):
        await world.enter(a_position("ETH/USDT:USDT"))
        await world.running.protect(a_position("ETH/USDT:USDT"), deadline=1.0)
        await close(world)
        assert lease.busy_until < world.started


async def test_a_plan_whose_calls_do_not_fit_into_the_lease_is_refused_at_every_door(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = msgspec.structs.replace(PLAN, call_seconds=LEASE - VALIDITY + 0.5)
    complaint = (
        "^TrailPlan.call_seconds got 57.5, wants at most 57 s: with the exchange's request_validity, 3 s, a call has to "
        "end within the 60 s for which the account is surely owned$"
    )
    async with open_rented() as (world, _lease):
        manager = world.running
        with pytest.raises(UsageError, match=complaint):
            await manager.protect_wave([a_position()], deadline=5.0, plan=slow)
        with pytest.raises(UsageError, match=complaint):
            await manager.adopt(*BTC, deadline=5.0, plan=slow)
        with pytest.raises(UsageError, match=complaint):
            await manager.update(*BTC, slow)
        assert world.claim().plan == UNPACED
    async with open_world(with_manager=False, plan=slow) as world:
        world.store = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        with pytest.raises(UsageError, match=complaint):
            async with open_listened(world):
                raise AssertionError("it opened")
        assert len(world.exchange.calls) == 0


async def test_a_stored_plan_whose_calls_do_not_fit_is_refused_before_anything_is_changed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow = msgspec.structs.replace(PLAN, call_seconds=LEASE)
    async with open_world(with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.enter(a_position())
            await manager.protect(a_position(), deadline=5.0, plan=slow)
        world.store = RentingStore(world.store, LEASE)  # type: ignore[assignment]
        before = await world.load()
        with pytest.raises(UsageError, match="^BTC/USDT:USDT long, stored: TrailPlan.call_seconds got 60.0"):
            async with open_listened(world):
                raise AssertionError("it opened")
        assert await world.load() == before
        assert len(await world.live()) == 1


async def test_a_lease_that_can_not_be_lost_takes_any_plan(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=msgspec.structs.replace(PLAN, call_seconds=1e6)) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), trailing.Protected)


LAGS: list[dict[str, Any]] = [{"orders_read_lag": 4.0}, {"positions_read_lag": 4.0}]


@pytest.mark.parametrize("lag", LAGS, ids=lambda lag: next(iter(lag)))
async def test_a_plan_whose_clean_up_is_shorter_than_a_read_lag_is_refused_at_every_door(
    lag: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    hasty = msgspec.structs.replace(PLAN, cleanup_seconds=3.9)
    complaint = (
        "^TrailPlan.cleanup_seconds got 3.9, wants at least 4 s, because paper may show an executed request only "
    )
    async with open_world(**lag) as world:
        manager = world.running
        with pytest.raises(UsageError, match=complaint):
            await manager.protect_wave([a_position()], deadline=5.0, plan=hasty)
        with pytest.raises(UsageError, match=complaint):
            await manager.adopt(*BTC, deadline=5.0, plan=hasty)
        with pytest.raises(UsageError, match=complaint):
            await manager.update(*BTC, hasty)
    async with open_world(with_manager=False, plan=hasty, **lag) as world:
        with pytest.raises(UsageError, match=complaint):
            async with open_listened(world):
                raise AssertionError("it opened")
        assert len(world.exchange.calls) == 0


async def test_a_stored_plan_whose_clean_up_is_too_short_is_refused_before_anything_is_changed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hasty = msgspec.structs.replace(PLAN, cleanup_seconds=2.0)
    async with open_world(with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.enter(a_position())
            await manager.protect(a_position(), deadline=5.0, plan=hasty)
        before = await world.load()
        world.paper.orders_read_lag = 2.5
        with pytest.raises(UsageError, match="^BTC/USDT:USDT long, stored: TrailPlan.cleanup_seconds got 2.0, wants"):
            async with open_listened(world):
                raise AssertionError("it opened")
        assert await world.load() == before
        assert len(await world.live()) == 1


async def test_a_clean_up_as_long_as_the_read_lag_is_taken(autojump_clock: trio.testing.MockClock) -> None:
    plan = msgspec.structs.replace(PLAN, cleanup_seconds=4.0)
    async with open_world(plan=plan, orders_read_lag=4.0, positions_read_lag=4.0) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), trailing.Protected)


class FencedExchange(FaultyExchange):
    """An exchange with calls of the bot, as a real one has them."""

    fence: Any = None

    def set_fence(self, fence: Any) -> None:
        self.fence = fence


async def test_the_bot_s_calls_change_something_only_while_its_manager_owns_the_account(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trailing.open_paper() as paper, trailing.open_store("memory:") as inner:
        exchange, store = FencedExchange(paper, {}), RentingStore(inner, LEASE)
        async with trailing.open_manager(exchange, store, PLAN):
            exchange.fence.check_may_send(0.0, CALL)
            store.lease.lost = "another owner has it now"
            with pytest.raises(LeaseLost, match="^not sent: another owner has it now$"):
                exchange.fence.check_may_send(0.0, CALL)
            store.lease.lost = None
        assert exchange.fence is None


async def test_a_block_that_fails_ends_the_bot_s_calls_too(autojump_clock: trio.testing.MockClock) -> None:
    async with trailing.open_paper() as paper, trailing.open_store("memory:") as store:
        exchange = FencedExchange(paper, {})
        with pytest.raises(ValueError, match="the bot's own"):
            async with trailing.open_manager(exchange, store, PLAN):
                raise ValueError("the bot's own")
        assert exchange.fence is None
