"""Ways in which positions lost their protection that concern the whole account: many at once, and refused credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from inspection.paper import use_limiter
from worlds import BTC, START, SYMBOL, World, a_position, open_listened, open_world, some_positions
from wrong_venues import requests

from trailing import AuthenticationFailed, Market, Position, Protected
from trailing.exchanges.ccxt.limits import limits_of
from trailing.exchanges.ccxt.venue_limiter import open_limiter
from trailing.testing import At, Fails, Fault, FaultyExchange, Hangs, Unreachable
from trailing.testing.faults import Operation

D = Decimal

LISTS = ("positions", "open_stops")

MOST_LISTS = 12
"""Lists of positions and of stops together, however many positions are stopped out."""


@asynccontextmanager
async def open_limited_world(venue: str) -> AsyncIterator[World]:
    """A world whose exchange counts requests as a venue does, through the limiter that the venue's adapter uses."""
    async with open_world(latency=0.05, with_manager=False) as world, open_limiter(limits_of(venue)) as limiter:
        use_limiter(world.paper, limiter)
        async with open_listened(world):
            yield world


def stop_out(world: World, positions: Sequence[Position]) -> float:
    """Let the stops of all positions fill at this moment. Returns when that was."""
    for position in positions:
        world.feed("97.5", position.symbol)
    return trio.current_time()


# 48: 200 positions that were stopped out at once cost two lists each.


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
@pytest.mark.parametrize(("count", "seconds"), [(200, 5.0), (500, 8.0)])
async def test_fm48_positions_that_are_stopped_out_at_once_cost_a_handful_of_lists(
    count: int, seconds: float, venue: str, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(count)
    async with open_limited_world(venue) as world:
        await world.protect(*positions, deadline=120.0, settle=60.0)
        since = stop_out(world, positions)
        with trio.move_on_after(seconds):
            await world.running.wait_closed()
            while (await world.load()).stops:
                await trio.sleep(0.05)
        assert (await world.load()).stops == ()
        assert world.running.statistics().closed == count
        await trio.sleep(10)  # none of them comes late, either
        assert requests(world, *LISTS, since=since) <= MOST_LISTS


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
async def test_fm48_a_position_that_is_opened_again_five_seconds_later_is_protected_in_time(
    venue: str, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(200)
    async with open_limited_world(venue) as world:
        await world.protect(*positions, deadline=120.0, settle=60.0)
        since = stop_out(world, positions)
        await trio.sleep(5)
        again = [
            msgspec.structs.replace(one, entry_price=D(97), opened_at=START + timedelta(hours=1))
            for one in positions[:5]
        ]
        await world.enter(*again)
        report = await world.running.protect_wave(again, deadline=5.0)
        assert [type(outcome) for outcome in report.outcomes] == [Protected] * 5
        assert requests(world, *LISTS, since=since) <= MOST_LISTS + 2  # with those that the second wave asks for


# 49: `journal_wait` counted the event loop's own work.


class _BusyExchange(FaultyExchange):
    """Each look at a market's rules takes the event loop some time, as the work for one position of a large wave does."""

    clock: trio.testing.MockClock
    seconds = 0.0

    def market(self, symbol: str) -> Market:
        self.clock.jump(self.seconds)
        return super().market(symbol)


async def test_fm49_a_wave_that_keeps_the_event_loop_busy_raises_no_alarm_about_the_store(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that the shell asks for the market at least once for each position, before its intent is stored."""
    positions = some_positions(300)
    async with open_world(with_manager=False) as world:
        world.exchange = busy = _BusyExchange(world.paper, {})
        busy.clock = autojump_clock
        async with open_listened(world):
            await world.enter(*positions)
            busy.seconds = 0.01  # 3 s in all, three times the plan's `journal_wait`
            report = await world.running.protect_wave(positions, deadline=60.0)
            assert {type(outcome) for outcome in report.outcomes} == {Protected}
            assert world.alarms() == []


# 55: refused credentials came out of the manager inside groups of exceptions, and one 401 was enough.


def refused(*operations: Operation, since: float, most: int | None = None) -> Any:
    """Faults: the exchange refuses the credentials for some operations (by default all) from a time on, `most` times."""
    struck: list[Operation] = []

    def strike(operation: Operation, symbol: str | None, number: int) -> Fault | None:
        if trio.current_time() < since or (operations and operation not in operations):
            return None
        if most is not None and len(struck) >= most:
            return None
        struck.append(operation)
        return Fails(AuthenticationFailed(f"401 to {operation}"))

    return strike


@pytest.mark.parametrize("can_amend", [True, False], ids=["amends", "places"])
async def test_fm55_refused_credentials_come_out_of_the_manager_as_they_are(
    can_amend: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False, can_amend=can_amend) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect(a_position(), a_position("ETH/USDT:USDT"))
                world.inject(refused(since=trio.current_time()))
                for symbol in (SYMBOL, "ETH/USDT:USDT"):
                    world.feed("105", symbol)
                await trio.sleep(60)
        assert len(await world.live()) == 2  # the stops stand
        assert await world.stored_alarms()


async def test_fm55_refused_credentials_end_an_idle_manager_at_its_next_snapshot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world) as manager:
                await world.protect()
                world.inject(refused(since=trio.current_time()))
                await manager.wait_closed()


async def test_fm55_refused_credentials_at_the_opening_come_out_as_they_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.inject(refused(since=0.0))
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await trio.sleep_forever()
        assert len(await world.live()) == 1


OPERATIONS: tuple[Operation, ...] = ("positions", "open_stops", "place_stop", "amend_stop", "cancel_stop")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_fm55_a_single_401_ends_no_manager(operation: Operation, autojump_clock: trio.testing.MockClock) -> None:
    """Assumes that the second request, which confirms or denies the first answer, may be of any operation."""
    async with open_world(can_amend=operation == "amend_stop", latency=0.1) as world:
        await world.protect()
        world.inject(refused(operation, since=trio.current_time(), most=1))
        world.inside.reconcile_now()
        world.feed("105")
        await trio.sleep(20)
        assert sum(call.fault is not None for call in world.exchange.calls) == 1
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert world.running.stops()[BTC].price == D("103.95")


async def test_fm55_a_single_401_does_not_keep_a_manager_from_opening(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.protect_and_end(a_position())
        world.inject(refused(since=0.0, most=1))
        async with open_listened(world):
            await trio.sleep(5)
            assert set(world.running.stops()) == {BTC}


async def test_fm55_two_401s_in_a_row_end_the_manager(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False, latency=0.1, can_amend=True) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect()
                world.inject(refused(since=trio.current_time(), most=2))
                world.feed("105")
                await trio.sleep(60)
        assert sum(call.fault is not None for call in world.exchange.calls) == 2


@pytest.mark.parametrize("second", [Unreachable(), Hangs()], ids=["unreachable", "hangs"])
async def test_fm55_a_401_that_can_not_be_confirmed_ends_no_manager_and_the_request_is_sent_again(
    second: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world() as world:
        await world.protect()
        first = Fails(AuthenticationFailed("401 to place_stop"))
        world.inject({At("place_stop", None, 1): first, At("positions", None, 1): second})
        world.feed("105")
        await trio.sleep(30)
        assert [call.operation for call in world.exchange.calls if call.fault is not None] == [
            "place_stop",
            "positions",
        ]
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert not [what for what in world.alarms() if "credentials" in what]
