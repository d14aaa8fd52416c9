"""One sick symbol delays no other symbol: fifty symbols within a rate limit, one of which can't cancel for two minutes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal

import pytest
import trio
from inspection.paper import cancel_in_vain
from worlds import World, slow_but, some_positions
from wrong_venues import alarmed_at, open_wrong_world, requests

from trailing import StopOrder
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected, TrailingError
from trailing.exchanges.paper import PaperExchange, RateLimit
from trailing.testing import At, Fault, ReplyLost, Unreachable

D = Decimal

POSITIONS = some_positions(50)
SICK = POSITIONS[0].symbol
LIMIT = RateLimit(capacity=5, per_second=22)
"""The moves of fifty symbols need 20 requests a second: each is a placing and a cancellation."""

PRICES = tuple(D(105) + D(step) / 2 for step in range(24))
SECONDS_BETWEEN = 0.1
"""Between the prices of two symbols: each symbol has a new one every five seconds, for two minutes."""

Placed = dict[tuple[str, Decimal], float]
"""When the exchange placed each stop, by symbol and price, in seconds."""

Cancel = Callable[[PaperExchange, StopOrder], Awaitable[None]]


async def unavailable(paper: PaperExchange, order: StopOrder) -> None:
    """The cancellation is answered 503: it was not executed."""
    await cancel_in_vain(paper, order, ExchangeUnreachable("503"))


async def unknown(paper: PaperExchange, order: StopOrder) -> None:
    """The cancellation is answered with a body that says nothing: it may have been executed."""
    await cancel_in_vain(paper, order, OutcomeUnknown("-1007"))


async def gone(paper: PaperExchange, order: StopOrder) -> None:
    """The cancellation is answered that there is no such order, while the look-up still shows it."""
    await cancel_in_vain(paper, order, StopRejected("-2011: no such order"))


async def silent(paper: PaperExchange, order: StopOrder) -> None:
    """The cancellation uses its turn, and is never answered."""
    with suppress(TrailingError):
        await cancel_in_vain(paper, order, TrailingError("not returned"))
    await trio.sleep_forever()


SICKNESSES: dict[str, Cancel] = {
    "503": unavailable,
    "-1007": unknown,
    "gone-yet-listed": gone,
    "silent": silent,
}


async def follow_prices(world: World) -> None:
    """Raise the prices of all symbols, one after the other, for two minutes; then let the last requests be sent."""
    for price in PRICES:
        for position in POSITIONS:
            world.feed(str(price), position.symbol)
            await trio.sleep(SECONDS_BETWEEN)
    await trio.sleep(10)


async def trail(cancel: Cancel | None) -> tuple[Placed, int, list[float]]:
    """Let fifty stops follow rising prices for two minutes, with one symbol sick.

    Returns:
        When the exchange placed each stop of each symbol, by symbol and price, in seconds from the first round on; how
        many requests of the sick symbol were sent from then on; and when its alarms were raised, likewise.
    """
    attempts = 0
    async with open_wrong_world(latency=0.1, rate_limit=LIMIT, record=True) as (world, venue):
        await world.protect(*POSITIONS, deadline=30.0, settle=30.0)

        async def struck(order: StopOrder) -> None:
            nonlocal attempts
            if order.symbol == SICK and cancel is not None:
                attempts += 1
                await cancel(world.paper, order)

        venue.cancel = struck
        since = trio.current_time()
        await follow_prices(world)
        placed = placing_times(world, since)
        # A request for the sick symbol that failed was not counted by the venue itself.
        sent = attempts + requests(world, symbol=SICK, since=since)
        alarmed = [at - since for at in alarmed_at(world, SICK)]
        assert 1 <= len(world.paper.actual(SICK)[0]) <= 2
        return placed, sent, alarmed


def placing_times(world: World, since: float) -> Placed:
    """When the exchange booked each stop, by symbol and price, in seconds after a time."""
    return {
        (booking.result.symbol, booking.result.price): booking.at - since
        for booking in world.paper.log
        if booking.operation == "place_stop" and isinstance(booking.result, StopOrder) and booking.at >= since
    }


def latest(placed: Placed, healthy: Placed) -> float:
    """How much later the other symbols' stops were placed than in a healthy run, at most, in seconds."""
    late = {key: placed[key] - at for key, at in healthy.items() if key[0] != SICK and key in placed}
    assert len(late) == (len(POSITIONS) - 1) * len(PRICES), "some symbols did not move"
    return max(late.values())


@pytest.fixture(scope="module")
def healthy() -> Placed:
    """When each stop is placed where no symbol is sick."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    placed, _, _ = trio.run(trail, None, clock=clock)
    return placed


@pytest.mark.parametrize("name", slow_but("silent", SICKNESSES))  # it holds its request for longest
async def test_a_symbol_that_can_not_cancel_delays_no_other_symbols_moves(
    name: str, healthy: Placed, autojump_clock: trio.testing.MockClock
) -> None:
    """Compared with the same run without the sickness. The sick symbol's own moves may rest meanwhile."""
    placed, sent, alarmed = await trail(SICKNESSES[name])
    assert latest(placed, healthy) <= 0.5
    assert sent <= 60
    told_by = 60 if name == "silent" else 15  # a request that is never answered is known as such after `call_seconds`
    assert [at for at in alarmed if at <= told_by]


@pytest.mark.slow
async def test_two_healthy_runs_are_alike(healthy: Placed, autojump_clock: trio.testing.MockClock) -> None:
    placed, _, _ = await trail(None)
    assert latest(placed, healthy) <= 0.1


@pytest.mark.parametrize("name", SICKNESSES)
async def test_a_symbol_that_could_not_cancel_follows_its_price_again_once_it_can(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that the back-off of a cancellation is 30 s at most, so that all is well a minute after the sickness."""
    async with open_wrong_world(latency=0.1) as (world, venue):
        healthy_cancel = venue.cancel
        await world.protect(POSITIONS[0])

        async def struck(order: StopOrder) -> None:
            await SICKNESSES[name](world.paper, order)

        venue.cancel = struck
        for price in range(105, 111):
            world.feed(str(price), SICK)
            await trio.sleep(10)
        venue.cancel = healthy_cancel
        world.feed("111", SICK)
        await trio.sleep(60)
        assert [stop.price for stop in await world.live()] == [D("109.89")]
        await world.check(POSITIONS[0])


async def test_a_look_up_that_fails_delays_no_other_symbols_moves(
    healthy: Placed, autojump_clock: trio.testing.MockClock
) -> None:
    """The outcome of one symbol's move stays unknown, because its look-up fails for two minutes."""
    faults: dict[At, Fault] = {At("place_stop", SICK, 2): ReplyLost(), At("find_stop", SICK): Unreachable()}
    async with open_wrong_world(faults, latency=0.1, rate_limit=LIMIT, record=True) as (world, _):
        await world.protect(*POSITIONS, deadline=30.0, settle=30.0)
        since = trio.current_time()
        await follow_prices(world)
        placed = placing_times(world, since)
        assert latest(placed, healthy) <= 0.5
        assert requests(world, symbol=SICK, since=since) <= 60
