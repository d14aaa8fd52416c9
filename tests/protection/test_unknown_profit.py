"""The profit of a closed position: from the reported fills and the exchange's own trades, and None where some are unknown."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
from worlds import SYMBOL, World, a_position, open_listened, open_world, some_positions

import trailing
from trailing import Protected, UsageError
from trailing.core.model import Side
from trailing.events import Event, PositionClosed, StopFilled
from trailing.exchanges.paper.limits import RateLimit
from trailing.stores.codec import EVENT, encode
from trailing.testing import At, Fails, Hangs, Throttles, Unreachable
from trailing.testing.faults import Fault

HALF = D("0.75")


async def ending(world: World) -> PositionClosed:
    """How the one position ended, as the store has it."""
    await trio.sleep(5)
    events: list[Event] = [record.event async for record in world.memory.events()]
    (closed,) = [event for event in events if isinstance(event, PositionClosed)]
    return closed


@pytest.mark.parametrize("latency", [0.0, 0.3])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm57_the_profit_of_a_stop_that_filled_while_no_process_ran_comes_from_the_trades(
    side: Side, latency: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False, latency=latency) as world:
        await world.protect_and_end(a_position(side=side))
        world.feed("97" if side == "long" else "103")
        await trio.sleep(3600)
        async with open_listened(world) as manager:
            await manager.wait_closed()
            closed = await ending(world)
    assert (closed.quantity, closed.profit, closed.reason) == (D("1.5"), D("-4.5"), "the stop was filled")
    assert [(event.quantity, event.price) for event in world.events if isinstance(event, StopFilled)] == [
        (D("1.5"), D(97) if side == "long" else D(103))
    ]
    assert world.calls("order_fills") == 1
    assert (await world.load()).stops == ()


async def test_fm57_a_fill_that_was_not_pushed_is_read_too(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(positions_read_lag=1.0, orders_read_lag=0.5) as world:
        await world.protect()
        with world.updates_silenced():
            world.feed("97")
        await world.running.wait_closed()
        closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D("1.5"), D("-4.5"))


@pytest.mark.parametrize(
    ("fault", "calls"),
    [(Unreachable(), 3), (Hangs(), 3), (Fails(UsageError("not here")), 1), (Fails(RuntimeError("a bug")), 3)],
    ids=["unreachable", "no answer", "not on this venue", "a bug"],
)
async def test_fm57_a_profit_that_can_not_be_read_is_unknown_and_never_0(
    autojump_clock: trio.testing.MockClock, fault: Fault, calls: int
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end()
        world.feed("97")
        world.inject({At("order_fills"): fault})
        async with open_listened(world) as manager:
            with trio.fail_after(120):
                await manager.wait_closed()
            closed = await ending(world)
            assert world.calls("order_fills") == calls
            assert (await world.load()).stops == ()
    assert (closed.quantity, closed.profit) == (D(0), None)
    assert b'"profit":null' in encode(closed)
    assert EVENT.decode(encode(closed)) == closed


async def test_fm57_one_read_that_fails_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end()
        world.feed("97")
        world.inject(
            {At("order_fills", None, call): fault for call, fault in ((1, Unreachable()), (2, Throttles(40.0)))}
        )
        async with open_listened(world) as manager:
            await manager.wait_closed()
            closed = await ending(world)
            assert world.calls("order_fills") == 3
    assert closed.profit == D("-4.5")


async def test_fm57_a_restart_while_the_trades_are_read_forgets_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end()
        world.feed("97")
        world.inject({At("order_fills"): Hangs()})
        async with open_listened(world):
            with trio.fail_after(120):
                while not world.calls("order_fills"):
                    await trio.sleep(0.1)
        assert (await world.record()).unread_orders
        world.inject({})
        async with open_listened(world) as manager:
            await manager.wait_closed()
            closed = await ending(world)
    assert (closed.quantity, closed.profit) == (D("1.5"), D("-4.5"))


async def test_fm57_reading_trades_delays_no_other_position_of_the_key(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end()
        world.feed("97")
        world.inject({At("order_fills"): Hangs()})
        async with open_listened(world) as manager:
            with trio.fail_after(120):
                while not world.calls("order_fills"):
                    await trio.sleep(0.1)
            again = a_position(entry_price=D(97), id="another")
            await world.enter(again)
            outcome = await manager.protect(again, deadline=2.0)
            assert isinstance(outcome, Protected)
            assert outcome.elapsed < 0.5
            closed = await ending(world)
            await world.check(again, handed_in=True)
    assert closed.profit is None


async def test_fm57_the_trades_of_many_positions_are_read_within_the_rate_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limit = RateLimit(20, 5.0)
    async with open_world(with_manager=False, rate_limit=limit) as world:
        positions = some_positions(30)
        await world.protect_and_end(*positions)
        for position in positions:
            world.feed("97", position.symbol)
        async with open_listened(world) as manager:
            with trio.fail_after(600):
                await manager.wait_closed()
            await trio.sleep(5)
            events: list[Event] = [record.event async for record in world.memory.events()]
            profits = [event.profit for event in events if isinstance(event, PositionClosed)]
            assert profits == [D("-4.5")] * 30
            assert world.calls("order_fills") == 30


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


async def test_fm57_a_part_that_was_told_and_a_part_that_filled_while_no_process_ran_make_a_profit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    filled: list[bool] = []

    def half_at_first(order: trailing.StopOrder, _: trailing.Tick) -> D:
        return order.quantity if filled or filled.append(True) else HALF  # type: ignore[func-returns-value]

    async with open_world(with_manager=False, partial_fills=half_at_first) as world:
        async with open_listened(world):
            await world.protect(settle=0.0)
            world.feed("97")
            await trio.sleep(0.5)
        world.feed("96")
        async with open_listened(world) as manager:
            await manager.wait_closed()
            closed = await ending(world)
    told = [(event.quantity, event.price) for event in world.events if isinstance(event, StopFilled)]
    assert told == [(HALF, D(97)), (HALF, D(96))]
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
