"""Invariants 11, 12 and 13 are broken on purpose, by a bug in the library: each check finds its own."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import trio
from histories import History, broken_bounds
from simulation.planted import a_dropped_waiter, an_empty_list_believed, no_back_off
from worlds import BTC, START, a_position, open_world
from wrong_venues import during, empty, open_wrong_world

from trailing.testing import At, Fault, Hangs, Unreachable

D = Decimal

AGAIN = a_position(entry_price=D(101), opened_at=START + timedelta(minutes=1))
"""The position that is entered while the claim of the one before is ending."""


async def read_an_empty_list() -> History:
    """Let a position trail for a while with an empty list of positions, and then end. Returns what happened."""
    history = History()
    async with open_wrong_world(latency=0.1, record=history.note) as (world, venue):
        history.watch(world)
        await world.protect()
        venue.list_positions = during(20.0, empty)
        world.inside.reconcile_now()
        for price in ("105", "106"):
            world.feed(price)
            await trio.sleep(10)
        world.paper.reduce(*BTC, D("1.5"))
        await trio.sleep(80)
        assert await world.live() == ()
    return history


async def test_stops_are_cancelled_for_allowed_reasons_only(autojump_clock: trio.testing.MockClock) -> None:
    history = await read_an_empty_list()
    assert len(history.cancelled) == 3  # two moves, and the end
    history.check()


async def test_a_stop_that_is_cancelled_on_an_empty_list_breaks_11(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_empty_list_believed(monkeypatch)
    history = await read_an_empty_list()
    with pytest.raises(AssertionError, match="11. a live stop is cancelled only for an allowed reason"):
        history.check()


async def hand_in_behind_an_ending_claim() -> None:
    """Hand a position in whose key is taken, with a deadline that strikes before the key is free; then check."""
    faults: dict[At, Fault] = {At("cancel_stop", None, 1): Hangs()}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect()
        world.paper.reduce(*BTC, D("1.5"))
        while not world.calls("cancel_stop"):
            await trio.sleep(0.1)
        await world.enter(AGAIN)
        await world.running.protect(AGAIN, deadline=3.0)
        await trio.sleep(20)
        await world.check(AGAIN, handed_in=True)


async def test_a_position_behind_an_ending_claim_is_listed(autojump_clock: trio.testing.MockClock) -> None:
    await hand_in_behind_an_ending_claim()


async def test_a_position_that_is_dropped_while_it_waits_breaks_12(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_dropped_waiter(monkeypatch)
    with pytest.raises(AssertionError, match="12. .* was handed in, is open, and is in no list"):
        await hand_in_behind_an_ending_claim()


async def fail_to_cancel() -> list[str]:
    """Move a stop whose predecessor can't be cancelled for a minute. Returns what breaks 13."""
    async with open_world(latency=0.1, exchange_faults={At("cancel_stop"): Unreachable()}) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(60)
        return list(broken_bounds(world.exchange.calls))


async def test_a_cancellation_that_fails_is_repeated_within_bounds(autojump_clock: trio.testing.MockClock) -> None:
    assert await fail_to_cancel() == []


async def test_a_cancellation_that_is_repeated_without_a_pause_breaks_13(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_back_off(monkeypatch)
    broken = await fail_to_cancel()
    assert [one.partition(":")[0] for one in broken] == ["13. the same request is not sent again and again"]
