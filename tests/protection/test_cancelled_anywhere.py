"""Cancelled anywhere, with any single fault: no order that nobody tracks, no claim that nobody holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import trio
from worlds import World, a_position, open_listened, open_world, some_positions

from trailing.errors import StoreError
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Slow, cancel_everywhere
from trailing.testing.faults import Operation

pytestmark = pytest.mark.slow  # some thousand runs

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


@pytest.mark.parametrize("fault", FAULTS)
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

    assert await cancel_everywhere(world, act, check) > 10


@pytest.mark.parametrize("fault", FAULTS)
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

    assert await cancel_everywhere(world, act, check) > 10


MOVES: dict[str, dict[str, Any]] = {
    "amend": {"can_amend": True},
    "place-cancel": {"two_stops": True},
    "cancel-place": {"two_stops": False},
}


@pytest.mark.parametrize("fault", ["no-fault", "lost-reply", "refusal", "hang", "store-failure"])
@pytest.mark.parametrize("kind", MOVES)
async def test_move_cancelled_anywhere_leaves_nothing_behind(
    fault: str, kind: str, autojump_clock: trio.testing.MockClock
) -> None:
    position = a_position()
    operation: Operation = "amend_stop" if kind == "amend" else "place_stop"
    call = 1 if kind == "amend" else 2
    faults: dict[str, dict[str, Any]] = {
        "no-fault": {},
        "lost-reply": {"exchange_faults": {At(operation, None, call): ReplyLost()}},
        "refusal": {"exchange_faults": {At(operation, None, call): Refuses()}},
        "hang": {"exchange_faults": {At(operation, None, call): Hangs(booked=True)}},
        "store-failure": {"store_faults": {At("commit", None, 4): Fails(StoreError("the disk is full"))}},
    }

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with open_world(latency=1.0, with_manager=False, **MOVES[kind], **faults[fault]) as world:
            await world.enter(position)
            async with open_listened(world) as manager:
                await manager.protect(position, deadline=4.0)
            yield world

    async def act(world: World) -> None:
        async with open_listened(world) as manager:
            await trio.sleep(5)
            world.feed("105")
            while manager.stops().get(("BTC/USDT:USDT", "long"), None) is None or (
                manager.stops()["BTC/USDT:USDT", "long"].price < Decimal("103.95")
            ):
                await trio.sleep(1)

    async def check(world: World, cancelled: bool) -> None:
        await trio.sleep(SETTLED)
        await world.check(position)
        async with open_listened(world) as manager:  # whatever was left: a new manager settles it
            await trio.sleep(SETTLED)
            await world.check(position)
            assert len(manager.stops()) == len(await world.live()) == 1

    assert await cancel_everywhere(world, act, check) > 10
