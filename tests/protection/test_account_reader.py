"""The reader of the account: how long it works at a time, and which snapshot answers which request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
import trio
from inspection.paper import push_stream_state
from worlds import BTC, SYMBOL, World, a_position, open_world, some_positions

from trailing import Protected
from trailing.core.account import SnapshotBuilder
from trailing.core.inputs import CheckWanted, PricesMissed, SnapshotTaken
from trailing.protection.account_reader import AT_ONCE, SORTED_AT_ONCE
from trailing.protection.position_task import PositionTask

D = Decimal

OTHER = a_position("ETH/USDT:USDT")


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
        assert work.most["sorted"] == SORTED_AT_ONCE
        assert work.total["sorted"] % len(positions) == 0
        assert all(claim.checked_at > trio.current_time() - 1 for claim in world.inside.claims())


# A snapshot that was asked for before a request tells nothing of it.

LISTS = ("positions", "open_stops")
LISTS_TAKE = 4.0  # seconds; the exchange looks at its books in the middle of them


async def protect_another(world: World) -> None:
    await world.enter(OTHER)
    assert isinstance(await world.running.protect(OTHER, deadline=10.0), Protected)


async def move(world: World) -> None:
    world.feed("105")
    await trio.sleep(1.5)
    assert world.running.stops()[BTC].price == D("103.95")


async def add(world: World) -> None:
    await world.enter(a_position(quantity=D("0.5")))
    await trio.sleep(1.5)


async def close_it(world: World) -> None:
    with trio.move_on_after(1.5):
        await world.running.close(*BTC, deadline=60.0)
    assert world.paper.actual(SYMBOL)[1] == {}


async def release(world: World) -> None:
    with trio.move_on_after(1.5):
        await world.running.release(*BTC, cancel_stop=True)
    assert world.paper.actual(SYMBOL)[0] == ()


@pytest.mark.parametrize("markets", [{"can_amend": True}, {"two_stops": True}, {"two_stops": False}], ids=str)
@pytest.mark.parametrize("act", [protect_another, move, add, close_it, release])
async def test_a_snapshot_that_is_shared_answers_no_request_that_was_made_after_it_was_asked_for(
    act: Callable[[World], Awaitable[None]], markets: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """The first one that waits is cancelled. The second one begins to wait while the same lists are on their way."""
    async with open_world(latency=lambda operation, _: LISTS_TAKE if operation in LISTS else 0.2, **markets) as world:
        await world.protect(deadline=10.0)
        await trio.sleep(20)
        world.inside.reconcile_now()  # its snapshot is under way from now on
        started, requests = trio.current_time(), world.calls("place_stop") + world.calls("amend_stop")
        with trio.move_on_after(LISTS_TAKE / 4) as leader:
            await world.inside.read_account()
        assert leader.cancelled_caught
        assert world.calls("open_stops") == world.calls("positions")
        await trio.sleep_until(started + LISTS_TAKE / 2 + 0.1)
        await act(world)
        joined = trio.current_time()
        assert joined < started + LISTS_TAKE
        snapshot = await world.inside.read_account()
        assert snapshot.asked_at >= joined
        await trio.sleep(30)
        assert world.running.stops() == {(stop.symbol, stop.side): stop for stop in await world.live()}
        made = world.calls("place_stop") + world.calls("amend_stop") - requests
        assert made == (1 if act in (protect_another, move, add) else 0)
        assert set(world.alarms()) <= {"the positions were not read beside the wave", "no price of its trigger source"}
