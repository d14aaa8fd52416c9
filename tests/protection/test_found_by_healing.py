"""Faults that simulated worlds that heal have found, each in the smallest world that shows it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D

import trio
import trio.testing
from inspection.paper import amend_by_hand
from test_store_that_failed import Outage
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world

from trailing import TimedOut
from trailing.core.entries import Entry
from trailing.testing import At, ReplyLost, Unreachable


async def replaced_by_an_untracked_one(world: World, price: str) -> None:
    """Protect a position, and let one that is not handed in take its place."""
    await world.protect(a_position(opened_at=a_position().opened_at.replace(microsecond=int(price))))
    with world.updates_silenced():
        world.paper.reduce(SYMBOL, "long", D("1.5"))
        for stop in await world.live():
            world.paper.cancel_by_hand(stop.client_order_id)
        await world.enter(a_position(quantity=D(1), entry_price=D(price)))
    world.inside.reconcile_now()
    await trio.sleep(30)
    world.inside.reconcile_now()
    await trio.sleep(30)
    assert world.running.unprotected()[BTC].state == "closed", "it is listed"


async def test_the_second_untracked_position_of_a_symbol_is_listed_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The store drops its record, because the record of the first one, with the same identity, is closed."""
    async with open_world(with_manager=False) as world:
        world.feed("100")
        async with open_listened(world):
            await replaced_by_an_untracked_one(world, "98")
            world.paper.reduce(SYMBOL, "long", D(1))
            await trio.sleep(150)
            await replaced_by_an_untracked_one(world, "97")
        async with open_listened(world):
            await trio.sleep(5)
            assert BTC in world.running.unprotected()


async def test_the_stop_of_a_position_whose_record_is_lost_is_not_cancelled_for_an_entry_that_was_not_filled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The record of an unfilled entry adopts the stop of a later position, and cancels it at its end."""
    outage = Outage()
    async with open_world(with_manager=False, store_faults=outage) as world:
        world.feed("100")
        async with open_listened(world):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: world.running.enter(Entry(*BTC, D("1.5"), D(95)), deadline=10.0))
                await trio.sleep(5)
                outage.is_on = True  # the end of the entry is not stored, and nothing of the position either
            (stop,) = await world.protect(a_position())
        outage.is_on = False
        async with open_listened(world):
            await trio.sleep(120)
            assert [one.client_order_id for one in await world.live()] == [stop.client_order_id]
            assert BTC in world.inside.listed() or "a stop of ours is live behind a position that is not protected" in (
                await world.stored_alarms()
            )


async def test_the_stop_of_a_position_whose_record_is_lost_is_not_cancelled_for_an_earlier_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The record of a position that has ended unsaved adopts the stop of the next one, and cancels it at its end."""
    outage = Outage()
    async with open_world(with_manager=False, store_faults=outage) as world:
        world.feed("100")
        async with open_listened(world):
            await world.protect(a_position())
            outage.is_on = True  # neither the end of this position nor the next one is stored
            world.feed("97")
            await trio.sleep(5)
            assert world.paper.actual(SYMBOL) == ((), {})
            at = START + timedelta(seconds=trio.current_time() - world.started)
            (stop,) = await world.protect(a_position(entry_price=D(97), opened_at=at))
        outage.is_on = False
        async with open_listened(world):
            await trio.sleep(120)
            assert [one.client_order_id for one in await world.live()] == [stop.client_order_id]


async def test_a_restored_position_that_was_dropped_from_the_queue_does_not_claim_the_key_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its record stays open and was saved last, so that it claims the key, and releases the position."""
    async with open_world(with_manager=False) as world:
        world.feed("100")
        async with open_listened(world):
            await world.protect()
            world.inject({At("positions"): Unreachable()})
            report = await world.running.protect_wave((a_position(id="the same again"),), deadline=5.0)
            assert isinstance(report.outcomes[0], TimedOut)
            await trio.sleep(5)
        world.inject({})
        async with open_listened(world):  # it waits again, and is dropped because the first one is protected
            await trio.sleep(120)
            assert not world.inside.supervision.registry.waiting()
            assert BTC in world.running.stops()
        async with open_listened(world):
            await trio.sleep(5)
            assert BTC in world.running.stops()


async def test_a_position_that_was_withdrawn_behind_an_ending_one_is_listed_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was given up while it waited for its key. After the restart the earlier one still ends, and it is in no list."""
    async with open_world(with_manager=False) as world:
        world.feed("100")
        async with open_listened(world):
            await world.protect()
            world.inject({At("cancel_stop"): Unreachable(), At("find_stop"): Unreachable()})
            world.paper.reduce(SYMBOL, "long", D("1.5"))
            await trio.sleep(10)
            world.feed("101")
            later = a_position(entry_price=D(101), id="later")
            await world.enter(later)
            with trio.move_on_after(2):
                await world.running.protect_wave((later,), deadline=10.0)  # it waits, and is withdrawn
            assert BTC in world.running.unprotected(), "it is listed"
            await trio.sleep(2)
        async with open_listened(world):
            await trio.sleep(2)
            world.inject({})
            await trio.sleep(120)
            assert BTC in world.inside.listed()


async def test_a_waiting_position_whose_opposite_is_open_is_not_listed_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In one-way mode the open long proves that the short is flat, and the waiting short stays in the list."""
    async with open_world() as world:
        world.feed("100")
        await world.protect()
        world.inject({At("positions"): Unreachable()})
        with world.updates_silenced():
            world.paper.reduce(SYMBOL, "long", D("1.5"))
            await world.enter(a_position(side="short", id="flipped"))
            report = await world.running.protect_wave((a_position(side="short", id="flipped"),), deadline=5.0)
            assert isinstance(report.outcomes[0], TimedOut)
            world.paper.reduce(SYMBOL, "short", D("1.5"))
            await world.enter(a_position())
        world.inject({})
        await trio.sleep(300)
        assert BTC in world.running.stops()
        assert (SYMBOL, "short") not in world.running.unprotected()


async def test_a_person_who_adds_while_a_triggered_stop_is_doubted_does_not_cost_the_live_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The doubted stop is the triggered one that was replaced. Its end counts more than the live stop in the list."""
    async with open_world(partial_fills=D("0.4")) as world:
        world.feed("100")
        (first,) = await world.protect()
        amend_by_hand(world.paper, first, D("99"))
        await trio.sleep(70)
        world.inject({At("find_stop"): ReplyLost(), At("close_position"): Unreachable()})
        with world.updates_silenced():
            world.feed("98.8")  # the stop triggers and is filled in part
            world.inside.reconcile_now()
            await trio.sleep(1)
            world.paper.cancel_by_hand(first.client_order_id)
            await trio.sleep(4)
            (second,) = await world.live()  # placed because the first one is not filled
            assert second.quantity == D("0.9")
            await world.enter(a_position(quantity=D("0.5"), entry_price=D("98.8")))
            await trio.sleep(4)
            world.inject({})
            await trio.sleep(120)
        assert "another position has taken the place of one that is protected" not in world.alarms()
        assert [stop.quantity for stop in await world.live()] == [D("1.4")]


async def test_a_position_that_was_withdrawn_behind_a_protected_one_is_listed_until_a_list_shows_that_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        world.feed("100")
        async with open_listened(world):
            await world.protect()
            world.inject({At("positions"): Unreachable()})
            with trio.move_on_after(2):
                await world.running.protect_wave((a_position(id="the same again"),), deadline=10.0)
            assert BTC in world.running.unprotected()
            world.inject({})
            await trio.sleep(150)
            assert BTC not in world.running.unprotected()
        async with open_listened(world):
            assert (BTC in world.running.stops(), BTC in world.running.unprotected()) == (True, False)
