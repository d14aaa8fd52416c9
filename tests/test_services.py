"""Services outlive the blocks that use them, and errors come out as what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trailing.services import open_service_nursery
from trailing.testing import cancel_everywhere


async def note_its_end(events: list[str], name: str) -> None:
    try:
        await trio.sleep_forever()
    finally:
        events.append(f"{name} ends")


async def fail(error: Exception) -> None:
    await trio.sleep(1)
    raise error


async def fail_when_cancelled(error: Exception) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def test_services_end_after_a_block_that_was_cancelled_from_outside(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events: list[str] = []
    with trio.move_on_after(1) as scope:
        async with open_service_nursery() as outer, open_service_nursery() as inner:
            outer.start_soon(note_its_end, events, "the outer service")
            inner.start_soon(note_its_end, events, "the inner service")
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(1, shield=True):
                    await trio.sleep(0.5)
                events.append("the block ends")
    assert scope.cancelled_caught
    assert events == ["the block ends", "the inner service ends", "the outer service ends"]
    assert trio.current_time() == 1.5


async def test_an_error_of_the_block_comes_out_as_itself_through_every_door(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(KeyError):
        async with open_service_nursery(), open_service_nursery() as services:
            services.start_soon(trio.sleep_forever)
            raise KeyError("the block's")


async def test_a_service_that_fails_cancels_the_block_and_is_raised_in_a_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events: list[str] = []
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with open_service_nursery() as services:
            services.start_soon(fail, ValueError("the service's"))
            await note_its_end(events, "the block")
    assert events == ["the block ends"]


async def test_an_error_of_the_block_stands_beside_that_of_a_service_that_fails_at_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def fails_when_it_is_ended() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("the service's")

    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        async with open_service_nursery() as services:
            services.start_soon(fails_when_it_is_ended)
            await trio.sleep(1)
            raise KeyError("the block's")


async def test_a_block_that_fails_over_the_failure_of_its_service_hides_neither(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        async with open_service_nursery() as services:
            services.start_soon(fail, ValueError("the service's"))
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                raise KeyError("the block's") from None


async def test_cancelled_anywhere_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    @asynccontextmanager
    async def world() -> AsyncIterator[list[str]]:
        yield []

    async def act(events: list[str]) -> None:
        async with open_service_nursery() as services:
            services.start_soon(note_its_end, events, "the service")
            await trio.sleep(1)
            events.append("the block ends")

    async def check(events: list[str], _cancelled: bool) -> None:
        assert events in ([], ["the service ends"], ["the block ends", "the service ends"])

    assert await cancel_everywhere(world, act, check, seconds=10) > 3


@pytest.mark.parametrize("kinds", [(LookupError, ValueError), (ValueError, LookupError)])
async def test_errors_of_documented_kinds_come_out_as_one_of_the_first_kind(
    kinds: tuple[type[Exception], ...], autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(kinds[0]) as caught:
        async with open_service_nursery() as outer, open_service_nursery(*kinds) as services:
            outer.start_soon(trio.sleep_forever)
            services.start_soon(fail, ValueError("a"))
            for error in (KeyError("b"), ValueError("c")):
                services.start_soon(fail_when_cancelled, error)
            await trio.sleep_forever()
    assert type(caught.value) in {KeyError, ValueError}
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert caught.value.__cause__.split((KeyError, ValueError))[1] is None


async def test_an_error_of_another_kind_beside_a_documented_one_keeps_the_group(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.RaisesGroup(ValueError, KeyError, flatten_subgroups=True):
        async with open_service_nursery(ValueError) as services:
            services.start_soon(fail, ValueError("documented"))
            services.start_soon(fail_when_cancelled, KeyError("a bug"))
            await trio.sleep_forever()
