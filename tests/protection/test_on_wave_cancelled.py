"""`TrailPlan.on_wave_cancelled`: what becomes of the positions of a wave that is cancelled from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import trio
from inspection import Key
from worlds import PLAN, START, World, a_position, open_listened, open_world, some_positions
from wrong_venues import open_wrong_world

from trailing import Position, TimedOut, TrailPlan, UsageError
from trailing.core.model import StopOrder
from trailing.core.plan import decode_plan, encode_plan
from trailing.exchanges.port import OrderUpdate, Update
from trailing.testing import At, Fault, Hangs, ReplyLost, Slow, Unreachable, cancel_everywhere

D = Decimal

POSITIONS = some_positions(5)


def with_policy(on_wave_cancelled: Any, **fields: Any) -> TrailPlan:
    """The plan of most tests with this policy."""
    return TrailPlan(
        initial_stop=PLAN.initial_stop, rules=PLAN.rules, **{"on_wave_cancelled": on_wave_cancelled} | fields
    )


def keys(positions: Sequence[Position] = POSITIONS) -> set[Key]:
    """Symbol and side of each."""
    return {(position.symbol, position.side) for position in positions}


async def cancel_a_wave(world: World, plan: TrailPlan, *, after: float) -> None:
    """Enter the positions, begin to protect them as one wave, and cancel it from outside after some seconds."""
    await world.enter(*POSITIONS)
    with trio.move_on_after(after) as scope:
        await world.running.protect_wave(POSITIONS, deadline=60.0, plan=plan)
    assert scope.cancelled_caught


# The field.


def test_the_default_withdraws_what_a_cancelled_wave_has_not_protected() -> None:
    default: Any = PLAN
    assert default.on_wave_cancelled == "withdraw"
    assert with_policy("withdraw") == PLAN


def test_another_policy_than_the_two_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"TrailPlan\.on_wave_cancelled got 'keep', wants one of 'withdraw', 'protect'"
    ):
        with_policy("keep")


def test_the_policy_is_stored_with_the_plan_and_old_plans_have_the_default() -> None:
    plan = with_policy("protect")
    encoded = encode_plan(plan)
    assert encoded["on_wave_cancelled"] == "protect"
    assert decode_plan(encoded) == plan
    del encoded["on_wave_cancelled"]
    assert decode_plan(encoded) == PLAN


# "withdraw": partial orders are cleaned up, and each position is listed, without a task.


@pytest.mark.parametrize("after", [0.1, 0.4], ids=["on-the-way", "booked"])
async def test_withdraw_leaves_no_partial_order_and_lists_each_position_without_a_task(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5) as world:
        await cancel_a_wave(world, with_policy("withdraw"), after=after)
        for _ in range(6):
            assert await world.live() == ()
            assert world.running.unprotected().keys() == keys()
            await trio.sleep(10)
        assert {one.state for one in world.running.unprotected().values()} == {"closed"}
        await world.check(*POSITIONS)


async def test_withdraw_keeps_the_stops_that_were_acknowledged_before(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(
        latency=lambda _, symbol: 0.1 if symbol == POSITIONS[0].symbol else 5.0,
    ) as world:
        await cancel_a_wave(world, with_policy("withdraw"), after=1.0)
        assert world.running.stops().keys() == keys(POSITIONS[:1])
        assert world.running.unprotected().keys() == keys(POSITIONS[1:])


# "protect": the manager goes on with each position.


@pytest.mark.parametrize("after", [0.1, 0.4], ids=["on-the-way", "booked"])
async def test_protect_keeps_what_was_sent_and_the_manager_protects_every_position(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.5, record=True) as world:
        await cancel_a_wave(world, with_policy("protect"), after=after)
        assert world.inside.listed() >= keys()
        await trio.sleep(15)
        assert world.running.stops().keys() == keys()
        assert world.running.unprotected() == {}
        placed = [booking.symbol for booking in world.paper.log if booking.operation == "place_stop"]
        assert sorted(symbol or "" for symbol in placed) == sorted(position.symbol for position in POSITIONS)
        assert world.calls("cancel_stop") == 0
        await world.check(*POSITIONS)


async def test_protect_places_what_was_not_sent_yet(autojump_clock: trio.testing.MockClock) -> None:
    """The wave is cancelled while the store takes the intents."""
    async with open_world(plan=with_policy("protect", journal_wait=5.0)) as world:
        faults: dict[At, Fault] = {At("commit"): Slow(2.0)}
        world.store.__init__(world.memory, faults)  # type: ignore[misc]
        await cancel_a_wave(world, world.plan, after=1.0)
        await trio.sleep(15)
        assert world.running.stops().keys() == keys()
        await world.check(*POSITIONS)


@pytest.mark.parametrize("fault", [ReplyLost(), Hangs(), Hangs(booked=True), Unreachable()], ids=repr)
async def test_protect_settles_what_is_unknown_and_then_protects(
    fault: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    symbol = POSITIONS[2].symbol
    async with open_world(latency=0.2, exchange_faults={At("place_stop", symbol, 1): fault}) as world:
        await cancel_a_wave(world, with_policy("protect"), after=0.15)
        assert world.inside.listed() >= keys()
        await trio.sleep(30)
        assert world.running.stops().keys() == keys()
        await world.check(*POSITIONS)


async def test_protect_survives_a_manager_that_ends_right_afterwards(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False, latency=0.5) as world:
        async with open_listened(world):
            await cancel_a_wave(world, with_policy("protect"), after=0.1)
        async with open_listened(world):
            await trio.sleep(15)
            assert world.running.stops().keys() == keys()
            await world.check(*POSITIONS)


async def test_protect_is_retried_by_the_plans_policy(autojump_clock: trio.testing.MockClock) -> None:
    """As after a deadline: `retry_for` seconds, and then `retry_then`."""
    plan = with_policy("protect", retry_for=20.0)
    faults: dict[At, Fault] = {At("place_stop", None, 1): Hangs(), At("place_stop"): Unreachable()}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.enter(a_position())
        with trio.move_on_after(0.05) as scope:
            await world.running.protect(a_position(), deadline=60.0, plan=plan)
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert [one.state for one in world.running.unprotected().values()] == ["unprotected"]
        await trio.sleep(60)
        assert [one.state for one in world.running.unprotected().values()] == ["closed"]


# Both.


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_deadline_never_withdraws_a_claim(policy: str, autojump_clock: trio.testing.MockClock) -> None:
    plan = with_policy(policy)
    async with open_world(latency=0.1, exchange_faults={At("place_stop", None, 1): Hangs()}) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=2.0, plan=plan), TimedOut)
        assert world.inside.listed() == keys([a_position()])
        await trio.sleep(15)
        assert world.running.stops().keys() == keys([a_position()])


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_caller_that_joined_gets_its_stop_although_the_first_one_was_cancelled(
    policy: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        outcomes: list[object] = []

        async def join() -> None:
            await trio.sleep(0.1)
            outcomes.append(await world.running.protect(a_position(), deadline=20.0, plan=with_policy(policy)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            with trio.move_on_after(0.3):
                await world.running.protect(a_position(), deadline=20.0, plan=with_policy(policy))
        assert len(world.running.stops()) == len(await world.live()) == 1
        assert not isinstance(outcomes[0], TimedOut)
        await world.check(a_position())


# Cancelled anywhere.


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_wave_that_is_cancelled_anywhere_loses_no_position(
    policy: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that a position is claimed, and so listed, before the first checkpoint of its task."""
    plan, positions = with_policy(policy), POSITIONS[:2]

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with open_world(plan=plan, latency=1.0) as world:
            await world.enter(*positions)
            yield world

    async def act(world: World) -> None:
        await world.running.protect_wave(positions, deadline=20.0)

    async def check(world: World, cancelled: bool) -> None:
        assert world.inside.listed() == keys(positions)
        await trio.sleep(60)
        assert world.inside.listed() == keys(positions)
        if policy == "protect" or not cancelled:
            assert world.running.stops().keys() == keys(positions)
        assert world.running.stops().keys() == {(stop.symbol, stop.side) for stop in await world.live()}
        await world.check(*positions)

    assert await cancel_everywhere(world, act, check) > 10


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_wave_that_is_cancelled_anywhere_while_it_waits_behind_an_ending_claim_loses_no_position(
    policy: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The key is free after some ten seconds: the cancellation strikes before, at and after the hand-over."""
    plan = with_policy(policy, call_seconds=2.0)
    again = a_position(entry_price=D(101), opened_at=START + timedelta(minutes=1))

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        faults: dict[At, Fault] = {At("cancel_stop", None, 1): Hangs()}
        async with open_world(plan=plan, latency=0.5, exchange_faults=faults) as world:
            await world.protect()
            world.paper.reduce(again.symbol, again.side, again.quantity)
            while not world.calls("cancel_stop"):
                await trio.sleep(0.1)
            await world.enter(again)
            yield world

    async def act(world: World) -> None:
        await world.running.protect(again, deadline=60.0)

    async def check(world: World, cancelled: bool) -> None:
        assert world.inside.listed() == keys([again])
        await trio.sleep(60)
        assert world.inside.listed() == keys([again])
        if policy == "protect" or not cancelled:
            assert world.running.stops().keys() == keys([again])
        assert [stop.price for stop in await world.live()] == [stop.price for stop in world.running.stops().values()]

    assert await cancel_everywhere(world, act, check) > 5


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_caller_that_is_cancelled_just_before_its_position_gets_the_key_loses_nothing(
    policy: str, autojump_clock: trio.testing.MockClock
) -> None:
    again = a_position(entry_price=D(101), opened_at=START + timedelta(minutes=1))
    async with open_wrong_world(plan=with_policy(policy), latency=0.5) as (world, venue):
        await world.protect()
        scope = trio.CancelScope()

        async def late(_: StopOrder) -> None:
            await trio.sleep(5)

        def strike(update: Update) -> Iterable[Update]:
            if isinstance(update, OrderUpdate) and update.status == "cancelled":
                scope.cancel()  # the update is taken in before any task goes on: it hands the key over
            return (update,)

        venue.push = strike
        venue.cancel = late
        world.paper.reduce(again.symbol, again.side, again.quantity)
        await trio.sleep(4)
        await world.enter(again)
        with scope:
            await world.running.protect(again, deadline=60.0)
        assert scope.cancelled_caught
        await trio.sleep(5)
        assert world.inside.listed() == keys([again])
        assert world.running.stops().keys() == (keys([again]) if policy == "protect" else set())
