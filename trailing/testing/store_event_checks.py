"""Checks of reading and following events, for every store."""

from __future__ import annotations

from datetime import datetime, timedelta

import trio

from trailing.errors import UsageError
from trailing.events import Event, StopMoved, StopOpened
from trailing.stores.port import AppendEvent, Store
from trailing.testing.store_assertions import FOLLOW_SECONDS, HERE, read, require_growing, same
from trailing.testing.store_samples import HUGE, MOMENT, TINY, sample_alarm

_ELSEWHERE = ("testex", "second")


async def check_events(store: Store) -> None:
    """Check that events come back exactly, in their order, from a time on."""
    events: list[Event] = [
        StopOpened(
            at=MOMENT,
            symbol="AAA/USDT:USDT",
            side="short",
            quantity=HUGE,
            price=TINY,
            client_order_id="t1",
            unprotected_seconds=0.1,
        ),
        StopMoved(at=MOMENT, previous=TINY, price=HUGE, client_order_id="t2", reason="Callback"),
        *(sample_alarm(number) for number in range(1, 1_203)),
    ]
    await store.commit([AppendEvent(*HERE, events[0]), AppendEvent(*_ELSEWHERE, events[1])])
    await store.commit([AppendEvent(*HERE, event) for event in events[2:]])
    records = await read(store)
    same([record.event for record in records], events, "events come back exactly, in the order they were written")
    keys = [(record.exchange, record.account) for record in records[:3]]
    same(keys, [HERE, _ELSEWHERE, HERE], "an event keeps its exchange and account")
    require_growing(records)
    since = events[700].at
    same(await read(store, since), records[700:], "since: the events at that time or later, to the microsecond")
    same(await read(store, since + timedelta(days=1)), [], "since: none when all events are earlier")
    try:
        store.events(datetime(2026, 1, 1)).__aiter__()  # noqa: DTZ001 - a naive time must be refused
    except UsageError:
        pass
    else:
        raise AssertionError("events(): a time that is not aware UTC is a UsageError")


async def check_following(store: Store) -> None:
    """Check that a follower receives every event soon, and once."""
    from trio.testing import wait_all_tasks_blocked  # noqa: PLC0415 - it imports all of pytest, which takes half a second

    await store.commit([AppendEvent(*HERE, sample_alarm(number)) for number in (0, 1)])
    seen: list[Event] = []
    steps = {1: trio.Event(), 3: trio.Event()}

    async def follow() -> None:
        async for record in store.events(sample_alarm(1).at, follow=True):
            seen.append(record.event)
            if len(seen) in steps:
                steps[len(seen)].set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        with trio.move_on_after(FOLLOW_SECONDS):
            await steps[1].wait()
        await wait_all_tasks_blocked()
        await store.commit([AppendEvent(*HERE, sample_alarm(number)) for number in (2, 3)])
        with trio.move_on_after(FOLLOW_SECONDS):
            await steps[3].wait()
        nursery.cancel_scope.cancel()
    wanted = [sample_alarm(number) for number in (1, 2, 3)]
    same(seen, wanted, f"a follower sees what is there, and what comes within {FOLLOW_SECONDS} s, once and in order")
