"""The journal: many writers, one durable commit at a time (group commit).

A commit costs the disk's time whether it carries one entry or a thousand. So writers hand their entries in and wait,
and one task commits everything that waits as one transaction, while the next ones gather.
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
"""Seconds that the task which ends waiting sleeps at a time. So much of a busy pass of the event loop counts as waiting
at most: the shortest while the loop is busy, the longest in the pass in which it gets busy."""


class JournalStatistics(msgspec.Struct, frozen=True):
    """What a journal has done so far.

    Args:
        commits: transactions that were committed.
        entries: entries in them, telemetry included.
        failures: calls of `write()` whose entries were not committed, or not surely.
        dropped: telemetry that was not committed, or not surely: there was no room, its commit failed, or the journal
            ended.
        waiting: entries handed in and neither committed nor failed, telemetry included.
    """

    commits: int
    entries: int
    failures: int
    dropped: int
    waiting: int


class _Tally:
    """How many entries of one kind were handed in, and how many of them were committed or failed, in that order."""

    __slots__ = ("handed_in", "settled")

    def __init__(self) -> None:
        self.handed_in = 0
        self.settled = 0


class _Unit:
    """Entries that are committed together or not at all, and who is to know how that ended."""

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
        """Say how it ended; only the first answer counts."""
        if not self.is_answered:
            self.is_answered = True
            if self.on_answer is not None:
                self.on_answer(error)


class Journal:
    """Writes entries to a store, those of many writers in one commit.

    Args:
        writer: the store or lease to write to. No other component commits to it meanwhile.
        telemetry_bound: how many posted events may wait; more are dropped and counted.
        batch: how many entries one commit carries at most, unless a single writer hands in more, so that early
            writers of a large wave need not wait for the rest.

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
        """Commit what is handed in, for ever: the one task that writes. It belongs in a service nursery.

        Raises:
            UsageError: it runs, or has run, already.
            Exception: what the store raised that is not a StoreError: a bug. Every writer that waits gets a StoreError
                from it.

        Cancellation: ends the journal. A commit under way ends as its store says; every writer that still waits gets a
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
        """Answer writers whose time is over. One timer for all: a deadline for each would cost more than its commit.

        Only time in which the store could have answered counts. An answer that is there waits while the event loop runs
        other tasks, and so does this one: the time by which it wakes late is the loop's own, and postpones every end.
        """
        tick = _SHORTEST_TICK
        while True:
            while self._timed and self._timed[0][2].is_answered:
                heappop(self._timed)
            if not self._timed:
                self._timed_came = trio.Event()
                await self._timed_came.wait()
                wakes_at = self._timed_since
            else:
                ends_at, _, unit = self._timed[0]
                wakes_at = min(ends_at + self._loop_busy, trio.current_time() + tick)
                await trio.sleep_until(wakes_at)
                if wakes_at == ends_at + self._loop_busy:
                    await trio.lowlevel.checkpoint()  # an answer that has just come is passed on first
                    unit.answer(StoreError("not written within journal_wait; still queued, may yet be written"))
            late = trio.current_time() - wakes_at
            self._loop_busy += late
            tick = _SHORTEST_TICK if late > _SHORTEST_TICK else min(2 * tick, _LONGEST_TICK)

    async def write(self, *entries: StoreWrite, within: float = math.inf) -> None:
        """Hand entries in, and wait until they are durable: all of them, or none.

        Calls are committed in their order. Before `run()` has begun they wait for it.

        Args:
            within: seconds to wait at most. Only time in which the store could have answered counts, so that a busy
                event loop ends no waiting; less than a millisecond is a millisecond.

        Raises:
            StoreError: these entries were not committed; where the journal has ended, or the time was over: not surely.

        Cancellation: ends the waiting and recalls nothing. The entries were handed in, even where the caller was
        cancelled before, and are committed all the same: what may exist is on the books.
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
            within: as of `write`.
            on_answer: called once, with None when they are durable, or with the StoreError that `write` would raise.
        """
        if self._ended:
            on_answer(self._end_error())
            return
        unit = _Unit(entries, self._written, on_answer)
        self._writes.append(unit)
        self._written.handed_in += len(entries)
        self._work.set()
        if within < math.inf:
            ends_at = trio.current_time() - self._loop_busy + max(within, _SHORTEST_TICK)
            heappush(self._timed, (ends_at, self._written.handed_in, unit))
            if not self._timed_came.is_set():
                self._timed_since = trio.current_time()
                self._timed_came.set()

    def post(self, *entries: AppendEvent) -> None:
        """Hand telemetry in. Never waits and never raises: what there is no room for is dropped and counted.

        It is committed behind the entries of the writers that wait. Where its commit fails it is dropped.
        """
        room = 0 if self._ended else max(0, self._telemetry_bound - len(self._telemetry))
        accepted = entries[:room]
        self._dropped += len(entries) - len(accepted)
        if accepted:
            self._telemetry.extend(accepted)
            self._posted.handed_in += len(accepted)
            self._work.set()

    async def drain(self) -> None:
        """Wait until everything that was handed in so far is committed or has failed; in an ended journal it has."""
        await trio.lowlevel.checkpoint()
        await self._wait_settled(self._written, self._posted)

    async def flush(self) -> None:
        """Wait until everything that writers have handed in so far is committed or has failed; telemetry may be left."""
        await trio.lowlevel.checkpoint()
        await self._wait_settled(self._written)

    async def _wait_settled(self, *tallies: _Tally) -> None:
        targets = [(tally, tally.handed_in) for tally in tallies]
        while any(tally.settled < target for tally, target in targets):
            await self._progress.wait()

    @property
    def is_behind(self) -> bool:
        """Whether something is not written yet for which its writer has stopped waiting: the store is stuck, or slow."""
        oldest = (*self._under_way, *([self._writes[0]] if self._writes else ()))
        return any(unit.is_answered and not unit.is_settled for unit in oldest)

    def statistics(self) -> JournalStatistics:
        """What was done so far."""
        return JournalStatistics(
            commits=self._commits,
            entries=self._entries,
            failures=self._failures,
            dropped=self._dropped,
            waiting=sum(tally.handed_in - tally.settled for tally in (self._written, self._posted)),
        )

    def _take(self) -> list[_Unit]:
        """The next batch: writers in the order of their calls, telemetry behind the last of them."""
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
                # Any of them may be the bad one: each gets a commit of its own, so that only its own failure is its.
                for unit in units:
                    await self._commit([unit])
                return
            self._fail(units[0], error)
        else:
            self._commits += 1
            for unit in units:
                self._entries += len(unit.entries)
                self._settle(unit)
        self._report_progress()

    def _fail(self, unit: _Unit, error: StoreError) -> None:
        if unit.tally is self._posted:
            self._dropped += len(unit.entries)
        else:
            self._failures += 1
        self._settle(unit, error)

    def _settle(self, unit: _Unit, error: StoreError | None = None) -> None:
        unit.tally.settled += len(unit.entries)
        unit.is_settled = True
        unit.answer(error)

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
