"""A cancellation anywhere, with any single fault, leaves no untracked order and no claim without a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from each_step import cancel_steps, in_fifths_but
from histories import History
from worlds import BTC, PLAN, World, a_position, open_listened, open_world, some_positions

from trailing import Callback, Percent
from trailing.errors import StoreError
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Slow
from trailing.testing.faults import Operation

D = Decimal

FAULTS: dict[str, dict[str, Any]] = {
    "no-fault": {},
    "lost-reply": {"exchange_faults": {At("place_stop", None, 1): ReplyLost()}},
    "refusal": {"exchange_faults": {At("place_stop", None, 1): Refuses()}},
    "hang": {"exchange_faults": {At("place_stop", None, 1): Hangs(booked=True)}},
    "hang-unbooked": {"exchange_faults": {At("place_stop", None, 1): Hangs()}},
    "store-failure": {"store_faults": {At("commit", None, 1): Fails(StoreError("the disk is full"))}},
    "store-slow": {"store_faults": {At("commit", None, 1): Slow(3.0), At("commit", None, 2): Slow(3.0)}},
}
SETTLED = 60.0  # seconds in which whatever was left to settle is settled: call, clean-up, validity and retries


def world_with(fault: str, *, with_manager: bool, **options: Any) -> AbstractAsyncContextManager[World]:
    return open_world(latency=1.0, with_manager=with_manager, **FAULTS[fault], **options)


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
@pytest.mark.parametrize("count", [1, 3])
async def test_opening_cancelled_anywhere_leaves_nothing_behind_while_the_manager_lives_on(
    fault: str, count: int, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(count)

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with world_with(fault, with_manager=True) as world:
            await world.enter(*positions)
            yield world

    async def act(world: World) -> None:
        await world.running.protect_wave(positions, deadline=4.0)

    async def check(world: World, cancelled: bool) -> None:
        await trio.sleep(SETTLED)
        await world.check(*positions)
        if not cancelled:
            assert len(world.running.stops()) == count

    assert await cancel_steps(fault, world, act, check) > 10


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
@pytest.mark.parametrize("count", [1, 3])
async def test_opening_cancelled_anywhere_with_the_manager_leaves_nothing_behind(
    fault: str, count: int, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(count)

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with world_with(fault, with_manager=False) as world:
            await world.enter(*positions)
            yield world

    async def act(world: World) -> None:
        async with open_listened(world) as manager:
            await manager.protect_wave(positions, deadline=4.0)

    async def check(world: World, cancelled: bool) -> None:
        await trio.sleep(SETTLED)
        await world.check(*positions)

    assert await cancel_steps(fault, world, act, check) > 10


MOVES: dict[str, dict[str, Any]] = {
    "amend": {"can_amend": True},
    "place-cancel": {"two_stops": True},
    "cancel-place": {"two_stops": False},
}
MOVE_FAULTS = ("no-fault", "lost-reply", "refusal", "hang", "store-failure")


def faults_of(fault: str, operation: Operation, call: int, commit: int) -> dict[str, Any]:
    """What `open_world` gets for one fault of the `call`th request of a kind, or of the `commit`th write of the store."""
    at = At(operation, None, call)
    faults: dict[str, dict[str, Any]] = {
        "no-fault": {},
        "lost-reply": {"exchange_faults": {at: ReplyLost()}},
        "refusal": {"exchange_faults": {at: Refuses()}},
        "hang": {"exchange_faults": {at: Hangs(booked=True)}},
        "store-failure": {"store_faults": {At("commit", None, commit): Fails(StoreError("the disk is full"))}},
    }
    return faults[fault]


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", MOVE_FAULTS))
@pytest.mark.parametrize("kind", MOVES)
async def test_move_cancelled_anywhere_leaves_nothing_behind(
    fault: str, kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    position, faults = a_position(), faults_of(fault, "place_stop", 2, 4)
    if kind == "amend":
        faults = faults_of(fault, "amend_stop", 1, 4)

    @asynccontextmanager
    async def world() -> AsyncIterator[tuple[World, History]]:
        history = History()
        options: dict[str, Any] = {"latency": 1.0, "record": history.note} | MOVES[kind] | faults
        async with open_world(with_manager=False, **options) as world:
            history.watch(world)
            await world.protect_and_end(position)
            yield world, history

    async def act(worlds: tuple[World, History]) -> None:
        world, _ = worlds
        async with open_listened(world) as manager:
            await trio.sleep(5)
            world.feed("105")
            while BTC not in manager.stops() or manager.stops()[BTC].price < D("103.95"):
                await trio.sleep(1)

    async def check(worlds: tuple[World, History], cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        await world.check(position)
        async with open_listened(world) as manager:  # whatever was left: a new manager settles it
            await trio.sleep(SETTLED)
            await world.check(position)
            assert len(manager.stops()) == len(await world.live()) == 1
            assert (await world.load()).intents == ()
        history.check()

    assert await cancel_steps(fault, world, act, check) > 10


# The exchange's own trailing order.

NATIVE = msgspec.structs.replace(PLAN, native=True)
WIDER = msgspec.structs.replace(NATIVE, rules=(Callback(Percent("2"), activation=Percent("1")),))
NATIVE_MOVES = {"begin": (PLAN, NATIVE), "withdraw": (NATIVE, PLAN), "replace": (NATIVE, WIDER)}
"""The plan before, and the one that is given to the manager."""


async def end_native_work(world: World) -> None:
    """Wait until no trailing order is to be placed or withdrawn. Prices come meanwhile: one is placed only once the peaks
    before it are read.
    """
    with trio.fail_after(300):
        while world.claim().has_native_work:
            world.feed("100")
            await trio.sleep(5)


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", MOVE_FAULTS))
@pytest.mark.parametrize("kind", NATIVE_MOVES)
async def test_a_trailing_order_that_begins_or_ends_cancelled_anywhere_leaves_nothing_behind(
    fault: str, kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    position, (before, after) = a_position(), NATIVE_MOVES[kind]
    placed_before = 2 if before.native else 1
    faults = faults_of(fault, "place_stop", placed_before + 1, 6)
    if kind == "withdraw":
        faults = faults_of(fault, "cancel_stop", 1, 6)

    @asynccontextmanager
    async def world() -> AsyncIterator[tuple[World, History]]:
        history = History()
        options: dict[str, Any] = {"latency": 1.0, "record": history.note, "plan": before} | faults
        async with open_world(with_manager=False, **options) as world:
            history.watch(world)
            async with open_listened(world):
                await world.protect(position)
            yield world, history

    async def act(worlds: tuple[World, History]) -> None:
        async with open_listened(worlds[0]) as manager:
            await manager.update(*BTC, after)
            await end_native_work(worlds[0])

    async def check(worlds: tuple[World, History], cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        await world.check(position)
        async with open_listened(world):
            await trio.sleep(SETTLED)
            await end_native_work(world)
            await world.check(position)
            live = await world.live()
            claim, natives = world.claim(), [stop for stop in live if stop.callback is not None]
            assert claim.plan == after or (cancelled and claim.plan == before)
            assert [claim.stop] == [stop for stop in live if stop.callback is None]
            assert natives == ([] if claim.native is None else [claim.native])
            if claim.plan.native and fault != "refusal":
                assert natives
            assert (await world.load()).intents == ()
        history.check()

    assert await cancel_steps(fault, world, act, check) > 10
