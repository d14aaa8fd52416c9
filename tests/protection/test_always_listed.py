"""Invariant 12 after every step of every task: each position that was handed in is among the stops or the unprotected."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from histories import always_listed
from inspection import Key
from worlds import BTC, PLAN, START, World, a_position, open_listened, open_world, some_positions
from wrong_venues import during, empty, open_wrong_world

from trailing import Exited, Position, Protected
from trailing.core.model import Side
from trailing.errors import StoreError
from trailing.testing import At, Fails, Fault, Hangs, Refuses, ReplyLost, Slow, Unreachable

D = Decimal

AGAIN = a_position(entry_price=D(101), opened_at=START + timedelta(minutes=1))
"""The position that is entered while the claim of the one before is ending."""

FAULTS: dict[str, Fault] = {
    "lost-reply": ReplyLost(),
    "refusal": Refuses(),
    "unreachable": Unreachable(),
    "hang": Hangs(booked=True),
    "hang-unbooked": Hangs(),
    "slow": Slow(6.0),
}


def keys(positions: Iterable[Position]) -> set[Key]:
    return {(position.symbol, position.side) for position in positions}


# A wave.


@pytest.mark.parametrize("side", ["long", "short"])
async def test_a_wave_in_which_each_position_has_another_fault(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    positions = tuple(a_position(f"COIN{number}/USDT:USDT", side) for number in range(len(FAULTS) + 2))
    faults: dict[At, Fault] = {
        At("place_stop", position.symbol, 1): fault for position, fault in zip(positions, FAULTS.values(), strict=False)
    }
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        with always_listed(world, *keys(positions)):
            await world.enter(*positions)
            await world.running.protect_wave(positions, deadline=4.0)
            await trio.sleep(40)
            assert world.running.stops().keys() == keys(positions)


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
@pytest.mark.parametrize("after", [0.2, 0.6, 1.4])
async def test_a_wave_that_is_cancelled_from_outside(
    after: float, policy: Any, autojump_clock: trio.testing.MockClock
) -> None:
    positions, plan = some_positions(4), msgspec.structs.replace(PLAN, on_wave_cancelled=policy)
    faults: dict[At, Fault] = {At("place_stop", positions[0].symbol, 1): ReplyLost()}
    async with open_world(plan=plan, latency=0.5, exchange_faults=faults) as world:
        with always_listed(world, *keys(positions)):
            await world.enter(*positions)
            with trio.move_on_after(after):
                await world.running.protect_wave(positions, deadline=20.0)
            await trio.sleep(30)
            assert world.inside.listed() == keys(positions)


async def test_a_position_that_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    plan = msgspec.structs.replace(PLAN, retry_for=10.0)
    async with open_world(plan=plan, latency=0.5, exchange_faults={At("place_stop"): Unreachable()}) as world:
        with always_listed(world, BTC):
            await world.enter(a_position())
            await world.running.protect(a_position(), deadline=4.0)
            await trio.sleep(60)
            assert world.running.unprotected()[BTC].state == "closed"


# Moves.

MOVES: dict[str, dict[str, Any]] = {
    "amend": {"can_amend": True},
    "place-cancel": {"two_stops": True},
    "cancel-place": {"two_stops": False},
    "native": {"plan": msgspec.structs.replace(PLAN, native=True)},
}


@pytest.mark.parametrize("fault", [None, *FAULTS])
@pytest.mark.parametrize("kind", MOVES)
async def test_a_stop_that_is_moved_and_resized(
    kind: str, fault: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    faults: dict[At, Fault] = {}
    if fault is not None:
        faults = {At("amend_stop", None, 1): FAULTS[fault], At("place_stop", None, 2): FAULTS[fault]}
        faults[At("cancel_stop", None, 1)] = FAULTS[fault]
    async with open_world(latency=0.5, exchange_faults=faults, **MOVES[kind]) as world:
        with always_listed(world, BTC):
            await world.protect()
            for price in ("103", "105"):
                world.feed(price)
                await trio.sleep(25)
            world.paper.reduce(*BTC, D("0.5"))
            await trio.sleep(30)
            stop = world.running.stops()[BTC]
            assert (stop.quantity, stop.price) == (D(1), D(98) if world.claim().native else D("103.95"))


async def test_a_stop_that_vanishes_or_is_not_listed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_wrong_world(latency=0.2) as (world, venue):
        with always_listed(world, BTC):
            (stop,) = await world.protect()
            venue.list_stops = during(5.0, empty)
            venue.list_positions = during(8.0, empty)
            world.inside.reconcile_now()
            await trio.sleep(20)
            world.paper.cancel_by_hand(stop.client_order_id)
            await trio.sleep(20)
            assert world.running.stops()[BTC] in await world.live()


# Ends.


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_a_close_by_the_bot(fault: str | None, autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {} if fault is None else {At("close_position", None, 1): FAULTS[fault]}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        with always_listed(world, BTC):
            await world.protect()
            assert isinstance(await world.running.close(*BTC, deadline=90.0), Exited)
            assert world.inside.listed() == set()


@pytest.mark.parametrize("fault", [None, *FAULTS])
@pytest.mark.parametrize("filled", ["0", "0.4"], ids=["not-filled", "filled-in-part"])
async def test_an_exit_by_software(filled: str, fault: str | None, autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {} if fault is None else {At("close_position", None, 1): FAULTS[fault]}
    async with open_world(latency=0.5, exchange_faults=faults, partial_fills=lambda *_: D(filled)) as world:
        with always_listed(world, BTC):
            await world.protect()
            world.feed("97")
            with trio.fail_after(120):
                await world.running.wait_closed()


async def test_a_stop_that_is_filled_in_parts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5, partial_fills=D("0.4")) as world:
        with always_listed(world, BTC):
            await world.protect()
            for price in ("97.9", "97.8", "97.7", "97.6"):
                world.feed(price)
                await trio.sleep(0.3)
            with trio.fail_after(120):
                await world.running.wait_closed()


async def test_a_stop_that_is_filled_when_a_person_has_just_added_to_its_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its fill is that of all that was known, and the rest is open without a stop."""
    async with open_world(latency=0.5) as world:
        with always_listed(world, BTC):
            await world.protect()
            with world.updates_silenced():
                await world.enter(a_position(quantity=D("0.5")))
            world.feed("97")
            await trio.sleep(0.1)
            assert world.inside.listed() == {BTC}
            await trio.sleep(60)
            assert await world.paper.positions() == ()


@pytest.mark.parametrize("cancel_stop", [True, False], ids=["with-its-stop", "keeping-its-stop"])
async def test_a_release_and_an_adoption_afterwards(cancel_stop: bool, autojump_clock: trio.testing.MockClock) -> None:
    faults: dict[At, Fault] = {At("cancel_stop", None, 1): ReplyLost(), At("place_stop", None, 2): ReplyLost()}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        with always_listed(world, BTC) as listing:
            await world.protect()
            listing.released.add(BTC)
            await world.running.release(*BTC, cancel_stop=cancel_stop)
            assert world.inside.listed() == set()
            listing.forget(BTC)
            assert isinstance(await world.running.adopt(*BTC, deadline=30.0), Protected)
            await trio.sleep(5)
            world.feed("105")
            await trio.sleep(20)
            assert world.running.stops()[BTC].price == D("103.95")


# One position behind another one.


@pytest.mark.parametrize("deadline", [2.0, 60.0])
@pytest.mark.parametrize("fault", [None, "hang", "lost-reply", "unreachable"])
async def test_a_position_that_is_entered_again_behind_an_ending_claim(
    fault: str | None, deadline: float, autojump_clock: trio.testing.MockClock
) -> None:
    faults: dict[At, Fault] = {} if fault is None else {At("cancel_stop", None, 1): FAULTS[fault]}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        with always_listed(world, BTC):
            await world.protect()
            world.paper.reduce(*BTC, D("1.5"))
            while not world.calls("cancel_stop"):
                await trio.sleep(0.1)
            await world.enter(AGAIN)
            await world.running.protect(AGAIN, deadline=deadline)
            await trio.sleep(60)
            assert world.running.stops().keys() == {BTC}
            assert world.claim().position == AGAIN


@pytest.mark.parametrize("policy", ["withdraw", "protect"])
async def test_a_position_behind_an_ending_claim_whose_caller_is_cancelled(
    policy: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(PLAN, on_wave_cancelled=policy)
    async with open_world(plan=plan, latency=0.5, exchange_faults={At("cancel_stop", None, 1): Hangs()}) as world:
        with always_listed(world, BTC):
            await world.protect()
            world.paper.reduce(*BTC, D("1.5"))
            while not world.calls("cancel_stop"):
                await trio.sleep(0.1)
            await world.enter(AGAIN)
            with trio.move_on_after(1.0):
                await world.running.protect(AGAIN, deadline=60.0)
            await trio.sleep(60)
            assert world.inside.listed() == {BTC}


async def test_another_position_that_a_person_opens_in_place_of_ours(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        with always_listed(world, BTC):
            (stop,) = await world.protect()
            with world.updates_silenced():
                world.paper.cancel_by_hand(stop.client_order_id)
                world.paper.reduce(*BTC, D("1.5"))
                await trio.sleep(0.1)
                await world.enter(AGAIN)
            await trio.sleep(90)
            assert world.running.unprotected()[BTC].position.entry_price == AGAIN.entry_price


# Restarts.


async def leave_some(world: World, positions: tuple[Position, ...]) -> None:
    """Have a process end that leaves a position as it is, one without its stop, one whose stop is filled, one reduced."""
    async with open_listened(world):
        await world.protect(*positions)
    by_symbol = {stop.symbol: stop for stop in await world.live()}
    _, lost, _, reduced = positions
    world.paper.cancel_by_hand(by_symbol[lost.symbol].client_order_id)
    world.feed("97", positions[2].symbol)
    world.paper.reduce(reduced.symbol, reduced.side, D("0.5"))


@pytest.mark.parametrize("down", ["nothing", "open_stops", "positions", "find_stop", "place_stop"])
async def test_a_restart(down: Any, autojump_clock: trio.testing.MockClock) -> None:
    positions, until = some_positions(4), 30.0
    async with open_world(with_manager=False, latency=0.5) as world:
        await leave_some(world, positions)
        until += trio.current_time()
        world.inject(lambda operation, *_: Unreachable() if operation == down and trio.current_time() < until else None)
        with always_listed(world, *keys(positions)):
            async with open_listened(world):
                assert world.inside.listed() >= keys(positions) - keys(positions[2:3])
                await trio.sleep(100)
                assert world.running.stops().keys() == keys(positions) - keys(positions[2:3])


async def test_a_store_that_fails(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(3)
    async with open_world(latency=0.5, store_faults={At("commit"): Fails(StoreError("the disk is full"))}) as world:
        with always_listed(world, *keys(positions)):
            await world.enter(*positions)
            await world.running.protect_wave(positions, deadline=5.0)
            world.feed("105", positions[0].symbol)
            await trio.sleep(20)
            assert world.running.stops().keys() == keys(positions)
