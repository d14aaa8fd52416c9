"""Ways in which positions lost their protection: handed in while an earlier one was ending, and forgotten."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import trio
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world, some_positions

from trailing import Outcome, Pacing, Position, Protected, StoreError, TimedOut, TrailPlan
from trailing.testing import At, Fails, Fault, Hangs, Refuses, Slow, Throttles, Unreachable

D = Decimal

NEXT = a_position(entry_price=D(101), opened_at=START + timedelta(seconds=60))
"""The position that the bot opens while the one before is ending. Its first stop is at 98.98."""

ENDS_SLOWLY: dict[At, Fault] = {At("cancel_stop", SYMBOL, 1): Hangs()}
"""The cancellation of the ended position's stop gets no answer, so that its claim ends after `call_seconds`."""


def with_policy(on_wave_cancelled: str, **fields: Any) -> TrailPlan:
    """The plan of these tests with a policy for a cancelled wave."""
    return TrailPlan(
        initial_stop=PLAN.initial_stop, rules=PLAN.rules, **{"on_wave_cancelled": on_wave_cancelled} | fields
    )


async def let_the_first_one_end(world: World) -> None:
    """Protect a position, close it by hand, and return once the cancellation of its stop hangs; then enter the next."""
    await world.protect()
    world.paper.reduce(SYMBOL, "long", D("1.5"))
    with trio.fail_after(10):
        while not world.calls("cancel_stop"):
            await trio.sleep(0.1)
    await world.enter(NEXT)


async def assert_next_is_protected(world: World, *, within: float) -> None:
    """Assert that the next position gets a stop of its own, and that no other stop of its symbol is left."""
    with trio.move_on_after(within):
        while [stop.price for stop in await world.live() if stop.symbol == SYMBOL] != [D("98.98")]:
            await trio.sleep(0.5)
    assert [stop.price for stop in await world.live() if stop.symbol == SYMBOL] == [D("98.98")]
    assert world.running.stops()[BTC].price == D("98.98")
    assert BTC not in world.running.unprotected()
    assert (await world.record()).position == NEXT


# 42: a deadline struck while an earlier claim of the key was ending, and the position was forgotten.


async def test_fm42_a_position_whose_deadline_strikes_while_an_earlier_claim_ends_is_listed_and_then_protected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        outcome = await world.running.protect(NEXT, deadline=3.0)
        assert isinstance(outcome, TimedOut)
        assert world.running.unprotected()[BTC].position == NEXT
        await assert_next_is_protected(world, within=20)


async def test_fm42_a_position_that_waits_for_its_key_is_listed_while_its_caller_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        outcomes: list[object] = []

        async def protect() -> None:
            outcomes.append(await world.running.protect(NEXT, deadline=30.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(protect)
            await trio.sleep(1)
            assert world.running.unprotected()[BTC].position == NEXT
        assert isinstance(outcomes[0], Protected)
        await assert_next_is_protected(world, within=1)


async def test_fm42_a_position_that_waits_for_its_key_keeps_its_own_plan(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=30.0), retry_for=1000.0)
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        await world.running.protect(NEXT, deadline=3.0, plan=plan)
        await assert_next_is_protected(world, within=20)
        assert world.claim().plan == plan


async def test_fm42_a_position_that_waits_for_its_key_survives_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The manager ends before the key is free: the next one protects the position, as any that is stored."""
    async with open_world(with_manager=False, latency=0.1) as world:
        async with open_listened(world):
            world.inject({At("cancel_stop", SYMBOL): Hangs()})
            await let_the_first_one_end(world)
            await world.running.protect(NEXT, deadline=1.0)
            assert world.running.unprotected()[BTC].position == NEXT
        world.inject({})
        async with open_listened(world):
            assert BTC in world.inside.listed()
            await assert_next_is_protected(world, within=30)


async def test_fm42_a_wave_that_times_out_behind_ending_claims_loses_none_of_its_positions(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first = some_positions(10)
    again = [msgspec.structs.replace(one, entry_price=D(101), opened_at=NEXT.opened_at) for one in first]
    faults: dict[At, Fault] = {At("cancel_stop", one.symbol, 1): Hangs() for one in first[:5]}
    async with open_world(latency=0.1, exchange_faults=faults) as world:
        await world.protect(*first)
        for one in first:
            world.paper.reduce(one.symbol, "long", D("1.5"))
        await trio.sleep(3)
        await world.enter(*again)
        report = await world.running.protect_wave(again, deadline=3.0)
        keys = {(one.symbol, one.side) for one in again}
        assert [type(outcome) for outcome in report.outcomes] == [TimedOut] * 5 + [Protected] * 5
        assert keys <= world.inside.listed()
        assert len(world.running.unprotected()) == 5
        await trio.sleep(20)
        assert world.running.stops().keys() == keys
        await world.check(*again)


async def test_fm42_a_cancelled_wave_leaves_a_waiting_position_listed_and_then_protected_by_its_policy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = with_policy("protect")
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        with trio.move_on_after(1):
            await world.running.protect(NEXT, deadline=30.0, plan=plan)
        assert world.running.unprotected()[BTC].position == NEXT
        await assert_next_is_protected(world, within=20)


async def test_fm42_a_cancelled_wave_leaves_a_waiting_position_listed_by_default_and_places_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that ``"withdraw"`` does to a waiting position what it does to one being opened: listed, without a task."""
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        with trio.move_on_after(1):
            await world.running.protect(NEXT, deadline=30.0)
        for _ in range(6):
            assert world.running.unprotected()[BTC].position == NEXT
            await trio.sleep(10)
        assert await world.live() == ()
        assert isinstance(await world.running.protect(NEXT, deadline=5.0), Protected)
        assert world.running.unprotected() == {}


async def test_fm42_a_position_that_is_closed_while_it_waits_for_its_key_gets_no_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        await let_the_first_one_end(world)
        await world.running.protect(NEXT, deadline=1.0)
        assert world.running.unprotected()[BTC].position == NEXT
        world.paper.reduce(SYMBOL, "long", D("1.5"))
        await trio.sleep(90)
        assert await world.live() == ()
        assert world.inside.listed() == set()


async def test_fm42_a_position_that_is_gone_when_it_gets_its_key_is_not_closed_before_a_snapshot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        async with open_listened(world):
            world.inject({At("cancel_stop", SYMBOL): Hangs()})
            await let_the_first_one_end(world)
            await world.running.protect(NEXT, deadline=1.0)
        world.paper.reduce(SYMBOL, "long", D("1.5"))
        hangs: dict[At, Fault] = {At("cancel_stop", SYMBOL, 1): Hangs(), At("cancel_stop", SYMBOL, 2): Hangs()}
        world.inject(hangs | {At("place_stop", SYMBOL): Throttles(60.0)})
        async with open_listened(world):
            with trio.fail_after(60):
                while not world.calls("place_stop"):
                    await trio.sleep(0.5)
            world.feed("97")  # beyond its first stop
            await trio.sleep(10)
            assert not world.calls("close_position")


LAST = a_position(entry_price=D(102), opened_at=START + timedelta(seconds=120))
"""The position that the bot opens while two earlier ones hold or wait for its key. Its first stop is at 99.96."""


async def let_two_wait(world: World, callers: trio.Nursery, *, patience: float) -> list[Outcome]:
    """Let `NEXT` and then `LAST`, which takes its place on the exchange, wait for a key whose claim is ending.

    Args:
        patience: seconds after which the caller of `NEXT` is cancelled.

    Returns:
        A list that gets the outcome of `LAST`.
    """
    outcomes: list[Outcome] = []
    await let_the_first_one_end(world)

    async def protect_next() -> None:
        with trio.move_on_after(patience):
            await world.running.protect(NEXT, deadline=60.0)

    async def protect_last() -> None:
        outcomes.append(await world.running.protect(LAST, deadline=60.0))

    callers.start_soon(protect_next)
    await trio.sleep(0.5)
    world.paper.reduce(SYMBOL, "long", D("1.5"))
    await world.enter(LAST)
    callers.start_soon(protect_last)
    await trio.sleep(0.5)
    return outcomes


async def test_fm42_a_position_keeps_its_turn_for_a_key_when_the_one_before_it_waits_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        async with trio.open_nursery() as callers:
            outcomes = await let_two_wait(world, callers, patience=1.0)
            await trio.sleep(1)  # the caller of the first one is gone, and no claim has ended yet
            assert world.running.unprotected()[BTC].position == LAST
        (outcome,) = outcomes
        assert isinstance(outcome, Protected)
        await trio.sleep(90)
        assert [stop.price for stop in await world.live()] == [D("99.96")]
        assert world.running.stops() == {BTC: outcome.stop}
        assert world.running.unprotected() == {}
        assert (await world.record()).position == LAST


async def test_fm42_a_position_that_waits_behind_two_claims_gets_its_own_stop_once_it_is_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, exchange_faults=ENDS_SLOWLY) as world:
        async with trio.open_nursery() as callers:
            outcomes = await let_two_wait(world, callers, patience=60.0)
        (outcome,) = outcomes
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == D("99.96")
        await trio.sleep(90)
        assert await world.live() == (outcome.stop,)
        assert world.running.stops() == {BTC: outcome.stop}
        assert world.running.unprotected() == {}


async def test_no_exit_hits_a_position_that_was_handed_in_behind_one_whose_end_went_unseen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(cancel_on_flat=True) as world:
        await world.protect()
        world.inject({At("positions"): Unreachable()})
        with world.updates_silenced():
            world.paper.reduce(SYMBOL, "long", D("1.5"))
            await world.enter(NEXT)
        await world.running.protect(NEXT, deadline=1.0)
        world.feed("97.9")  # beyond the stop of the first one, which is gone
        await trio.sleep(60)
        assert world.calls("close_position") == 0
        world.feed("101")
        world.inject({})
        await trio.sleep(60)
        assert (world.claim().position, set(world.running.stops())) == (NEXT, {BTC})


# 56: what is listed as replaced, or given up, was forgotten at a restart.


async def replace_by_another(world: World) -> Position:
    """Let another position take the place of the protected one unseen. Returns what it was entered as."""
    other = a_position(entry_price=D(101), quantity=D(2))
    world.inside.reconcile_now()
    await trio.sleep(2)
    with world.updates_silenced():
        world.paper.reduce(SYMBOL, "long", D("1.5"))
        await world.enter(other)
    world.inside.reconcile_now()
    await trio.sleep(5)
    return other


async def test_fm56_another_position_that_stands_in_the_place_of_ours_is_listed_after_every_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, cancel_on_flat=True) as world:
        async with open_listened(world):
            await world.protect()
            other = await replace_by_another(world)
            before = world.running.unprotected()[BTC]
            assert before.position.quantity == other.quantity
        for _ in range(2):
            async with open_listened(world):
                after = world.running.unprotected()[BTC]
                assert (after.position.quantity, after.position.entry_price) == (other.quantity, other.entry_price)
                await trio.sleep(120)
                assert set(world.running.unprotected()) == {BTC}
                assert await world.live() == ()
        async with open_listened(world):
            assert isinstance(await world.running.adopt(*BTC, deadline=5.0), Protected)
            assert world.running.unprotected() == {}
        async with open_listened(world):
            assert world.running.unprotected() == {}


async def test_fm56_another_position_in_the_place_of_ours_is_listed_while_an_order_of_ours_can_not_be_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("cancel_stop"): Unreachable()}) as world:
        await world.protect()
        world.inside.reconcile_now()
        world.feed("103")  # the stop is moved, and the one before can't be cancelled
        await trio.sleep(2)
        before, counts = sorted(await world.live(), key=lambda stop: stop.price)
        other = a_position(entry_price=D(101), quantity=D(1))
        with world.updates_silenced():
            world.paper.cancel_by_hand(counts.client_order_id)
            world.paper.reduce(SYMBOL, "long", D("1.5"))
            await world.enter(other)
        world.inside.reconcile_now()
        await trio.sleep(10)
        assert await world.live() == (before,)
        assert world.running.unprotected()[BTC].position.entry_price == other.entry_price


async def test_fm56_a_position_that_was_cancelled_while_it_waited_for_its_key_is_listed_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        async with open_listened(world):
            world.inject(ENDS_SLOWLY)
            await let_the_first_one_end(world)
            with trio.move_on_after(1):
                await world.running.protect(NEXT, deadline=30.0)
            await trio.sleep(30)
        async with open_listened(world):
            assert world.running.unprotected()[BTC].position == NEXT


async def test_fm56_a_position_that_was_given_up_is_listed_after_every_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="report")
    async with open_world(with_manager=False, plan=plan) as world:
        async with open_listened(world):
            world.inject({At("place_stop"): Refuses()})
            await world.enter(a_position())
            await world.running.protect(a_position(), deadline=2.0)
            await trio.sleep(5)
            assert world.running.unprotected()[BTC].state == "closed"
        for _ in range(3):
            async with open_listened(world):
                assert world.running.unprotected()[BTC].position == a_position()


async def test_fm56_a_position_that_was_given_up_and_then_closed_while_it_was_opened_again_is_listed_no_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="report")
    faults: dict[At, Fault] = {At("place_stop", None, 1): Refuses(), At("place_stop", None, 2): Slow(3.0)}
    async with open_world(plan=plan, exchange_faults=faults) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
        await trio.sleep(5)
        assert set(world.running.unprotected()) == {BTC}
        async with trio.open_nursery() as callers:
            callers.start_soon(lambda: world.running.protect(a_position(), deadline=60.0))
            await trio.sleep(1)
            world.paper.reduce(*BTC, D("1.5"))
        await trio.sleep(5)
        assert await world.live() == ()
        assert world.running.unprotected() == {}
        assert (await world.load()).stops == ()


async def test_fm56_a_record_of_a_position_without_a_stop_that_the_store_does_not_take_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected="report")
    full: list[bool] = []
    async with open_world(
        plan=plan,
        exchange_faults={At("place_stop", None, 1): Refuses()},
        store_faults=lambda operation, *_: Fails(StoreError("full")) if full and operation == "commit" else None,
    ) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
        await trio.sleep(5)
        full.append(True)
        await world.running.release(*BTC, cancel_stop=False)
        await trio.sleep(5)
        full.clear()
        assert world.alarms() == ["the store does not hold what became of a position without a stop"]
        assert (await world.record()).is_abandoned  # so that it is listed again after a restart
