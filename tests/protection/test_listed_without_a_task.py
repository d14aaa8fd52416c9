"""Open positions that the manager lists although no task works on them, or a stop that it does not cover."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
import wrong_venues
from worlds import BTC, SYMBOL, a_position, open_listened, open_world
from wrong_venues import WrongVenue, open_wrong_world

import trailing
from trailing import Entry, Market, NotEntered, Percent, Refused, TrailPlan
from trailing.core.entry_orders import EntryOrder
from trailing.events import OpeningFailed
from trailing.exchanges.port import EntryUpdate
from trailing.stores.port import SaveStop
from trailing.testing import At, ReplyLost

D = Decimal


@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_position_that_was_flipped_by_hand_is_listed(
    is_dead: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False) as world:
        async with open_listened(world):
            await world.protect()
            if not is_dead:
                world.paper.reduce(*BTC, D("1.5"))
                await world.enter(a_position(side="short"))
                await trio.sleep(200)
                assert (SYMBOL, "short") in world.running.unprotected()
        if is_dead:
            world.paper.reduce(*BTC, D("1.5"))
            await world.enter(a_position(side="short"))
            async with open_listened(world) as manager:
                await trio.sleep(200)
                assert (SYMBOL, "short") in manager.unprotected()


async def test_a_position_that_was_refused_before_it_was_claimed_is_listed_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        impossible = TrailPlan(initial_stop=D(150))  # more than the entry price
        async with open_listened(world) as manager:
            assert isinstance(await manager.protect(a_position(), deadline=5.0, plan=impossible), Refused)
            assert BTC in manager.unprotected()
            (failed,) = [event for event in world.events if isinstance(event, OpeningFailed)]
            assert failed.given_up
        async with open_listened(world) as manager:
            await trio.sleep(70)
            assert BTC in manager.unprotected()


async def test_a_position_whose_record_can_not_be_restored_is_listed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        async with open_listened(world):
            (stop,) = await world.protect()
        world.paper.cancel_by_hand(stop.client_order_id)
        (record,) = (await world.load()).stops
        with_unknown_rule = msgspec.structs.replace(record, plan=record.plan | {"rules": [{"type": "NotImported"}]})
        await world.memory.commit([SaveStop("paper", "default", with_unknown_rule)])
        async with open_listened(world) as manager:
            await trio.sleep(70)
            assert BTC in manager.unprotected()


class _HidesEntries(WrongVenue):
    """Look-ups show no entry for some seconds."""

    until = 0.0

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        entry = await super().find_entry(symbol, client_order_id)
        return None if trio.current_time() < self.until else entry


@pytest.mark.parametrize("pushes_position", [True, False])
async def test_an_entry_that_look_ups_do_not_show_is_not_believed_absent_while_its_position_is_listed(
    pushes_position: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(wrong_venues, "WrongVenue", _HidesEntries)
    async with open_wrong_world() as (world, venue):
        assert isinstance(venue, _HidesEntries)
        world.feed("100")
        await trio.sleep(1)
        venue.__init__(world.paper, {At("place_entry"): ReplyLost()})  # type: ignore[misc]
        venue.push = lambda update: () if isinstance(update, EntryUpdate) or not pushes_position else (update,)
        venue.until = trio.current_time() + 6.0
        outcome = await world.running.enter(Entry(SYMBOL, "long", D("1.5"), limit=D(100)), deadline=30.0)
        await trio.sleep(200)  # three snapshots list the position
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        assert stops or BTC in world.running.unprotected(), f"open, bare and unlisted; the outcome was: {outcome}"
        assert not isinstance(outcome, NotEntered)


class FailsAbove101(trailing.Rule, frozen=True):
    """A rule with a bug."""

    def propose(self, history: trailing.History) -> Decimal | None:
        if history.best > 101:
            raise RuntimeError("a bug")
        return None


async def test_what_a_person_adds_to_a_frozen_position_is_covered_or_listed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan: Any = TrailPlan(initial_stop=Percent(2), rules=(FailsAbove101(),))
    async with open_world(plan=plan, markets=[Market(SYMBOL, can_amend=True)]) as world:
        await world.protect()
        world.feed("102")  # its rule fails
        await trio.sleep(5)
        await world.enter(a_position())
        await trio.sleep(200)
        (stop,), positions = world.paper.actual(SYMBOL)
        assert stop.quantity == positions["long"] or BTC in world.running.unprotected()
