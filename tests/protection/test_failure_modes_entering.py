"""The failure mode of an entry that was sent by a process that died."""

from __future__ import annotations

from decimal import Decimal as D
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from inspection.paper import working_entries
from worlds import BTC, SYMBOL, World, open_listened, open_world

from trailing import Entry, Market, Percent, TrailPlan
from trailing.stores.port import Loaded
from trailing.testing.faults import Fault, Hangs

PLAN = TrailPlan(initial_stop=Percent(2), cleanup_seconds=2.0)
LATENCY = 1.0
ENTRY = Entry(SYMBOL, "long", D(2))
RESTING = Entry(SYMBOL, "long", D(2), limit=D(99))

ON_THE_WAY, FILLED, ACKNOWLEDGED, PROTECTED = 0.2, 0.7, 1.2, 3.0
"""Seconds after the entry was sent at which the process dies. It is booked after half of the latency."""


class Death:
    """A process that can die: from then on, none of its requests and commits is sent."""

    is_dead = False

    def __call__(self, *_: object) -> Fault | None:
        return Hangs() if self.is_dead else None


async def enter_and_die(world: World, death: Death, entry: Entry, after: float) -> None:
    """Enter, and die some seconds after the entry was sent."""
    async with open_listened(world) as manager, trio.open_nursery() as nursery:
        world.inject(death)
        nursery.start_soon(partial(manager.enter, entry, deadline=20.0))
        while not world.calls("place_entry"):
            await trio.sleep(0.01)
        await trio.sleep(after)
        death.is_dead = True
        nursery.cancel_scope.cancel()
    death.is_dead = False
    world.inject({})


@pytest.mark.parametrize("dies_after", [ON_THE_WAY, FILLED, ACKNOWLEDGED, PROTECTED])
@pytest.mark.parametrize("attached", [None, "own", "bridge"])
async def test_fm58_the_fill_of_a_dead_process_is_protected_by_its_plan_and_the_remainder_is_cancelled(
    attached: Any, dies_after: float, autojump_clock: trio.testing.MockClock
) -> None:
    death, market = Death(), Market(SYMBOL, price_tick=D("0.1"), quantity_step=D("0.1"), attached_stop=attached)
    async with open_world(
        plan=PLAN,
        latency=LATENCY,
        store_faults=death,
        with_manager=False,
        markets=(market,),
        partial_entries=D("0.5"),
        request_validity=5.0,
    ) as world:
        world.feed("100")
        await enter_and_die(world, death, ENTRY, dies_after)
        await trio.sleep(5)
        assert len(working_entries(world.paper, SYMBOL)) == 1
        async with open_listened(world) as manager:
            await trio.sleep(30)
            assert working_entries(world.paper, SYMBOL) == ()
            assert world.paper.actual(SYMBOL)[1] == {"long": D(1)}
            (stop,) = await world.live()
            assert (stop.quantity, stop.price) == (D(1), D(98))
            assert manager.stops() == {BTC: stop}
            assert manager.entries() == {}
            assert manager.unprotected() == {}
            assert (await world.load()).intents == ()


@pytest.mark.parametrize("dies_after", [ON_THE_WAY, FILLED, ACKNOWLEDGED])
async def test_fm58_a_resting_entry_of_a_dead_process_is_cancelled(
    dies_after: float, autojump_clock: trio.testing.MockClock
) -> None:
    death = Death()
    async with open_world(plan=PLAN, latency=LATENCY, store_faults=death, with_manager=False) as world:
        world.feed("100")
        await enter_and_die(world, death, RESTING, dies_after)
        await trio.sleep(5)
        assert len(working_entries(world.paper, SYMBOL)) == 1
        async with open_listened(world) as manager:
            await trio.sleep(30)
            assert working_entries(world.paper, SYMBOL) == ()
            assert manager.entries() == {}
            assert manager.unprotected() == {}
            assert await world.load() == Loaded((), ())
