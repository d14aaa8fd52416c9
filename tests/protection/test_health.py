"""The health of a manager, and the warning about a real account without alerts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
import trio
from rented import RentingStore
from trio.testing import MockClock
from worlds import PLAN, open_world

import trailing
from trailing.exchanges.port import StreamState
from trailing.protection.health import IS_WATCHED, warn_if_unwatched
from trailing.testing import Hangs


class Named:
    """An exchange of which only the name and the account matter."""

    account = "main"

    def __init__(self, name: str) -> None:
        self.name = name


@contextmanager
def logged() -> Iterator[list[Any]]:
    """The entries of the log within the block. `capture_logs` only works if the level is enabled."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        yield entries


async def test_the_health_of_a_manager_is_good_while_nothing_fails(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        health = world.running.health()
        assert (health.exchange, health.account) == ("paper", "default")
        assert health.stream_connected
        assert health.lease_seconds == math.inf
        assert not health.journal_is_behind
        assert health.journal.commits > 0


async def test_the_health_shows_a_lost_stream_until_it_is_connected(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for connected in (False, True):
            world.inside.supervision.feed.take(StreamState(connected, trio.current_time(), "by the test"))
            assert world.running.health().stream_connected is connected


async def test_the_health_shows_how_long_the_lease_lasts(autojump_clock: MockClock) -> None:
    async with open_world(with_manager=False) as world:
        store = RentingStore(world.memory, seconds=60.0)
        with pytest.raises(trailing.LeaseLost):
            async with trailing.open_manager(world.exchange, store, PLAN) as manager:
                left = manager.health().lease_seconds
                await trio.sleep(10.0)
                assert manager.health().lease_seconds == left - 10.0
                await trio.sleep(100.0)
                assert manager.health().lease_seconds == 0.0
                store.lease.renew()
                assert manager.health().lease_seconds == 60.0
                store.lease.lose()
                assert manager.health().lease_seconds == 0.0
                await trio.sleep(1.0)


async def test_the_health_shows_a_journal_that_is_behind(autojump_clock: MockClock) -> None:
    stuck = False
    async with open_world(
        store_faults=lambda operation, *_: Hangs() if stuck and operation == "commit" else None
    ) as world:
        await world.protect()
        stuck = True
        world.feed("110")
        await trio.sleep(PLAN.journal_wait + 1.0)
        health = world.running.health()
        assert health.journal_is_behind
        assert health.journal.waiting > 0


@pytest.mark.parametrize(
    ("name", "watched", "warned"),
    [
        ("binanceusdm", False, True),
        ("binanceusdm", True, False),
        ("binanceusdm testnet", False, False),
        ("paper", False, False),
    ],
)
def test_a_real_account_without_alerts_is_warned_of(name: str, watched: bool, warned: bool) -> None:
    token = IS_WATCHED.set(watched)
    try:
        with logged() as entries:
            warn_if_unwatched(Named(name))  # type: ignore[arg-type]
    finally:
        IS_WATCHED.reset(token)
    assert [(entry["event"], entry["log_level"], entry["exchange"]) for entry in entries] == (
        [("NoAlertChannel", "warning", name)] if warned else []
    )


async def test_a_manager_warns_when_it_opens(autojump_clock: MockClock) -> None:
    async with open_world(with_manager=False) as world:
        world.paper.name = "binanceusdm"
        with logged() as entries:
            async with trailing.open_manager(world.exchange, world.store, PLAN):
                assert [entry["event"] for entry in entries] == ["NoAlertChannel"]
