"""The journal: one commit for many writers, its bounds, its failures and its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trailing.errors import LeaseLost, StoreError, UsageError
from trailing.protection.journal import Journal, JournalStatistics
from trailing.stores import MemoryStore, open_store
from trailing.stores.port import AddIntent, AppendEvent, StoreWrite
from trailing.testing.store_samples import sample_alarm, sample_intent

COMMIT_SECONDS = 0.5


class ScriptedStore(MemoryStore):
    """Takes its time, notes each commit that it was asked for, and raises what it was told to for an order or event."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.errors: dict[str, Exception] = {}

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        names = [name_of(entry) for entry in entries]
        self.asked.append(names)
        await trio.sleep(COMMIT_SECONDS)
        for name in names:
            if name in self.errors:
                raise self.errors[name]
        await super().commit(entries)

    async def written(self) -> list[str]:
        return [intent.client_order_id for intent in (await self.load("testex", "main")).intents]


def name_of(entry: StoreWrite) -> str:
    match entry:
        case AddIntent(intent):
            return intent.client_order_id
        case AppendEvent(event=event):
            return getattr(event, "detail", "")
    raise AssertionError(entry)


def intent(name: str) -> AddIntent:
    return AddIntent(sample_intent(name))


def event(number: int) -> AppendEvent:
    return AppendEvent("testex", "main", sample_alarm(number))


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def journal(store: ScriptedStore) -> Journal:
    return Journal(store)


async def failure_of(journal: Journal, failures: dict[str, StoreError], name: str) -> None:
    try:
        await journal.write(intent(name))
    except StoreError as error:
        failures[name] = error


async def test_all_that_wait_at_once_share_one_commit_in_the_order_of_their_calls(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    await nursery.start(journal.run)
    async with trio.open_nursery() as writers:
        for number in range(100):
            writers.start_soon(journal.write, intent(f"a{number:03}"), intent(f"b{number:03}"))
            await trio.testing.wait_all_tasks_blocked()
    assert len(store.asked) == 2
    assert store.asked[0] == ["a000", "b000"]
    assert store.asked[1] == [f"{letter}{number:03}" for number in range(1, 100) for letter in "ab"]
    assert trio.current_time() == 2 * COMMIT_SECONDS
    assert journal.statistics() == JournalStatistics(commits=2, entries=200, failures=0, dropped=0, waiting=0)


async def test_write_returns_when_its_entries_are_durable_and_not_before(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    await nursery.start(journal.run)
    started = trio.current_time()
    await journal.write(intent("t1"))
    assert trio.current_time() - started == COMMIT_SECONDS
    assert await store.written() == ["t1"]


async def test_writes_handed_in_before_the_journal_runs_are_committed_when_it_does(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    async with trio.open_nursery() as writers:
        writers.start_soon(journal.write, intent("t1"))
        await trio.testing.wait_all_tasks_blocked()
        assert journal.statistics().waiting == 1
        await nursery.start(journal.run)
    assert await store.written() == ["t1"]


async def test_writing_nothing_is_a_checkpoint_and_no_commit(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal
) -> None:
    with trio.testing.assert_checkpoints():
        await journal.write()
    journal.post()
    assert journal.statistics().waiting == 0


async def test_one_bad_entry_fails_alone(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["bad"] = LeaseLost("another owner has the lease")
    failures: dict[str, StoreError] = {}
    await nursery.start(journal.run)
    async with trio.open_nursery() as writers:
        for name in ("t1", "bad", "t2", "t3"):
            writers.start_soon(failure_of, journal, failures, name)
    assert failures == {"bad": store.errors["bad"]}
    assert sorted(await store.written()) == ["t1", "t2", "t3"]
    assert journal.statistics() == JournalStatistics(commits=3, entries=3, failures=1, dropped=0, waiting=0)


async def test_a_writers_entries_are_written_together_or_not_at_all(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["bad"] = StoreError("no")
    await nursery.start(journal.run)
    async with trio.open_nursery() as writers:
        writers.start_soon(journal.write, intent("t1"), intent("t2"))
        with pytest.raises(StoreError, match="^no$"):
            await journal.write(intent("good"), intent("bad"), intent("fine"))
    assert await store.written() == ["t1", "t2"]


async def test_a_writer_that_failed_alone_is_not_tried_again(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["bad"] = StoreError("no")
    await nursery.start(journal.run)
    with pytest.raises(StoreError):
        await journal.write(intent("bad"))
    assert store.asked == [["bad"]]
    await journal.write(intent("t1"))
    assert await store.written() == ["t1"]


async def test_a_batch_has_a_bound_but_no_writer_is_split(
    autojump_clock: MockClock, store: ScriptedStore, nursery: trio.Nursery
) -> None:
    journal = Journal(store, batch=3)
    async with trio.open_nursery() as writers:
        for names in (["a", "b"], ["c"], ["d"], ["e", "f", "g", "h"], ["i"]):
            writers.start_soon(journal.write, *map(intent, names))
            await trio.testing.wait_all_tasks_blocked()
        journal.post(*map(event, range(4)))
        await nursery.start(journal.run)
    await journal.drain()
    assert store.asked == [["a", "b", "c"], ["d"], ["e", "f", "g", "h"], ["i", "0", "1"], ["2", "3"]]


async def test_telemetry_rides_behind_the_writers_or_goes_alone(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    journal.post(event(1))
    async with trio.open_nursery() as writers:
        writers.start_soon(journal.write, intent("t1"))
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(journal.run)
    journal.post(event(2), event(3))
    await journal.drain()
    assert store.asked == [["t1", "1"], ["2", "3"]]
    assert journal.statistics() == JournalStatistics(commits=2, entries=4, failures=0, dropped=0, waiting=0)


async def test_telemetry_beyond_the_bound_is_dropped_and_counted(
    autojump_clock: MockClock, store: ScriptedStore, nursery: trio.Nursery
) -> None:
    journal = Journal(store, telemetry_bound=3)
    journal.post(event(1), event(2))
    journal.post(event(3), event(4))
    journal.post(event(5))
    assert journal.statistics() == JournalStatistics(commits=0, entries=0, failures=0, dropped=2, waiting=3)
    await nursery.start(journal.run)
    await journal.drain()
    assert store.asked == [["1", "2", "3"]]
    journal.post(event(6))
    await journal.drain()
    assert journal.statistics() == JournalStatistics(commits=2, entries=4, failures=0, dropped=2, waiting=0)


async def test_telemetry_that_fails_is_dropped_and_takes_no_writer_with_it(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["2"] = StoreError("no")
    journal.post(event(1), event(2))
    async with trio.open_nursery() as writers:
        writers.start_soon(journal.write, intent("t1"))
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(journal.run)
    await journal.drain()
    assert store.asked == [["t1", "1", "2"], ["t1"], ["1", "2"]]
    assert journal.statistics() == JournalStatistics(commits=1, entries=1, failures=0, dropped=2, waiting=0)


async def test_what_a_cancelled_writer_handed_in_is_written_all_the_same(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    await nursery.start(journal.run)
    with trio.move_on_after(COMMIT_SECONDS / 2) as waiting:
        await journal.write(intent("t1"))
    assert waiting.cancelled_caught
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        await journal.write(intent("t2"))
    assert cancelled.cancelled_caught
    await journal.drain()
    assert await store.written() == ["t1", "t2"]


async def test_what_a_cancelled_writer_handed_in_and_failed_is_counted(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["bad"] = StoreError("no")
    await nursery.start(journal.run)
    with trio.move_on_after(COMMIT_SECONDS / 2):
        await journal.write(intent("bad"))
    await journal.drain()
    assert journal.statistics().failures == 1


async def test_drain_waits_for_what_was_handed_in_before_it_and_for_no_more(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    await nursery.start(journal.run)
    drained_at: list[float] = []

    async def drain() -> None:
        await journal.drain()
        drained_at.append(trio.current_time())

    with trio.testing.assert_checkpoints():
        await journal.drain()
    async with trio.open_nursery() as writers:
        writers.start_soon(journal.write, intent("t1"))
        await trio.testing.wait_all_tasks_blocked()
        writers.start_soon(journal.write, intent("t2"))
        await trio.testing.wait_all_tasks_blocked()
        writers.start_soon(drain)
        await trio.sleep(1.5 * COMMIT_SECONDS)
        journal.post(event(1))
        writers.start_soon(journal.write, intent("t3"))
    assert drained_at == [2 * COMMIT_SECONDS]
    assert store.asked == [["t1"], ["t2"], ["t3", "1"]]


async def test_a_bug_of_the_store_ends_the_journal_and_fails_every_writer(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal
) -> None:
    bug = store.errors["bug"] = RuntimeError("bug")
    failures: dict[str, StoreError] = {}

    async def write_during_the_commit() -> None:
        await trio.sleep(COMMIT_SECONDS / 2)
        journal.post(event(1), event(2))
        await failure_of(journal, failures, "later")

    async with trio.open_nursery() as writers:
        for name in ("t1", "bug", "t2"):
            writers.start_soon(failure_of, journal, failures, name)
        await trio.testing.wait_all_tasks_blocked()
        writers.start_soon(write_during_the_commit)
        with pytest.raises(RuntimeError) as e:
            await journal.run()
    assert e.value is bug
    assert sorted(failures) == ["bug", "later", "t1", "t2"]
    assert all(failure.__cause__ is bug for failure in failures.values())
    assert len(set(map(id, failures.values()))) == 4
    assert await store.written() == []
    assert journal.statistics() == JournalStatistics(commits=0, entries=0, failures=4, dropped=2, waiting=0)


async def test_an_ended_journal_refuses_at_once_and_never_blocks(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal
) -> None:
    bug = store.errors["bug"] = RuntimeError("bug")
    journal.post(event(1))
    async with trio.open_nursery() as writers:
        writers.start_soon(failure_of, journal, {}, "bug")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            await journal.run()
    ended_at = trio.current_time()
    with pytest.raises(StoreError, match=r"the journal has ended: RuntimeError\('bug'\)") as e:
        await journal.write(intent("t1"))
    assert e.value.__cause__ is bug
    journal.post(event(2))
    await journal.drain()
    assert trio.current_time() == ended_at
    assert journal.statistics() == JournalStatistics(commits=0, entries=0, failures=1, dropped=2, waiting=0)


async def test_cancelling_the_journal_fails_waiting_and_later_writers(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal
) -> None:
    failures: dict[str, StoreError] = {}
    async with trio.open_nursery() as writers, trio.open_nursery() as services:
        await services.start(journal.run)
        writers.start_soon(failure_of, journal, failures, "t1")
        await trio.testing.wait_all_tasks_blocked()
        writers.start_soon(failure_of, journal, failures, "t2")
        await trio.testing.wait_all_tasks_blocked()
        services.cancel_scope.cancel()
    await failure_of(journal, failures, "t3")
    assert sorted(failures) == ["t1", "t2", "t3"]
    assert {str(failure) for failure in failures.values()} == {"the journal has ended"}
    assert await store.written() == []


async def test_in_a_retry_those_already_committed_keep_their_success_when_the_journal_is_cancelled(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal
) -> None:
    store.errors["bad"] = StoreError("no")
    failures: dict[str, StoreError] = {}
    async with trio.open_nursery() as writers:
        for name in ("t1", "bad", "t2"):
            writers.start_soon(failure_of, journal, failures, name)
            await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(3.5 * COMMIT_SECONDS):
            await journal.run()
    assert store.asked == [["t1", "bad", "t2"], ["t1"], ["bad"], ["t2"]]
    assert {name: str(failure) for name, failure in failures.items()} == {"bad": "no", "t2": "the journal has ended"}
    assert await store.written() == ["t1"]
    assert journal.statistics() == JournalStatistics(commits=1, entries=1, failures=2, dropped=0, waiting=0)


async def test_it_runs_once(autojump_clock: MockClock, journal: Journal, nursery: trio.Nursery) -> None:
    await nursery.start(journal.run)
    with pytest.raises(UsageError, match="started already"):
        await journal.run()


async def test_it_gathers_writers_while_a_real_disk_works(tmp_path: Path, nursery: trio.Nursery) -> None:
    async with open_store(f"sqlite:///{tmp_path}/trailing.db") as store:
        journal = Journal(store)
        await nursery.start(journal.run)
        async with trio.open_nursery() as writers:
            for number in range(300):
                writers.start_soon(journal.write, intent(f"t{number}"))
        assert len((await store.load("testex", "main")).intents) == 300
        assert journal.statistics().commits <= 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("bounds", [{"telemetry_bound": -1}, {"batch": 0}])
def test_bounds_that_can_not_be_right_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="wants at least 0 and 1"):
        Journal(MemoryStore(), **bounds)


def test_its_repr_shows_its_statistics() -> None:
    expected = "<Journal: JournalStatistics(commits=0, entries=0, failures=0, dropped=0, waiting=0)>"
    assert repr(Journal(MemoryStore())) == expected


async def test_the_journal_is_behind_while_an_abandoned_entry_is_not_written(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    await nursery.start(journal.run)
    journal.post(event(1))
    await trio.testing.wait_all_tasks_blocked()
    for waits_first in (COMMIT_SECONDS, 0.0):  # behind telemetry that is being written; and by itself
        assert not journal.is_behind
        with pytest.raises(StoreError, match="not written within journal_wait"):
            await journal.write(intent(f"t{waits_first}"), within=COMMIT_SECONDS / 2)
        assert journal.is_behind
        await trio.sleep(COMMIT_SECONDS / 2 + waits_first)
        await trio.testing.wait_all_tasks_blocked()
    assert not journal.is_behind


async def test_it_is_not_behind_while_the_writers_of_one_commit_are_tried_one_by_one(
    autojump_clock: MockClock, store: ScriptedStore, journal: Journal, nursery: trio.Nursery
) -> None:
    store.errors["bad"] = StoreError("no")
    failures: dict[str, StoreError] = {}
    await nursery.start(journal.run)
    async with trio.open_nursery() as writers:
        for name in ("t1", "bad", "t2"):
            writers.start_soon(failure_of, journal, failures, name)
        for _ in range(7):
            await trio.sleep(COMMIT_SECONDS / 2)
            assert not journal.is_behind
    assert list(failures) == ["bad"]
