"""A replay's calls of a store over a network wait on the real clock, while the replay's clock is stopped."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

from trailing.cli.practice.real_clock import open_real_clock_loop
from trailing.cli.practice.replay_clock import HoldingStore, ReplayClock, open_holding_store
from trailing.errors import LeaseLost, StoreError
from trailing.events import Alarm
from trailing.stores.memory import MemoryStore
from trailing.stores.port import AppendEvent, StoreWrite

START = 1_515_561_000.0
URL = "postgresql://nowhere/db"


class SlowStore(MemoryStore):
    """Waits on the clock of the loop that calls it, as a store over a network does.

    Attributes:
        seconds: how long each commit takes.
        cleaned_up: how many commits were cancelled and have ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.05
        self.cleaned_up = 0

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.05):
                await trio.sleep_forever()
            self.cleaned_up += 1
            raise
        await super().commit(entries)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    """The store that is opened at `URL`; its calls may take 0.3 s."""
    slow = SlowStore()

    @asynccontextmanager
    async def opening(url: str, *, read_only: bool) -> AsyncIterator[SlowStore]:
        assert (url, read_only) == (URL, False)
        await trio.sleep(0.05)
        yield slow

    monkeypatch.setattr("trailing.cli.practice.remote_store.open_store", opening)
    monkeypatch.setattr("trailing.cli.practice.remote_store.ANSWER_SECONDS", 0.3)
    return slow


def replay(main: Any) -> Any:
    """Run `main(store)` on a replay's clock with the store that is opened at `URL`."""
    clock = ReplayClock(START, None)

    async def opened() -> Any:
        async with open_holding_store(URL, clock) as store:
            return await main(store)

    return trio.run(opened, clock=clock.clock)


def event(what: str) -> AppendEvent:
    return AppendEvent("paper", "run", Alarm(at=datetime.now(UTC), what=what))


def test_a_call_takes_real_time_and_no_time_of_the_data(store: SlowStore) -> None:
    async def main(holding: HoldingStore) -> float:
        for _ in range(3):
            await holding.commit([event("a")])
        return trio.current_time()

    began = time.monotonic()
    assert replay(main) == START
    assert time.monotonic() - began >= 0.2
    assert store.cleaned_up == 0


def test_every_call_returns_the_result_of_the_store(store: SlowStore) -> None:
    entries = [event(str(number)) for number in range(1201)]  # two pages and a piece

    async def main(holding: HoldingStore) -> list[Any]:
        await holding.commit(entries)
        read = [record.event async for record in holding.events()]
        loaded = await holding.load("paper", "run")
        pruned = await holding.prune(datetime.now(UTC) + timedelta(days=1))
        return [read, loaded.stops, await holding.accounts(), pruned]

    assert replay(main) == [[entry.event for entry in entries], (), [], len(entries)]


def test_a_call_that_takes_too_long_ends_the_run_and_every_later_call_fails_at_once(store: SlowStore) -> None:
    store.seconds = 60.0
    failures = []
    took = []

    async def main(holding: HoldingStore) -> None:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreError, match="did not answer within 0.3 s") as failed:
                await holding.commit([])
            took.append(time.monotonic() - began)
            failures.append(failed.value)
        await trio.sleep_forever()

    with pytest.raises(StoreError, match="did not answer within 0.3 s; the run was stopped"):
        replay(main)
    assert took[0] >= 0.3 > took[1]
    assert len(failures) == 2
    assert store.cleaned_up == 1


def test_a_cancellation_reaches_the_call_and_waits_for_its_clean_up(store: SlowStore) -> None:
    store.seconds = 60.0

    async def main(holding: HoldingStore) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(holding.commit, [])
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return store.cleaned_up

    assert replay(main) == 1


def test_a_cancellation_while_the_store_is_opened_ends_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    @asynccontextmanager
    async def opening(_: str, *, read_only: bool) -> AsyncIterator[MemoryStore]:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(read_only)
        yield MemoryStore()

    monkeypatch.setattr("trailing.cli.practice.remote_store.open_store", opening)
    clock = ReplayClock(START, None)

    async def main() -> bool:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await trio.to_thread.run_sync(time.sleep, 0.1)
                nursery.cancel_scope.cancel()

            nursery.start_soon(cancel)
            async with open_holding_store(URL, clock):
                pass
        return nursery.cancel_scope.cancelled_caught

    assert trio.run(main, clock=clock.clock)
    assert ended == [False]


def test_an_error_while_opening_is_raised_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opening(_: str, *, read_only: bool) -> AsyncIterator[MemoryStore]:
        raise StoreError(f"nothing there, {read_only=}")
        yield MemoryStore()

    monkeypatch.setattr("trailing.cli.practice.remote_store.open_store", opening)
    with pytest.raises(StoreError, match="nothing there, read_only=False"):
        replay(None)


def test_the_lease_of_a_run_needs_no_renewal_and_ends_with_its_block(store: SlowStore) -> None:
    async def main(holding: HoldingStore) -> None:
        async with holding.acquire_lease("paper", "run", mark="a") as lease:
            await lease.commit([event("owned")])
            await trio.sleep(80_000)
            assert lease.lost is None
        with pytest.raises(LeaseLost):
            await lease.commit([])

    replay(main)


def test_following_is_refused_because_it_would_wait_without_a_deadline(store: SlowStore) -> None:
    async def main(holding: HoldingStore) -> None:
        with pytest.raises(NotImplementedError):
            holding.events(follow=True)
        await trio.lowlevel.checkpoint()

    replay(main)


def test_a_bug_in_the_other_loop_is_raised_in_the_caller() -> None:
    async def main() -> None:
        async def divide() -> float:
            await trio.lowlevel.checkpoint()
            return 1 / 0

        with open_real_clock_loop() as loop:
            with pytest.raises(ZeroDivisionError):
                await loop.run(divide)
            await loop.run(trio.lowlevel.checkpoint)  # the loop still works

    trio.run(main)
