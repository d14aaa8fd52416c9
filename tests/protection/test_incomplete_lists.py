"""Failure mode 64: lists that stay incomplete because of another symbol hide nothing of this one for ever."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import trio
from worlds import BTC, SYMBOL, a_position
from wrong_venues import open_wrong_world

from trailing.exchanges.port import PartialList

JUNK = "JUNK/USDT:USDT"


def with_doubled_junk(true: Sequence[Any]) -> Sequence[Any]:
    return (*true, *(one for one in true if one.symbol == JUNK))


async def test_a_stop_that_vanished_unseen_is_missed_although_the_list_of_stops_stays_incomplete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        stop, _ = await world.protect(a_position(), a_position(JUNK))
        venue.list_stops = with_doubled_junk
        venue.push = lambda _: ()
        world.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(1800)
        stops, positions = world.paper.actual(SYMBOL)
        assert positions
        is_listed = BTC in world.running.unprotected()
        assert stops or is_listed, f"bare for 1800 s, and stops() shows {world.running.stops()[BTC]}"


async def test_a_position_whose_stop_was_filled_ends_although_the_list_of_positions_stays_incomplete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect(a_position(), a_position(JUNK))
        venue.list_positions = with_doubled_junk
        world.feed("97.5")  # its fill and its quantity of 0 are pushed
        assert Decimal(0) not in world.paper.actual(SYMBOL)[1].values()
        await trio.sleep(1800)
        assert world.inside.claim(*BTC) is None, "its key is still claimed, so that a re-entry would wait for ever"


async def test_a_position_that_a_person_closed_ends_although_the_list_of_positions_stays_incomplete(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect()
        venue.list_positions = lambda true: PartialList(true, ("an entry of another symbol",))
        world.paper.reduce(*BTC, Decimal("1.5"))
        await trio.sleep(600)
        assert world.inside.claimed() == set()
        assert not world.paper.actual(SYMBOL)[0]
