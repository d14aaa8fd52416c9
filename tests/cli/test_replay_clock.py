"""The clock of a replay is stopped while a store works in a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from trailing.cli.practice.replay_clock import HoldingStore, ReplayClock, open_holding_store
from trailing.stores.memory import MemoryStore
from trailing.stores.port import Loaded, StoreWrite

START = 1_515_561_000.0


class ThreadedStore(MemoryStore):
    """Takes real time in a thread for each call, as SQLite does."""

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await trio.to_thread.run_sync(time.sleep, 0.05)
        await super().commit(entries)

    async def load(self, exchange: str, account: str) -> Loaded:
        await trio.to_thread.run_sync(time.sleep, 0.1)
        return await super().load(exchange, account)


@pytest.mark.parametrize("speed", [None, 200.0])
def test_no_deadline_expires_during_a_call_of_the_store(speed: float | None) -> None:
    clock = ReplayClock(START, speed)
    store = HoldingStore(ThreadedStore(), clock)

    async def main() -> float:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:  # two at once; the clock runs again when both have ended
                nursery.start_soon(store.load, "paper", "a")
                nursery.start_soon(store.commit, [])
        return trio.current_time() - START

    elapsed = trio.run(main, clock=clock.clock)
    assert elapsed < 10
    if speed is None:
        assert elapsed == 0.0


def test_without_the_holding_store_the_deadline_expires() -> None:
    clock = ReplayClock(START, None)

    async def main() -> bool:
        with trio.move_on_after(10) as scope:
            await ThreadedStore().commit([])
        return scope.cancelled_caught or trio.current_time() >= START + 10

    assert trio.run(main, clock=clock.clock)


def test_opening_and_closing_a_file_takes_no_time_of_the_data(tmp_path: Path) -> None:
    clock = ReplayClock(START, None)

    async def main() -> list[float]:
        times = []
        async with open_holding_store(f"sqlite:///{tmp_path}/state.db", clock) as store:
            times.append(trio.current_time())
            await store.load("paper", "a")
            assert list(await store.accounts()) == []
            await trio.sleep(100)
            times.append(trio.current_time())
        times.append(trio.current_time())
        return times

    assert trio.run(main, clock=clock.clock) == pytest.approx([START, START + 100, START + 100])


def test_settling_waits_for_every_task_and_for_the_store() -> None:
    clock = ReplayClock(START, None)
    store = HoldingStore(ThreadedStore(), clock)
    done: list[str] = []

    async def work() -> None:
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        await store.commit([])
        await trio.lowlevel.checkpoint()
        done.append("work")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await clock.settle()
            done.append("settled")

    trio.run(main, clock=clock.clock)
    assert done == ["work", "settled"]
