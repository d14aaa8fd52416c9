"""What is listed and stored of positions without a task, where the manager's own plan does not fit, and the store fails."""

from __future__ import annotations

from decimal import Decimal

import pytest
import trio
from worlds import BTC, PLAN, SYMBOL, a_position, open_listened, open_world

from trailing import Entry, NotEntered, Percent, Protected, Refused, TrailPlan
from trailing.core.model import Market, Side
from trailing.errors import StoreError
from trailing.testing import At, Fails, Unreachable

D = Decimal
ETH = "ETH/USDT:USDT"
TOO_FAR = TrailPlan(initial_stop=D(150))
"""No stop of it lies above 0 behind an entry at 100."""


@pytest.mark.parametrize("is_flipped", [False, True])
async def test_a_position_that_takes_the_place_is_listed_although_the_managers_plan_does_not_fit_it(
    is_flipped: bool, autojump_clock: trio.testing.MockClock
) -> None:
    side: Side = "short" if is_flipped else "long"
    async with open_world(plan=TOO_FAR, cancel_on_flat=True) as world:
        await world.protect(plan=PLAN)
        await trio.sleep(70)
        with world.updates_silenced():
            world.paper.reduce(*BTC, D("1.5"))
            world.feed("100" if is_flipped else "120")
            await world.enter(a_position(entry_price=D(100 if is_flipped else 120), quantity=D(2), side=side))
        await trio.sleep(300)
        assert (SYMBOL, side) in world.running.unprotected()
        assert world.inside.claimed() == set()


async def test_a_refused_position_is_protected_with_a_plan_that_works(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=TOO_FAR) as world:
        await world.enter(a_position())
        for name in ("one", "two"):
            assert isinstance(await world.running.protect(a_position(id=name), deadline=5.0), Refused)
        outcome = await world.running.protect(a_position(id="three"), deadline=5.0, plan=PLAN)
        assert isinstance(outcome, Protected)
        assert world.paper.actual(SYMBOL)[0]
        assert world.running.unprotected() == {}


async def test_a_wave_with_a_position_that_was_refused_before_returns_every_outcome(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=TOO_FAR) as world:
        other = a_position(ETH, entry_price=D(1000))
        await world.enter(a_position(), other)
        world.feed("1000", ETH)
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        report = await world.running.protect_wave((a_position(id="again"), other), deadline=5.0)
        assert [type(outcome) for outcome in report.outcomes] == [Refused, Protected]


async def test_a_refused_position_can_be_released(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(plan=TOO_FAR) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        await world.running.release(*BTC, cancel_stop=False)
        assert world.running.unprotected() == {}


async def test_a_refused_position_that_no_record_can_hold_is_listed_and_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    markets = [Market(SYMBOL, price_tick=D(1000))]  # no price below the entry is a multiple of it
    async with open_world(plan=TrailPlan(initial_stop=Percent(2)), markets=markets) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        assert BTC in world.running.unprotected()
        assert "it will not be listed after a restart" in world.alarms()


@pytest.mark.parametrize("how", ["refused", "given up"])
async def test_what_is_listed_survives_a_restart_although_the_store_failed_for_a_moment(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    down_until = 0.0
    async with open_world(with_manager=False) as world:
        failure = Fails(StoreError("down"))
        world.store.__init__(  # type: ignore[misc]
            world.memory,
            lambda called, *_: failure if called == "commit" and trio.current_time() < down_until else None,
        )
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await trio.sleep(1)
            down_until = trio.current_time() + 3
            if how == "refused":
                await manager.protect(a_position(), deadline=5.0, plan=TOO_FAR)
            else:
                world.inject({At("place_stop"): Unreachable()})
                with trio.move_on_after(1):
                    await manager.protect(a_position(), deadline=5.0)
                world.inject({})
            await trio.sleep(600)
            assert BTC in manager.unprotected()
        async with open_listened(world) as manager:
            await trio.sleep(100)
            assert BTC in manager.unprotected()


async def test_a_symbol_whose_position_was_given_up_is_entered_only_after_its_release(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        world.inject({At("place_stop"): Unreachable()})
        with trio.move_on_after(1):
            await world.running.protect(a_position(), deadline=5.0)
        world.inject({})
        world.paper.reduce(*BTC, D("1.5"))  # by hand, so that no list shows it
        await world.inside.read_account()
        entry = Entry(SYMBOL, "long", D(1), limit=D(101))
        outcome = await world.running.enter(entry, deadline=5.0)
        assert isinstance(outcome, NotEntered)
        words = "BTC/USDT:USDT: its long position was given up; adopt it, or release it if it is closed"
        assert (outcome.reason, str(outcome.error)) == ("claimed", words)
        assert BTC in world.running.unprotected()
        await world.running.release(*BTC, cancel_stop=False)
        assert isinstance(await world.running.enter(entry, deadline=5.0), Protected)
