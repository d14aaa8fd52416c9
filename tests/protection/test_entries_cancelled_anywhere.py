"""An entry that is cancelled anywhere, with any single fault, leaves no remainder, no untracked order and no bare position."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest
import trio
from each_step import cancel_steps, in_fifths
from inspection import Key
from worlds import PLAN, START, World, open_listened, open_world, slow_but

from trailing import Entry, NotEntered, Position
from trailing.errors import EntryRejected, StoreError
from trailing.events import EntryEnded
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Slow, cancel_everywhere

D = Decimal

FAULTS: dict[str, dict[str, Any]] = {
    "no-fault": {},
    "lost-reply-of-the-entry": {"exchange_faults": {At("place_entry", None, 1): ReplyLost()}},
    "lost-reply-of-the-stop": {"exchange_faults": {At("place_stop", None, 1): ReplyLost()}},
    "refusal-of-the-entry": {"exchange_faults": {At("place_entry", None, 1): Refuses(EntryRejected("no margin"))}},
    "refusal-of-the-stop": {"exchange_faults": {At("place_stop", None, 1): Refuses()}},
    "hang": {"exchange_faults": {At("place_entry", None, 1): Hangs(booked=True)}},
    "hang-unbooked": {"exchange_faults": {At("place_entry", None, 1): Hangs()}},
    "lost-cancellation": {"exchange_faults": {At("cancel_entry", None, 1): ReplyLost()}},
    "store-failure": {"store_faults": {At("commit", None, 1): Fails(StoreError("the disk is full"))}},
    "store-slow": {"store_faults": {At("commit", None, 1): Slow(3.0), At("commit", None, 2): Slow(3.0)}},
}
ATTACHED = ("none", "own", "bridge")
SYMBOLS = tuple(f"COIN{number}/USDT:USDT" for number in range(3))
SETTLED = 90.0  # seconds in which whatever was left is settled: call, clean-up, validity and retries

WAVES: dict[str, tuple[Entry, ...]] = {
    "market": (Entry(SYMBOLS[0], "long", D(2)),),
    "limit": (Entry(SYMBOLS[0], "long", D(2), limit=D("99.5")),),
    "three": (
        Entry(SYMBOLS[0], "long", D(2)),
        Entry(SYMBOLS[1], "short", D(1), limit=D("100.5")),
        Entry(SYMBOLS[2], "long", D(3), stop_price=D(97)),
    ),
}
"""One price fills 40 % of the order alone, so that two parts are filled and a rest is left."""


@asynccontextmanager
async def a_world(fault: str, attached: str, wave: str, *, with_manager: bool, **changes: Any) -> AsyncIterator[World]:
    kind, parts = None if attached == "none" else attached, D("0.4") if wave == "limit" else None
    options = FAULTS[fault] | changes
    async with (
        open_world(
            latency=1.0, with_manager=with_manager, attached_stop=kind, partial_entries=parts, **options
        ) as world,
        trio.open_nursery() as market,
    ):
        for symbol in SYMBOLS:
            world.feed("100", symbol)
        market.start_soon(move_the_market, world)
        yield world
        market.cancel_scope.cancel()


async def move_the_market(world: World) -> None:
    """Let each limit order be filled in parts, about as its deadline strikes."""
    for _ in range(2):
        await trio.sleep(1.7)
        world.feed("99.4", SYMBOLS[0])
        world.feed("100.6", SYMBOLS[1])


async def check(world: World) -> None:
    """Assert that no entry works, that each open position has one live stop for all of it, and that nothing is left open."""
    held = await positions_of(world)
    for symbol in SYMBOLS:
        assert not await working(world, symbol)
    stops = await world.live()
    covered = {(stop.symbol, stop.side): stop.quantity for stop in stops}
    assert len(covered) == len(stops), stops
    assert covered == {key: position.quantity for key, position in held.items()}
    assert world.running.stops() == {(stop.symbol, stop.side): stop for stop in stops}
    assert (world.running.unprotected(), world.running.entries()) == ({}, {})
    assert not (await world.load()).intents
    await world.check(*held.values())


async def check_listed(world: World) -> None:
    """Assert that the manager lists each position without a live stop, and each entry that may be filled."""
    manager = world.running
    listed = manager.stops().keys() | manager.unprotected().keys() | manager.entries().keys()
    stops = {(stop.symbol, stop.side) for stop in await world.live()}
    assert set(await positions_of(world)) <= stops | listed
    assert {(symbol, side) for symbol in SYMBOLS for side in await working(world, symbol)} <= listed


async def positions_of(world: World) -> dict[Key, Position]:
    return {
        (report.symbol, report.side): Position(report.symbol, report.side, report.quantity, report.entry_price, START)
        for report in await world.paper.positions()
    }


async def working(world: World, symbol: str) -> list[str]:
    """The sides of the symbol's working entries."""
    orders = await world.paper.open_orders(symbol)
    return ["long" if order.order_side == "buy" else "short" for order in orders if order.trigger_price is None]


def cases(*fast: str) -> list[Any]:
    """Every fault, attachment and wave. A few are fast, a third of the others is slow, and the rest repeats them."""

    def marked(fault: int, attached: int, wave: int) -> Iterable[Any]:
        case = "/".join((list(FAULTS)[fault], ATTACHED[attached], list(WAVES)[wave]))
        if case in fast:
            return [case]
        # Each fault meets each attachment, and each wave, once among the slow ones.
        is_enough = (fault + attached + wave) % 3 == 0
        return in_fifths(case) if is_enough else [pytest.param(case, marks=pytest.mark.repeats)]

    return [parameter for numbers in product(range(len(FAULTS)), range(3), range(3)) for parameter in marked(*numbers)]


@pytest.mark.parametrize(
    "case", cases("no-fault/none/limit", "lost-reply-of-the-entry/bridge/market", "refusal-of-the-stop/own/limit")
)
async def test_a_wave_of_entries_cancelled_anywhere_leaves_nothing_behind(
    case: str, autojump_clock: trio.testing.MockClock
) -> None:
    fault, attached, wave = case.split("/")

    async def act(world: World) -> None:
        report = await world.running.enter_wave(WAVES[wave], deadline=4.0)
        held = await positions_of(world)
        for outcome in report.outcomes:
            assert not isinstance(outcome, NotEntered) or (outcome.symbol, outcome.side) not in held

    async def after(world: World, cancelled: bool) -> None:
        await check_listed(world)
        await trio.sleep(SETTLED)
        await check(world)

    def world() -> AbstractAsyncContextManager[World]:
        return a_world(fault, attached, wave, with_manager=True)

    assert await cancel_steps(case, world, act, after) > 10


@pytest.mark.parametrize("case", cases("lost-cancellation/own/limit", "hang/none/market", "no-fault/bridge/three"))
async def test_a_manager_cancelled_anywhere_while_it_enters_leaves_nothing_that_the_next_does_not_settle(
    case: str, autojump_clock: trio.testing.MockClock
) -> None:
    fault, attached, wave = case.split("/")

    async def act(world: World) -> None:
        async with open_listened(world) as manager:
            await manager.enter_wave(WAVES[wave], deadline=4.0)

    async def after(world: World, cancelled: bool) -> None:
        async with open_listened(world):
            await trio.sleep(SETTLED)
            await check(world)

    def world() -> AbstractAsyncContextManager[World]:
        return a_world(fault, attached, wave, with_manager=False)

    assert await cancel_steps(case, world, act, after) > 10


@pytest.mark.parametrize("attached", slow_but("none", ATTACHED))
async def test_what_a_cancelled_entry_has_filled_is_closed_if_the_plan_says_so(
    attached: str, autojump_clock: trio.testing.MockClock
) -> None:
    plan, closed = msgspec.structs.replace(PLAN, on_entry_cancelled="close"), list[Decimal]()

    async def act(world: World) -> None:
        await world.running.enter_wave(WAVES["limit"], deadline=6.0, plan=plan)

    async def after(world: World, cancelled: bool) -> None:
        await trio.sleep(SETTLED)
        await check(world)
        ended = next((event for event in world.events if isinstance(event, EntryEnded)), None)
        if ended is not None and ended.at < START + timedelta(
            seconds=6.0
        ):  # the cancellation ended it, not the deadline
            assert not await positions_of(world)
            closed.append(ended.filled)

    def world() -> AbstractAsyncContextManager[World]:
        return a_world("no-fault", attached, "limit", with_manager=True)

    assert await cancel_everywhere(world, act, after) > 10
    assert {D(0), D("0.8"), D("1.6")} == set(closed)
