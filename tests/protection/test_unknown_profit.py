"""The profit of a closed position: known where every fill of it was reported, and None in any other case."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
from worlds import SYMBOL, World, a_position, open_listened, open_world

import trailing
from trailing.core.model import Side
from trailing.events import Event, PositionClosed, StopFilled
from trailing.stores.codec import EVENT, encode

HALF = D("0.75")


async def ending(world: World) -> PositionClosed:
    """How the one position ended, as the store has it."""
    await trio.sleep(5)
    events: list[Event] = [record.event async for record in world.memory.events()]
    (closed,) = [event for event in events if isinstance(event, PositionClosed)]
    return closed


@pytest.mark.parametrize("side", ["long", "short"])
async def test_a_stop_that_filled_while_no_process_ran_leaves_the_profit_unknown(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position(side=side))
        world.feed("97" if side == "long" else "103")
        async with open_listened(world) as manager:
            await manager.wait_closed()
            closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D(0), None)
    assert b'"profit":null' in encode(closed)
    assert EVENT.decode(encode(closed)) == closed


async def test_a_part_that_was_closed_while_no_process_ran_leaves_the_profit_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end()
        world.paper.reduce(SYMBOL, "long", HALF)
        async with open_listened(world) as manager:
            await trio.sleep(10)
            world.feed("97")
            await manager.wait_closed()
            closed = await ending(world)
    assert (closed.quantity, closed.profit) == (HALF, None)


async def test_a_part_that_was_added_by_hand_leaves_the_profit_unknown(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        await world.enter(a_position(quantity=HALF, entry_price=D(104)))
        await trio.sleep(120)
        world.feed("97")
        await world.running.wait_closed()
        closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D("1.5") + HALF, None)


async def test_a_fill_that_is_not_pushed_leaves_the_profit_unknown(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        with world.updates_silenced():
            world.feed("97")
        await world.running.wait_closed()
        closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D(0), None)


async def test_fills_before_and_after_a_restart_make_a_profit(autojump_clock: trio.testing.MockClock) -> None:
    filled: list[bool] = []

    def half_at_first(order: trailing.StopOrder, _: trailing.Tick) -> D:
        return order.quantity if filled or filled.append(True) else HALF  # type: ignore[func-returns-value]

    async with open_world(with_manager=False, partial_fills=half_at_first) as world:
        async with open_listened(world) as manager:
            await world.protect(settle=0.0)
            world.feed("97")
            await trio.sleep(0.5)
            assert [event.quantity for event in world.events if isinstance(event, StopFilled)] == [HALF]
        async with open_listened(world) as manager:
            await trio.sleep(1)
            world.feed("96")
            await manager.wait_closed()
            closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D("1.5"), -3 * HALF - 4 * HALF)


def test_an_event_of_an_older_version_loads_and_a_profit_of_nothing_is_not_known() -> None:
    old = (
        b'{"type":"PositionClosed","at":"2026-01-01T00:00:00Z","symbol":"BTC/USDT:USDT","side":"long",'
        b'"entry_price":"100","quantity":"0","profit":"0","moves":0,"unprotected_seconds":1.0,"reason":"closed from outside"}'
    )
    event = EVENT.decode(old)
    assert isinstance(event, PositionClosed)
    assert (event.quantity, event.profit) == (D(0), None)
    known = EVENT.decode(old.replace(b'"quantity":"0","profit":"0"', b'"quantity":"2","profit":"0"'))
    assert isinstance(known, PositionClosed)
    assert known.profit == 0  # closed at its entry price
