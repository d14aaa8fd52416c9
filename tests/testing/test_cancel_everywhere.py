"""cancel_everywhere strikes after every step, says where, and finds a leak at a single checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from trailing.testing import cancel_everywhere

CHECKPOINTS = 7


class Books:
    """Claims and live orders of a made-up exchange."""

    def __init__(self) -> None:
        self.passed = 0
        self.claims: set[str] = set()
        self.orders: set[str] = set()


@asynccontextmanager
async def books() -> AsyncIterator[Books]:
    await trio.lowlevel.checkpoint()
    yield Books()


async def no_check(_: Books, cancelled: bool) -> None:
    del cancelled


async def pass_checkpoints(world: Books) -> None:
    for _ in range(CHECKPOINTS):
        await trio.lowlevel.checkpoint()
        world.passed += 1


async def test_each_checkpoint_is_struck_once_and_the_scenario_runs_to_its_end_uncancelled_too() -> None:
    passed: dict[bool, list[int]] = {True: [], False: []}

    async def check(world: Books, cancelled: bool) -> None:
        passed[cancelled].append(world.passed)

    assert await cancel_everywhere(books, pass_checkpoints, check) == CHECKPOINTS
    # The cancellation strikes while the task is parked in the checkpoint, so that is the one that it does not pass.
    assert passed[True] == list(range(CHECKPOINTS))
    assert passed[False] == [CHECKPOINTS] * 4  # the first run, and the three that ended before their step


async def test_sleeps_are_struck_before_and_after_they_end_on_a_virtual_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ends: list[float] = []

    async def act(_: Books) -> None:
        started_at = trio.current_time()
        try:
            await trio.sleep(5)
            await trio.sleep(10)
        finally:
            ends.append(trio.current_time() - started_at)

    points = await cancel_everywhere(books, act, no_check)
    assert points == len(ends) - 4
    assert set(ends) == {0, 5, 15}


async def test_steps_of_tasks_outside_the_scenario_count_too(autojump_clock: trio.testing.MockClock) -> None:
    states: set[tuple[str, ...]] = set()

    async def answer(log: list[str], done: trio.Event) -> None:
        await trio.sleep(1)
        log.append("booked")
        await trio.sleep(1)
        log.append("answered")
        done.set()

    async def act(_: Books) -> None:
        log: list[str] = []
        done = trio.Event()
        services.start_soon(answer, log, done)
        try:
            await done.wait()
        finally:
            states.add(tuple(log))

    async with trio.open_nursery() as services:
        await cancel_everywhere(books, act, no_check)
    assert states == {(), ("booked",), ("booked", "answered")}


async def clean_up(world: Books) -> None:
    await trio.sleep(0.1)
    world.orders.discard("stop")
    world.claims.discard("BTC")


async def protect(world: Books, clean: Callable[[Books], Awaitable[None]]) -> None:
    world.claims.add("BTC")
    try:
        await trio.sleep(1)
        world.orders.add("stop")
        await trio.sleep(1)
    except BaseException:
        await clean(world)
        raise


async def nothing_leaked(world: Books, cancelled: bool) -> None:
    if cancelled and world.orders:
        raise AssertionError(f"nobody tracks {world.orders}")
    if cancelled and world.claims:
        raise AssertionError(f"nobody holds {world.claims}")


async def test_a_shielded_clean_up_passes(autojump_clock: trio.testing.MockClock) -> None:
    async def shielded(world: Books) -> None:
        with trio.move_on_after(5, shield=True):
            await clean_up(world)

    async def act(world: Books) -> None:
        await protect(world, shielded)
        world.orders.clear()
        world.claims.clear()

    assert await cancel_everywhere(books, act, nothing_leaked) == 2


async def test_an_unshielded_clean_up_is_found(autojump_clock: trio.testing.MockClock) -> None:
    async def act(world: Books) -> None:
        await protect(world, clean_up)

    with pytest.raises(AssertionError, match=r"nobody holds \{'BTC'\}"):
        await cancel_everywhere(books, act, nothing_leaked)


async def leak_at_the_third_of_five(world: Books) -> None:
    for number in range(1, 6):
        world.claims.add("BTC")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            if number != 3:
                world.claims.discard("BTC")
            raise
        world.claims.discard("BTC")


async def test_a_leak_at_exactly_one_checkpoint_is_found_and_the_note_says_which_and_where() -> None:
    with pytest.raises(AssertionError, match="nobody holds") as caught:
        await cancel_everywhere(books, leak_at_the_third_of_five, nothing_leaked)
    (note,) = caught.value.__notes__
    assert "cancelled after step 3 (replay it with only=3)" in note
    assert "in leak_at_the_third_of_five" in note
    assert __file__ in note
    assert "whose step it was" in note


@pytest.mark.parametrize("step", [1, 2, 4, 5])
async def test_one_step_alone_can_be_replayed(step: int) -> None:
    assert await cancel_everywhere(books, leak_at_the_third_of_five, nothing_leaked, only=step) == 1
    with pytest.raises(AssertionError, match="nobody holds"):
        await cancel_everywhere(books, leak_at_the_third_of_five, nothing_leaked, only=3)


async def test_the_tasks_of_the_scenario_are_named_where_they_stood(autojump_clock: trio.testing.MockClock) -> None:
    async def place(_: str) -> None:
        await trio.sleep(1)

    async def act(_: Books) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place, "BTC", name="place BTC")
            nursery.start_soon(place, "ETH", name="place ETH")

    async def check(_: Books, cancelled: bool) -> None:
        if cancelled and trio.current_time() - started_at >= 1:
            raise AssertionError("late")

    started_at = trio.current_time()
    with pytest.raises(AssertionError, match="late") as caught:
        await cancel_everywhere(books, act, check)
    (note,) = caught.value.__notes__
    assert "task place BTC in " in note or "task place ETH in " in note
    assert ".<locals>.place (" in note


async def test_an_act_may_swallow_its_cancellation() -> None:
    checked: list[tuple[int, bool]] = []

    async def act(world: Books) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            world.passed = -1

    async def check(world: Books, cancelled: bool) -> None:
        checked.append((world.passed, cancelled))

    assert await cancel_everywhere(books, act, check, only=1) == 1
    assert checked == [(-1, True)]


async def test_the_world_outlives_the_act_and_ends_after_the_check() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def world() -> AsyncIterator[None]:
        order.append("set up")
        try:
            yield
        finally:
            order.append("torn down")

    async def act(_: None) -> None:
        await trio.lowlevel.checkpoint()

    async def check(_: None, cancelled: bool) -> None:
        await trio.lowlevel.checkpoint()
        order.append(f"checked, cancelled {cancelled}")

    assert await cancel_everywhere(world, act, check, only=1) == 1
    assert order == ["set up", "checked, cancelled True", "torn down"]


async def test_a_run_that_hangs_fails_with_its_step(autojump_clock: trio.testing.MockClock) -> None:
    async def act(_: Books) -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            with trio.CancelScope(deadline=trio.current_time() + 1e6, shield=True):
                await trio.sleep_forever()
            raise

    with pytest.raises(trio.TooSlowError) as caught:
        await cancel_everywhere(books, act, no_check, seconds=60)
    assert "cancelled after step 1 " in caught.value.__notes__[0]


async def test_an_error_of_the_uncancelled_run_says_so() -> None:
    async def act(_: Books) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as caught:
        await cancel_everywhere(books, act, no_check)
    assert caught.value.__notes__ == ["in a run that was not cancelled"]


async def test_more_steps_than_the_limit_are_refused() -> None:
    with pytest.raises(AssertionError, match="more than 3 steps"):
        await cancel_everywhere(books, pass_checkpoints, no_check, limit=3)


async def test_no_instrument_is_left_behind() -> None:
    stepped: list[int] = []

    async def act(_: Books) -> None:
        await trio.lowlevel.checkpoint()

    async def check(world: Books, cancelled: bool) -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        stepped.append(world.passed)

    assert await cancel_everywhere(books, act, check) == 1
    assert len(stepped) == 5
