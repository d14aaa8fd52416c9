"""The end of an entry's call: nothing of it is sent afterwards, and nothing is published twice."""

from __future__ import annotations

from decimal import Decimal as D
from functools import partial

import trio
import trio.testing
from worlds import BTC, SYMBOL, open_world

from trailing import Entry, NotEntered, Percent, TrailPlan
from trailing.events import EntryFilled
from trailing.testing.faults import At, Fault, ReplyLost, Throttles, Unreachable

PLAN = TrailPlan(initial_stop=Percent(2))


async def test_an_entry_that_may_be_sent_only_after_its_deadline_is_never_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(plan=PLAN, exchange_faults={At("place_entry", call=1): Throttles(10.0)}) as world:
        world.feed("100")
        outcome = await world.running.enter(Entry(SYMBOL, "long", D(1), limit=D(99)), deadline=3.0)
        assert isinstance(outcome, NotEntered)
        assert outcome.reason == "unreachable"
        assert world.running.entries() == {}
        await trio.sleep(60)
        assert world.calls("place_entry") == 1
        assert (await world.load()).intents == ()


async def test_a_fill_that_a_list_has_shown_first_is_published_once(autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("find_entry", call=number): Unreachable() for number in range(1, 7)}
    faults[At("place_entry")] = ReplyLost()
    async with open_world(plan=PLAN, exchange_faults=faults) as world, trio.open_nursery() as nursery:
        world.feed("100")
        world.silence_updates()
        nursery.start_soon(partial(world.running.enter, Entry(SYMBOL, "long", D(1)), deadline=60.0))
        await trio.sleep(2)
        world.claim().check()
        await trio.sleep(30)
        assert world.running.stops()[BTC].quantity == 1
        (filled,) = [event for event in world.events if isinstance(event, EntryFilled)]
        assert filled.quantity == 1
        assert filled.unfilled == 0
