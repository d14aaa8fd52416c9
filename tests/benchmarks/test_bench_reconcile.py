"""How long a reconcile of many protected positions blocks the loop at a time: the longest step of any task."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime
from decimal import Decimal

import trio
from figures import report
from inspection import Inspection

import trailing
from trailing import Callback, Percent, Position, Protected, TrailPlan
from trailing.cli import GC_THRESHOLDS
from trailing.stores import MemoryStore

COUNT = 10_000
RUNS = 5
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), reconcile_every=3600.0)
EXCHANGE = "trailing.exchanges.paper"
"""Tasks of the paper exchange, which works in this process, too: a real one does not."""


class LongestSteps(trio.abc.Instrument):
    """The longest step of each task in seconds, by its name."""

    def __init__(self) -> None:
        self.by_task: dict[str, float] = {}
        self._began: float | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._began is None:
            return  # it began before anything was measured
        seconds = time.thread_time() - self._began
        if seconds > self.by_task.get(task.name, 0.0):
            self.by_task[task.name] = seconds

    def longest(self) -> tuple[str, float]:
        """The task of the library with the longest step, and how long that took."""
        ours = {name: seconds for name, seconds in self.by_task.items() if not name.startswith(EXCHANGE)}
        return max(ours.items(), key=lambda item: item[1])


async def longest_steps() -> dict[str, tuple[str, float]]:
    """Protect the positions and reconcile them, with nothing changed and after an outage. Returns the longest steps."""
    now = datetime.now(UTC)
    positions = tuple(
        Position(f"COIN{number}/USDT:USDT", "long", Decimal("1.5"), Decimal(100), now) for number in range(COUNT)
    )
    found: dict[str, tuple[str, float]] = {}

    async def watch(what: str, manager: trailing.Manager) -> None:
        steps, inside = LongestSteps(), Inspection(manager)
        trio.lowlevel.add_instrument(steps)
        try:
            await trio.lowlevel.checkpoint()
            asked_at = trio.current_time()
            if what == "reconcile":
                inside.supervision.reader.want(asked_at)
            elif what == "outage":
                inside.reconcile_now()
            else:
                inside.supervision.feed.note_opened()
            while any(claim.checked_at < asked_at for claim in inside.claims()):
                await trio.sleep(0.05)
        finally:
            trio.lowlevel.remove_instrument(steps)
        task, seconds = steps.longest()
        if what not in found or seconds < found[what][1]:
            found[what] = task, seconds

    async with (
        trailing.open_paper(latency=0.0) as paper,
        trailing.open_manager(paper, MemoryStore(), PLAN) as manager,
    ):
        for position in positions:
            await paper.enter(position)
        wave = await manager.protect_wave(positions, deadline=60.0)
        assert all(isinstance(outcome, Protected) for outcome in wave.outcomes)
        for _ in range(RUNS):
            for what in ("reconcile", "outage", "stream"):
                await trio.sleep(3)
                await watch(what, manager)
    return found


def test_a_reconcile_does_not_block_the_loop() -> None:
    of_python = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with report(f"{COUNT:,} positions, memory: the longest step of any task, the best of {RUNS} runs") as figures:
            for what, (task, seconds) in trio.run(longest_steps).items():
                figures.add(f"{what}: {task.rpartition('protection.')[2]}", f"{seconds * 1e3:.1f} ms", "at most 20 ms")
    finally:
        gc.set_threshold(*of_python)
