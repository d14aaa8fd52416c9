"""Failure mode 49: a writer waits for the store, and not for the event loop's own work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock
from worlds import PLAN, open_world, some_positions

import trailing
from trailing.errors import StoreError
from trailing.protection.journal import Journal
from trailing.stores import MemoryStore
from trailing.stores.port import AddIntent, StoreWrite
from trailing.testing.store_samples import sample_intent

WAIT = 1.0


class SlowStore(MemoryStore):
    """Answers after a time of its own."""

    seconds = 0.0

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await trio.sleep(self.seconds)
        await super().commit(entries)


async def open_journal(store: MemoryStore, nursery: trio.Nursery, batch: int = 1) -> Journal:
    journal = Journal(store, batch=batch)
    await nursery.start(journal.run)
    return journal


async def work(clock: MockClock, seconds: float) -> None:
    """Keep the event loop busy: the clock goes on, and no other task runs."""
    clock.jump(seconds)
    await trio.lowlevel.checkpoint()


async def test_fm49_work_of_other_tasks_between_commits_ends_no_waiting(autojump_clock: MockClock) -> None:
    written = []

    async def write(journal: Journal, number: int) -> None:
        await journal.write(AddIntent(sample_intent(f"t{number}")), within=WAIT)
        written.append(number)
        await work(autojump_clock, 0.1)

    async with trio.open_nursery() as nursery:
        journal = await open_journal(MemoryStore(), nursery)
        async with trio.open_nursery() as writers:
            for number in range(100):
                writers.start_soon(write, journal, number)
        nursery.cancel_scope.cancel()
    assert sorted(written) == list(range(100))
    assert trio.current_time() == pytest.approx(10.0)


@pytest.mark.parametrize("store_seconds", [0.0, 0.5])
async def test_fm49_a_long_stretch_of_work_ends_no_waiting(store_seconds: float, autojump_clock: MockClock) -> None:
    store = SlowStore()
    store.seconds = store_seconds
    async with trio.open_nursery() as nursery:
        journal = await open_journal(store, nursery)
        nursery.start_soon(work, autojump_clock, 5.0)
        await journal.write(AddIntent(sample_intent("t1")), within=WAIT)
        nursery.cancel_scope.cancel()


async def test_fm49_an_answer_that_came_during_a_stretch_of_work_counts(autojump_clock: MockClock) -> None:
    for _ in range(8):  # which of two tasks runs first is drawn by trio
        store = SlowStore()
        store.seconds = WAIT
        async with trio.open_nursery() as nursery:
            journal = await open_journal(store, nursery)

            async def work_late() -> None:
                await trio.sleep(WAIT - 0.01)
                await work(autojump_clock, 5.0)

            nursery.start_soon(work_late)
            await journal.write(AddIntent(sample_intent("t1")), within=WAIT)
            nursery.cancel_scope.cancel()


class Pause:
    """Pauses the process for five seconds at one reading of the clock, counted from 1, as the operating system may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read, self._readings, self._at = MockClock.current_time, 0, 0
        monkeypatch.setattr(MockClock, "current_time", lambda clock: self._current_time(clock))  # noqa: PLW0108 - binds the clock

    def _current_time(self, clock: MockClock) -> float:
        self._readings += 1
        if self._readings == self._at:
            clock.jump(5.0)
        return self._read(clock)

    def run(self, main: Callable[[], Awaitable[None]], *, at: int) -> int:
        """Run a program with the pause at this reading; 0: without one. Returns how often it has read the clock."""
        self._readings, self._at = 0, at
        trio.run(main, clock=MockClock(autojump_threshold=0))
        return self._readings


@pytest.mark.parametrize("store_seconds", [0.0, 0.005, 0.5])
def test_fm49_a_pause_of_the_process_ends_no_waiting_wherever_it_comes(
    store_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write_three() -> None:
        store = SlowStore()
        store.seconds = store_seconds
        async with trio.open_nursery() as nursery:
            journal = await open_journal(store, nursery)
            for number in range(3):
                await journal.write(AddIntent(sample_intent(f"t{number}")), within=WAIT)
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    pause = Pause(monkeypatch)
    readings = pause.run(write_three, at=0)
    assert readings > 50
    for at in range(1, readings):
        pause.run(write_three, at=at)


async def test_a_store_that_does_not_answer_is_waited_for_as_long_as_the_loop_waits(
    autojump_clock: MockClock,
) -> None:
    store = SlowStore()
    store.seconds = 1000.0
    async with trio.open_nursery() as nursery:
        journal = await open_journal(store, nursery)

        async def work_now_and_then() -> None:
            while True:
                await trio.sleep(0.25)
                await work(autojump_clock, 0.5)

        nursery.start_soon(work_now_and_then)
        with pytest.raises(StoreError, match="not written within journal_wait"):
            await journal.write(AddIntent(sample_intent("t1")), within=WAIT)
        nursery.cancel_scope.cancel()
    assert 2.4 < trio.current_time() <= 2.5  # a second of waiting, with half a second of work after each quarter


async def test_a_store_that_does_not_answer_an_idle_loop_is_waited_for_exactly_so_long(
    autojump_clock: MockClock,
) -> None:
    store = SlowStore()
    store.seconds = 1000.0
    ended = []

    async def write(journal: Journal, name: str, within: float) -> None:
        with pytest.raises(StoreError):
            await journal.write(AddIntent(sample_intent(name)), within=within)
        ended.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        journal = await open_journal(store, nursery)
        async with trio.open_nursery() as writers:
            for name, within in (("later", 1.7), ("sooner", 0.3), ("at once", 0.0)):
                writers.start_soon(write, journal, name, within)
        nursery.cancel_scope.cancel()
    assert ended == [("at once", 2.0**-10), ("sooner", 0.3), ("later", 1.7)]


def test_fm49_a_wave_raises_no_alarm_where_its_work_takes_many_times_the_wait() -> None:
    plan = msgspec.structs.replace(PLAN, call_seconds=1e5, journal_wait=WAIT)
    positions = some_positions(300)

    async def wave() -> None:
        async with open_world(plan=plan) as world:
            await world.enter(*positions)
            began = trio.current_time()
            report = await world.running.protect_wave(positions, deadline=1e6)
            assert all(isinstance(outcome, trailing.Protected) for outcome in report.outcomes)
            assert trio.current_time() - began > 4 * WAIT
            assert [what for what in world.alarms() if "store" in what] == []

    trio.run(wave, clock=MockClock(rate=500.0))
