"""A position that is handed in twice, one that waits long for its key, and an entry whose fill is found late."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world

from trailing import Entry, TimedOut
from trailing.testing import ReplyLost, Unreachable

D = Decimal

POLICIES: list[dict[str, Any]] = [
    {},
    {"retry_then": "close"},
    {"on_unprotected": "close"},
    {"on_unprotected": "report"},
]


def slow_lists(operation: str, _: str | None) -> float:
    return 1.0 if operation in ("positions", "open_stops") else 0.0


@pytest.mark.parametrize("how", ["protect", "adopt"])
async def test_a_position_that_was_handed_in_again_is_listed_once_a_list_shows_it(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=slow_lists) as world:
        await world.protect()
        if how == "protect":
            await world.running.protect(a_position(id="again"), deadline=0.5)
        else:
            await world.running.adopt(*BTC, deadline=1.5)
        await trio.sleep(300)
        assert (list(world.running.stops()), world.running.unprotected()) == ([BTC], {})


async def test_a_position_that_was_released_is_not_protected_again_because_it_was_handed_in_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=slow_lists) as world:
        await world.protect()
        assert isinstance(await world.running.protect(a_position(id="again"), deadline=0.5), TimedOut)
        await trio.sleep(300)
        await world.running.release(*BTC, cancel_stop=True)
        await trio.sleep(60)
        assert world.paper.actual(SYMBOL)[0] == ()


async def test_a_position_that_was_handed_in_twice_is_listed_once_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=slow_lists, with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.protect()
            await manager.protect(a_position(id="again"), deadline=0.5)
            await trio.sleep(10)
        async with open_listened(world) as manager:
            await trio.sleep(100)
            assert (list(manager.stops()), manager.unprotected()) == ([BTC], {})


def unreachable_until(world: World, at: float, operation: str) -> None:
    world.inject(lambda called, *_: Unreachable() if called == operation and trio.current_time() < at else None)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_position_that_waited_long_for_its_key_gets_a_stop(
    restarts: bool, policy: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    seconds = 60 if "on_unprotected" in policy else 400
    async with open_world(cancel_on_flat=True, plan=replace(PLAN, **policy), with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.protect()
            await trio.sleep(10)
            unreachable_until(world, trio.current_time() + seconds, "positions")
            world.paper.reduce(*BTC, D("1.5"))
            other = a_position(entry_price=D(120), opened_at=START + timedelta(seconds=trio.current_time()))
            await world.enter(other)
            world.feed("120")
            await manager.protect(other, deadline=5)
            await trio.sleep(seconds - 20)
            assert BTC in manager.unprotected()
            if not restarts:
                await trio.sleep(100)
                assert world.paper.actual(SYMBOL)[0]
        if restarts:
            world.inject({})
            async with open_listened(world):
                await trio.sleep(100)
                assert world.paper.actual(SYMBOL)[0]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("restarts", [False, True])
async def test_an_entry_whose_fill_is_found_late_gets_a_stop(
    restarts: bool, policy: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(plan=replace(PLAN, **policy), with_manager=False, latency=0.1) as world:
        world.feed("100")
        async with open_listened(world) as manager:
            await trio.sleep(5)
            until = trio.current_time() + 400

            def faults(operation: str, *_: object) -> ReplyLost | Unreachable | None:
                if operation == "place_entry":
                    return ReplyLost()
                is_down = trio.current_time() < until and operation not in ("price", "entry_settings")
                return Unreachable() if is_down else None

            world.inject(faults)
            with world.updates_silenced():
                await manager.enter(Entry(SYMBOL, "long", D(2), limit=D(100)), deadline=5)
            if not restarts:
                await trio.sleep(500)
                assert world.paper.actual(SYMBOL)[0]
        if restarts:
            await trio.sleep(450)
            async with open_listened(world):
                await trio.sleep(100)
                assert world.paper.actual(SYMBOL)[0]
