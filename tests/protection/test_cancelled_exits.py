"""A close, an exit by software and a release, cancelled anywhere, with any single fault: protected as before, or over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import trio
from each_step import cancel_steps, in_fifths_but
from histories import History, broken_bounds
from worlds import BTC, World, a_position, open_listened, open_world

from trailing.errors import StoreError
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Unreachable, cancel_everywhere

D = Decimal

POSITION = a_position()
SETTLED = 150.0  # seconds in which whatever was left to settle is settled

FAULTS: dict[str, dict[str, Any]] = {
    "no-fault": {},
    "lost-reply": {"exchange_faults": {At("close_position", None, 1): ReplyLost()}},
    "refusal": {"exchange_faults": {At("close_position", None, 1): Refuses()}},
    "hang": {"exchange_faults": {At("close_position", None, 1): Hangs(booked=True)}},
    "hang-unbooked": {"exchange_faults": {At("close_position", None, 1): Hangs()}},
    "stop-stays": {"exchange_faults": {At("cancel_stop", None, 1): Unreachable()}},
    "store-failure": {"store_faults": {At("commit", None, 4): Fails(StoreError("the disk is full"))}},
}

Worlds = tuple[World, History]
Act = Callable[[World], Awaitable[object]]


@asynccontextmanager
async def open_protected(fault: str, *, with_manager: bool, **settings: Any) -> AsyncIterator[Worlds]:
    """A world with one position that is protected, by a manager that goes on or by one that has ended."""
    history = History()
    options: dict[str, Any] = {"latency": 0.5, "record": history.note} | settings | FAULTS[fault]
    async with open_world(with_manager=with_manager, **options) as world:
        history.watch(world)
        if with_manager:
            await world.protect()
        else:
            await world.protect_and_end(POSITION)
        yield world, history


async def check_over_or_protected(world: World, history: History) -> bool:
    """Assert that nothing is half done: the position has its stop and its record, or neither is left. Returns whether it
    is open.
    """
    await world.check(POSITION, handed_in=True)
    history.check()
    assert list(broken_bounds(world.exchange.calls)) == []
    loaded, live = await world.load(), await world.live()
    assert loaded.intents == ()
    if await world.paper.positions():
        (record,) = loaded.stops
        assert [record.orders[-1]] == list(live)
        assert record.state in {"waiting", "trailing"}
        return True
    assert (loaded.stops, live) == ((), ())
    return False


async def cancel_with_the_manager(fault: str, act: Act, **settings: Any) -> None:
    """Cancel what is done with a manager that is opened for it, everywhere. A new manager settles what is left."""

    async def act_with_manager(worlds: Worlds) -> None:
        world, _ = worlds
        async with open_listened(world):
            await act(world)

    async def check(worlds: Worlds, cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        await world.check(POSITION)
        has_wish = any(record.close_reason for record in (await world.load()).stops)
        async with open_listened(world):
            await trio.sleep(SETTLED)
            is_open = await check_over_or_protected(world, history)
        assert not is_open or (cancelled and not has_wish)

    def protected() -> Any:
        return open_protected(fault, with_manager=False, **settings)

    assert await cancel_steps(fault, protected, act_with_manager, check) > 10


async def close(world: World) -> None:
    """Close the position, as the bot wishes."""
    await world.running.close(*BTC, deadline=60.0)


async def cross(world: World) -> None:
    """Let the price cross the stop, which the exchange does not fill, so that software closes the position."""
    await trio.sleep(1)
    world.feed("97.5")
    await world.running.wait_closed()


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
async def test_a_close_that_is_cancelled_anywhere_is_carried_on_by_the_manager(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def check(worlds: Worlds, cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        assert not await check_over_or_protected(world, history) or cancelled

    def protected() -> Any:
        return open_protected(fault, with_manager=True)

    assert await cancel_steps(fault, protected, lambda worlds: close(worlds[0]), check) > 5


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
async def test_a_close_that_is_cancelled_anywhere_with_the_manager_leaves_nothing_half_done(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    await cancel_with_the_manager(fault, close)


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
async def test_an_exit_by_software_that_is_cancelled_anywhere_leaves_nothing_half_done(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The exchange triggers the stop and fills nothing of it."""
    await cancel_with_the_manager(fault, cross, partial_fills=lambda order, tick: D(0))


@pytest.mark.parametrize("fault", in_fifths_but("lost-reply", FAULTS))
async def test_an_exit_in_place_of_the_first_stop_that_is_cancelled_anywhere_leaves_nothing_half_done(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The price is beyond the first stop when the position is handed in."""

    @asynccontextmanager
    async def crossed() -> AsyncIterator[Worlds]:
        history = History()
        options: dict[str, Any] = {"latency": 0.5, "record": history.note} | FAULTS[fault]
        async with open_world(**options) as world:
            history.watch(world)
            await world.enter(POSITION)
            world.feed("97")
            yield world, history

    async def act(worlds: Worlds) -> None:
        await worlds[0].running.protect(POSITION, deadline=20.0)

    async def check(worlds: Worlds, cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        await world.check(POSITION, handed_in=True)
        history.check()
        assert await world.live() == ()
        assert (await world.load()).intents == ()
        if await world.paper.positions():  # the cancellation has withdrawn it
            assert cancelled
            assert world.running.unprotected()[BTC].state == "closed"

    assert await cancel_steps(fault, crossed, act, check) > 5


@pytest.mark.parametrize("cancel_stop", [True, False], ids=["with-its-stop", "keeping-its-stop"])
async def test_a_release_that_is_cancelled_anywhere_is_carried_on_or_was_never_begun(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def act(worlds: Worlds) -> None:
        world, history = worlds
        history.cancels_on_demand = cancel_stop
        await world.running.release(*BTC, cancel_stop=cancel_stop)

    async def check(worlds: Worlds, cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        history.check()
        live, loaded = await world.live(), await world.load()
        if world.inside.claimed():
            assert cancelled
            await world.check(POSITION, handed_in=True)
            assert len(live) == len(loaded.stops) == 1
        else:
            assert len(live) == (0 if cancel_stop else 1)
            assert [record.state for record in loaded.stops] == ["closed"]  # it is known as released after a restart
            assert (world.running.stops(), world.running.unprotected()) == ({}, {})

    def protected() -> Any:
        return open_protected("no-fault", with_manager=True)

    assert await cancel_everywhere(protected, act, check) >= 1


@pytest.mark.parametrize("cancel_stop", [True, False], ids=["with-its-stop", "keeping-its-stop"])
async def test_a_release_that_is_cancelled_anywhere_with_the_manager_goes_on_after_a_restart(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def act(worlds: Worlds) -> None:
        world, history = worlds
        async with open_listened(world) as manager:
            history.cancels_on_demand = cancel_stop
            await manager.release(*BTC, cancel_stop=cancel_stop)

    async def check(worlds: Worlds, cancelled: bool) -> None:
        world, history = worlds
        await trio.sleep(SETTLED)
        has_wish = any(record.release for record in (await world.load()).stops)
        async with open_listened(world):
            await trio.sleep(SETTLED)
            if world.inside.claimed():
                assert cancelled
                assert not has_wish
                assert await check_over_or_protected(world, history)
            else:
                loaded = await world.load()
                assert len(await world.live()) == (0 if cancel_stop else 1)
                assert ([record.state for record in loaded.stops], loaded.intents) == (["closed"], ())

    def protected() -> Any:
        return open_protected("no-fault", with_manager=False)

    assert await cancel_everywhere(protected, act, check) > 10
