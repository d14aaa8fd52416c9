"""The journal commits the entries of many writers in one transaction at a time (group commit).

A commit takes the same time on the disk for one entry as for a thousand. So writers hand their entries in and wait. One task
commits all waiting entries in one transaction, while the next entries gather.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NoReturn

import msgspec
import trio

from trailing.errors import StoreError, UsageError
from trailing.stores.port import AppendEvent, StoreWrite, Writer

_SHORTEST_TICK = 2.0**-10
_LONGEST_TICK = 2.0**-6
"""The shortest and the longest sleep of the task that ends waits, in seconds. Of a busy pass of the event loop, at most one such
sleep counts as waiting. It is the shortest one while the loop is busy, and up to the longest one in the pass in which it becomes
busy."""


class JournalStatistics(msgspec.Struct, frozen=True):
    """The figures of what a journal has done so far.

    Args:
        commits: committed transactions.
        entries: entries in them, telemetry included.
        failures: calls of `write()` and `hand_in()` whose entries were certainly or possibly not committed. A call whose time
            was over counts only if its commit fails later.
        dropped: telemetry that was certainly or possibly not committed, because there was no room, its commit failed, or the
            journal ended.
        waiting: entries, telemetry included, that were handed in and are neither committed nor failed.
    """

    commits: int
    entries: int
    failures: int
    dropped: int
    waiting: int


class _Tally:
    """The number of entries of one kind that were handed in, and that are settled.

    Settled entries were committed or have failed. Entries are settled in the order in which they were handed in.
    """

    __slots__ = ("handed_in", "settled")

    def __init__(self) -> None:
        self.handed_in = 0
        self.settled = 0


class _Unit:
    """Entries that are committed together or not at all, and the function that gets the result.

    Each is let go as soon as it is done with, because the list of deadlines keeps the unit for a while.
    """

    __slots__ = ("entries", "is_answered", "is_settled", "on_answer", "tally")

    def __init__(
        self,
        entries: Sequence[StoreWrite],
        tally: _Tally,
        on_answer: Callable[[StoreError | None], None] | None = None,
    ) -> None:
        self.entries = entries
        self.tally = tally
        self.is_settled = False
        self.is_answered = False
        self.on_answer = on_answer

    def answer(self, error: StoreError | None) -> None:
        """Pass the result on. Only the first result counts."""
        if not self.is_answered:
            self.is_answered = True
            on_answer, self.on_answer = self.on_answer, None
            if on_answer is not None:
                on_answer(error)

    def settle(self, error: StoreError | None) -> None:
        """Note that the entries were committed, or have failed."""
        self.tally.settled += len(self.entries)
        self.is_settled = True
        self.entries = ()
        self.answer(error)


class Journal:
    """Write the entries of many writers to a store, in one commit at a time.

    Args:
        writer: the store or lease to write to. No other component commits to it meanwhile.
        telemetry_bound: the most posted events that may wait, at least 0. More are dropped and counted.
        batch: the most entries in one commit, at least 1, so that early writers of a large wave need not wait for the rest. A
            single writer may hand in more.

    Raises:
        UsageError: `telemetry_bound` is below 0 or `batch` below 1.
    """

    def __init__(self, writer: Writer, *, telemetry_bound: int = 10_000, batch: int = 1_000) -> None:
        if telemetry_bound < 0 or batch < 1:
            raise UsageError(f"Journal got {telemetry_bound=}, {batch=}, wants at least 0 and 1")
        self._writer = writer
        self._telemetry_bound = telemetry_bound
        self._batch = batch
        self._writes: deque[_Unit] = deque()
        self._telemetry: deque[AppendEvent] = deque()
        self._under_way: list[_Unit] = []
        self._timed: list[tuple[float, int, _Unit]] = []
        self._timed_came = trio.Event()
        self._timed_since = 0.0
        self._loop_busy = 0.0
        self._work = trio.Event()
        self._progress = trio.Event()
        self._started = False
        self._ended = False
        self._cause: Exception | None = None
        self._written = _Tally()
        self._posted = _Tally()
        self._commits = 0
        self._entries = 0
        self._failures = 0
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<Journal: {self.statistics()}>"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit the entries that are handed in, without end.

        Only this task writes to the store. It belongs in a service nursery.

        Raises:
            UsageError: it was started before.
            Exception: an error of the store that is not a StoreError, which is a bug. Every waiting writer gets a StoreError from
                it.

        Cancellation: ends the journal. A commit that has begun ends as the store defines. Every waiting writer gets a
            StoreError. Call `drain()` before cancelling.
        """
        if self._started:
            raise UsageError("Journal.run: it was started already")
        self._started = True
        bug: Exception
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            try:
                task_status.started()
                await self._commit_for_ever()
            except Exception as error:
                self._end(error)
                bug = error
                nursery.cancel_scope.cancel()
            except BaseException as error:
                self._end(error)
                raise
        raise bug

    async def _commit_for_ever(self) -> NoReturn:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._writes or self._telemetry:
                self._under_way = self._take()
                await self._commit(self._under_way)
                self._under_way = []

    async def _expire(self) -> None:
        """Answer writers whose time is over.

        One timer serves all writers, because a deadline for each writer would cost more than its commit.

        Only time in which the store could have answered counts. While the event loop runs other tasks, an answer that has arrived
        waits, and so does this task. Therefore the time by which this task wakes late postpones the end of every wait.
        """
        now, tick = self._timed_since, _SHORTEST_TICK
        while True:
            while self._timed and self._timed[0][2].is_answered:
                heappop(self._timed)
            if not self._timed:
                self._timed_came = trio.Event()
                await self._timed_came.wait()
                wakes_at = self._timed_since
            else:
                ends_at, _, unit = self._timed[0]
                wakes_at = min(ends_at + self._loop_busy, now + tick)
                await trio.sleep_until(wakes_at)
                if wakes_at == ends_at + self._loop_busy:
                    is_late = trio.current_time() > wakes_at  # an answer that arrived meanwhile is passed on first
                    await trio.sleep(_SHORTEST_TICK if is_late else 0)
                    unit.answer(StoreError("not written within journal_wait; still queued, may yet be written"))
            now = (
                trio.current_time()
            )  # read once, so that a pause of the process at any place makes the next wake-up late
            late = now - wakes_at
            self._loop_busy += late
            tick = _SHORTEST_TICK if late > _SHORTEST_TICK else min(2 * tick, _LONGEST_TICK)

    async def write(self, *entries: StoreWrite, within: float = math.inf) -> None:
        """Hand entries in, and wait until all of them are durable.

        All entries of a call are committed, or none. Calls are committed in their order. Calls before `run()` wait for it.

        Args:
            within: the most seconds to wait. Only time in which the store could have answered counts, so that a busy event loop
                ends no wait. Less than a millisecond counts as a millisecond.

        Raises:
            StoreError: the entries were not committed. If the journal has ended, they may have been; if the time was over, they
                may still be.

        Cancellation: ends the wait and recalls nothing. The entries are handed in and committed even if the caller was cancelled
            before the call, so that every order that may exist is on record.
        """
        if not entries:
            await trio.lowlevel.checkpoint()
            return
        answered, errors = trio.Event(), list[StoreError]()

        def take_answer(error: StoreError | None) -> None:
            if error is not None:
                errors.append(error)
            answered.set()

        self.hand_in(*entries, within=within, on_answer=take_answer)
        await answered.wait()
        if errors:
            raise errors[0]

    def hand_in(
        self,
        *entries: StoreWrite,
        within: float = math.inf,
        on_answer: Callable[[StoreError | None], None],
    ) -> None:
        """Hand entries in, as `write` does, without waiting for them.

        Args:
            within: as in `write`.
            on_answer: called once: with None when the entries are durable, or with the StoreError that `write` would raise.
        """
        if self._ended:
            on_answer(self._end_error())
            return
        unit = _Unit(entries, self._written, on_answer)
        self._writes.append(unit)
        self._written.handed_in += len(entries)
        self._work.set()
        if within < math.inf:
            now = trio.current_time()
            ends_at = now - self._loop_busy + max(within, _SHORTEST_TICK)
            heappush(self._timed, (ends_at, self._written.handed_in, unit))
            if not self._timed_came.is_set():
                self._timed_since = now
                self._timed_came.set()

    def post(self, *entries: AppendEvent) -> None:
        """Hand telemetry in. Never wait and never raise.

        Events without room are dropped and counted. Events are committed after the entries of all waiting writers. If their
        commit fails, they are dropped.
        """
        room = 0 if self._ended else max(0, self._telemetry_bound - len(self._telemetry))
        accepted = entries[:room]
        self._dropped += len(entries) - len(accepted)
        if accepted:
            self._telemetry.extend(accepted)
            self._posted.handed_in += len(accepted)
            self._work.set()

    async def drain(self) -> None:
        """Wait until everything handed in so far is committed or has failed. After the journal's end that is so at once."""
        await trio.lowlevel.checkpoint()
        await self._wait_settled(self._written, self._posted)

    async def flush(self) -> None:
        """Wait until everything that writers handed in so far is committed or has failed. Telemetry may still wait."""
        await trio.lowlevel.checkpoint()
        await self._wait_settled(self._written)

    async def _wait_settled(self, *tallies: _Tally) -> None:
        targets = [(tally, tally.handed_in) for tally in tallies]
        while any(tally.settled < target for tally, target in targets):
            await self._progress.wait()

    @property
    def is_behind(self) -> bool:
        """Whether an entry is not written although its writer's time is over. The store is stuck or slow then."""
        oldest = (*self._under_way, *([self._writes[0]] if self._writes else ()))
        return any(unit.is_answered and not unit.is_settled for unit in oldest)

    def statistics(self) -> JournalStatistics:
        """Return the figures of what was done so far."""
        return JournalStatistics(
            commits=self._commits,
            entries=self._entries,
            failures=self._failures,
            dropped=self._dropped,
            waiting=sum(tally.handed_in - tally.settled for tally in (self._written, self._posted)),
        )

    def _take(self) -> list[_Unit]:
        """Remove and return the next batch.

        It has the writers in the order of their calls. If no writer is left, telemetry fills the rest.
        """
        units: list[_Unit] = []
        room = self._batch
        while self._writes and (not units or len(self._writes[0].entries) <= room):
            unit = self._writes.popleft()
            units.append(unit)
            room -= len(unit.entries)
        events = min(room, len(self._telemetry))
        if not self._writes and events > 0:
            units.append(_Unit([self._telemetry.popleft() for _ in range(events)], self._posted))
        return units

    async def _commit(self, units: Sequence[_Unit]) -> None:
        try:
            await self._writer.commit([entry for unit in units for entry in unit.entries])
        except StoreError as error:
            if len(units) > 1:
                # Any unit may be the bad one. Each gets its own commit, so that no unit fails because of another one.
                for unit in units:
                    await self._commit([unit])
                return
            self._fail(units[0], error)
        else:
            self._commits += 1
            for unit in units:
                self._entries += len(unit.entries)
                unit.settle(None)
        self._report_progress()

    def _fail(self, unit: _Unit, error: StoreError) -> None:
        if unit.tally is self._posted:
            self._dropped += len(unit.entries)
        else:
            self._failures += 1
        unit.settle(error)

    def _report_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    def _end(self, error: BaseException) -> None:
        self._ended = True
        self._cause = error if isinstance(error, Exception) else None
        left = [unit for unit in self._under_way if not unit.is_settled]
        left += self._writes
        left.append(_Unit(list(self._telemetry), self._posted))
        self._writes.clear()
        self._telemetry.clear()
        for unit in left:
            self._fail(unit, self._end_error())
        self._report_progress()

    def _end_error(self) -> StoreError:
        error = StoreError("the journal has ended" + (f": {self._cause!r}" if self._cause else ""))
        error.__cause__ = self._cause
        return error
