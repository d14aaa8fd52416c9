"""Failure mode 55: the errors that `open_manager` documents come out as documented, whichever task raised them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from worlds import World, open_listened, open_world, refuse_credentials, some_positions

from trailing import AuthenticationFailed
from trailing.testing import FaultyExchange

REFUSED = AuthenticationFailed("the key was withdrawn")
POSITIONS = some_positions(3)


async def move_all(world: World) -> None:
    """Have every position's task send something."""
    await world.protect(*POSITIONS)
    for position in POSITIONS:
        world.feed("105", position.symbol)
    await trio.sleep(60)


async def reconnect(world: World) -> None:
    """Have the stream read what it missed."""
    await world.protect(*POSITIONS)
    world.paper.disconnect()
    await trio.sleep(10)
    world.paper.reconnect()
    await trio.sleep(60)


async def wait_for_a_reconciliation(world: World) -> None:
    await world.protect(*POSITIONS)
    await trio.sleep(200)


@pytest.mark.parametrize(
    ("operation", "first", "use"),
    [
        pytest.param("place_stop", 4, move_all, id="several position tasks at once"),
        pytest.param("set_subscriptions", 1, move_all, id="the stream"),
        pytest.param("open_stops", 2, wait_for_a_reconciliation, id="the reconciliation"),
        pytest.param("candles", 1, reconnect, id="position tasks that read candles"),
    ],
)
async def test_fm55_refused_credentials_come_out_of_open_manager_as_themselves(
    operation: str, first: int, use: Callable[[World], object], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=0.1, with_manager=False) as world:
        world.exchange = FaultyExchange(world.paper, refuse_credentials(operation, REFUSED, first=first))
        with pytest.raises(AuthenticationFailed, match="^the key was withdrawn$"):
            async with open_listened(world):
                await use(world)  # type: ignore[misc]
                pytest.fail("it went on")


async def test_fm55_credentials_that_are_refused_to_a_look_up_while_it_opens_come_out_as_themselves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.1, with_manager=False) as world:
        await world.protect_and_end(*POSITIONS)
        for stop in await world.live():
            world.paper.cancel_by_hand(stop.client_order_id)
        world.exchange = FaultyExchange(world.paper, refuse_credentials("find_stop", REFUSED))
        with pytest.raises(AuthenticationFailed, match="^the key was withdrawn$"):
            async with open_listened(world):
                pytest.fail("it opened")


async def test_fm55_an_error_of_the_block_stands_beside_refused_credentials(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        world.exchange = FaultyExchange(world.paper, refuse_credentials("set_subscriptions", REFUSED))
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_listened(world):
                try:
                    await world.protect()
                finally:
                    raise ZeroDivisionError
        assert caught.group_contains(AuthenticationFailed)
        assert caught.group_contains(ZeroDivisionError)


async def test_fm55_a_group_that_the_block_raised_stays_a_group(autojump_clock: trio.testing.MockClock) -> None:
    raised = ExceptionGroup("of the user's own tasks", [REFUSED])
    async with open_world(with_manager=False) as world:
        with pytest.raises(ExceptionGroup) as caught:
            async with open_listened(world):
                raise raised
        assert caught.value is raised


async def test_fm55_refused_credentials_pass_while_the_program_is_being_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        world.exchange = FaultyExchange(world.paper, refuse_credentials("place_stop", REFUSED, first=2))
        with pytest.raises(AuthenticationFailed), trio.CancelScope() as scope:
            async with open_listened(world):
                await world.protect()
                world.feed("105")
                await trio.sleep(0.5)
                scope.cancel()
                await trio.sleep_forever()
