"""The reader of the account: how long it works at a time, and which snapshot answers which request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
from inspection.paper import push_stream_state
from worlds import World, open_world, some_positions

from trailing.core.account import SnapshotBuilder
from trailing.core.inputs import CheckWanted, PricesMissed, SnapshotTaken
from trailing.protection.account_reader import AT_ONCE, SORTED_AT_ONCE
from trailing.protection.position_task import PositionTask


class _Work(trio.abc.Instrument):
    """Counts the inputs that positions take, and the entries that are sorted.

    Attributes:
        most: of each kind, how many in one step of a task at the most; `total`: how many in all.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.most = Counter[object]()
        self.total = Counter[object]()
        self._now = Counter[object]()
        step, sorting = PositionTask.step, SnapshotBuilder.add_stops

        def counted_step(task: PositionTask, what: Any) -> None:
            self._now[type(what)] += 1
            step(task, what)

        def counted_sorting(builder: SnapshotBuilder, stops: Any) -> None:
            self._now["sorted"] += len(stops)
            sorting(builder, stops)

        patch.setattr(PositionTask, "step", counted_step)
        patch.setattr(SnapshotBuilder, "add_stops", counted_sorting)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        for what, count in self._now.items():
            self.most[what] = max(self.most[what], count)
        self.total += self._now
        self._now.clear()


@pytest.mark.parametrize(
    ("happens", "what"),
    [
        (lambda world: world.inside.reconcile_now(), CheckWanted),
        (lambda world: world.inside.reconcile_now(), SnapshotTaken),
        (lambda world: push_stream_state(world.paper, connected=True), PricesMissed),
    ],
    ids=["check", "snapshot", "stream"],
)
async def test_what_concerns_many_positions_is_taken_in_by_some_of_them_at_a_time(
    happens: Callable[[World], None],
    what: Any,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    positions = some_positions(SORTED_AT_ONCE + 1)
    async with open_world(latency=0.1) as world:
        await world.protect(*positions)
        work = _Work(monkeypatch)
        trio.lowlevel.add_instrument(work)
        happens(world)
        await trio.sleep(1)
        trio.lowlevel.remove_instrument(work)
        assert work.total[what] >= len(positions)
        assert work.most[what] <= AT_ONCE
        assert work.most["sorted"] == SORTED_AT_ONCE < work.total["sorted"]
        assert all(claim.checked_at > trio.current_time() - 1 for claim in world.inside.claims())
