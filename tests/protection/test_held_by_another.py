"""A key that an ending, closed or released position holds or has held, and the position that comes after it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D

import msgspec
import trio
import trio.testing
from test_store_that_failed import NEW, OLD, saved, store
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world

import trailing
from trailing.core.entries import Entry
from trailing.testing import At, Fault, ReplyLost, Unreachable

LATER = a_position(entry_price=D(101), quantity=D("1"), id="later")


async def test_a_released_record_of_a_later_time_of_day_keeps_no_position_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(NEW)
        await store(world, msgspec.structs.replace(saved(OLD, 30.0), state="closed"), saved(NEW, 20.0))
        async with open_listened(world):
            await trio.sleep(100)
            assert BTC in world.inside.listed()


async def test_the_clock_is_set_back_between_a_release_and_the_next_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        world.feed("100")
        for minute in (60, 10, 11):
            now = START + timedelta(minutes=minute)
            async with trailing.open_manager(world.exchange, world.store, world.plan, utc_start=now) as manager:
                if minute != 11:
                    position = a_position(opened_at=now - timedelta(minutes=1), id=f"at {minute}")
                    await world.enter(position)
                    await manager.protect_wave((position,), deadline=5.0)
                if minute == 60:
                    await manager.release(*BTC, cancel_stop=True)
                    world.paper.reduce(SYMBOL, "long", D("1.5"))
                    continue
                await trio.sleep(30)
                assert BTC in {*manager.stops(), *manager.unprotected()}


async def replace_behind_a_close(world: World, *, hides_positions: bool) -> None:
    """Protect a position, close it, lose the reply, and enter another one. `hides_positions`: their list can't be read then."""
    world.feed("100")
    await world.protect()
    faults: dict[At, Fault] = {At("close_position"): ReplyLost()}
    world.inject(faults | {At("positions"): Unreachable()} if hides_positions else faults)
    with world.updates_silenced():
        await world.running.close(*BTC, deadline=1.0)
        await world.enter(LATER)


async def withdraw_behind_a_close(world: World) -> None:
    """Let the position that was entered behind such a close wait for its key, and withdraw it."""
    await replace_behind_a_close(world, hides_positions=True)
    with trio.move_on_after(2.0):
        await world.running.protect_wave((LATER,), deadline=10.0)
    assert world.running.unprotected()[BTC].position == LATER
    world.inject({})


async def test_a_withdrawn_position_is_listed_while_the_close_of_the_one_before_has_an_unknown_outcome(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(request_validity=20.0) as world:
        await withdraw_behind_a_close(world)
        for _ in range(60):
            await trio.sleep(1)
            world.inside.reconcile_now()  # as another position would
            assert BTC in world.running.unprotected()


async def test_a_position_that_waits_behind_such_a_close_is_protected_afterwards(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(request_validity=20.0) as world:
        await replace_behind_a_close(world, hides_positions=True)
        await world.running.protect_wave((LATER,), deadline=2.0)
        world.inject({})
        for _ in range(60):
            await trio.sleep(1)
            world.inside.reconcile_now()
        assert world.claim().position == LATER


async def test_a_stop_of_a_position_being_closed_is_no_answer_to_a_wave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(request_validity=20.0) as world:
        await replace_behind_a_close(world, hides_positions=False)
        await world.running.protect_wave((LATER,), deadline=2.0)
        await trio.sleep(60)
        assert world.claim().position == LATER


async def test_a_position_that_is_withdrawn_behind_a_working_entry_stays_listed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.5) as world:
        world.feed("100")
        async with open_listened(world), trio.open_nursery() as callers:
            callers.start_soon(lambda: world.running.enter(Entry(*BTC, D("1.5"), D(95)), deadline=10.0))
            await trio.sleep(2)
            await world.enter(LATER)
            callers.start_soon(lambda: world.running.protect_wave((LATER,), deadline=10.0))
            await trio.sleep(1)
            world.inject({At("cancel_entry"): Unreachable()})
            callers.cancel_scope.cancel()  # the clean-up of the entry does not end in time
        world.inject({})
        async with open_listened(world):
            await trio.sleep(30)
            assert world.running.unprotected()[BTC].position == LATER
