"""A stop that a person tightens is not loosened, whenever that happens."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from inspection.paper import amend_by_hand, push_stream_state, updates_silenced
from worlds import SYMBOL, World, a_position, open_world

from trailing.testing import Fault, Unreachable

KINDS = pytest.mark.parametrize(
    "kind", [{"can_amend": True}, {"two_stops": False}, {}], ids=["amended", "taken down first", "placed anew"]
)


def stop_prices(world: World) -> Sequence[D]:
    return [stop.price for stop in world.paper.actual(SYMBOL)[0]]


@KINDS
async def test_a_stop_tightened_while_the_stream_was_lost_is_not_loosened_by_the_price_that_comes_with_its_return(
    kind: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.2, **kind) as world:
        await world.protect()
        world.feed("105")  # moved to 103.95
        await trio.sleep(10)
        push_stream_state(world.paper, connected=False)
        with updates_silenced(world.paper):
            await trio.sleep(1)
            (stop,) = world.paper.actual(SYMBOL)[0]
            amend_by_hand(world.paper, stop, D("104.8"))
            await trio.sleep(1)
        push_stream_state(world.paper, connected=True)
        world.feed("105.5")  # the plan wants 104.445
        for _ in range(300):
            await trio.sleep(0.1)
            assert D("104.8") in stop_prices(world)
        assert stop_prices(world) == [D("104.8")]


@KINDS
async def test_a_stop_tightened_between_the_execution_and_the_answer_of_a_move_is_not_loosened(
    kind: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, **kind) as world:
        await world.protect()
        world.feed("105")
        with trio.fail_after(5):
            while D("103.95") not in stop_prices(world):
                await trio.sleep(0.05)
        moved = next(stop for stop in world.paper.actual(SYMBOL)[0] if stop.price == D("103.95"))
        await trio.sleep(0.1)
        amend_by_hand(world.paper, moved, D("104.8"))
        await trio.sleep(3)
        world.feed("105.5")  # the plan wants 104.445
        await trio.sleep(100)
        assert stop_prices(world) == [D("104.8")]


@KINDS
async def test_a_stop_tightened_between_the_execution_and_the_answer_of_its_placing_is_not_loosened(
    kind: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, **kind) as world:
        await world.enter(a_position())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(a_position(), deadline=5.0))
            await trio.sleep(0.6)
            (stop,) = world.paper.actual(SYMBOL)[0]
            world.feed("102")
            amend_by_hand(world.paper, stop, D("101.5"))
        await trio.sleep(5)
        world.feed("102.2")  # the plan wants 101.178
        await trio.sleep(100)
        assert stop_prices(world) == [D("101.5")]


@KINDS
async def test_trailing_goes_on_while_lists_fail_although_a_cancellation_failed_and_the_stream_was_lost(
    kind: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.1, **kind) as world:
        await world.protect()
        down_until = trio.current_time() + 1.5

        def faults(operation: str, symbol: str | None, number: int) -> Fault | None:
            is_down = operation == "cancel_stop" and trio.current_time() < down_until
            return Unreachable() if is_down or operation in ("positions", "open_stops") else None

        world.inject(faults)
        world.feed("105")
        await trio.sleep(0.5)
        push_stream_state(world.paper, connected=False)
        await trio.sleep(0.5)
        push_stream_state(world.paper, connected=True)
        for tenths in range(300):
            await trio.sleep(1)
            world.feed(str(D(105) + D(tenths) / 10))
        assert max(stop_prices(world)) > D("130")
