"""Checks of pruning, for every store."""

from __future__ import annotations

from datetime import datetime, timedelta

import trio

from trailing.errors import UsageError
from trailing.stores.port import AppendEvent, SaveStop, Store
from trailing.testing.store_assertions import FOLLOW_SECONDS, HERE, read, same
from trailing.testing.store_samples import MOMENT, sample_alarm, sample_record


async def check_pruning(store: Store) -> None:
    """Check that pruning deletes all old events and nothing else."""
    # Events of several writers are not quite in the order of their times.
    order = [3, 0, 2, *range(5, 1_205), 1, 4]
    kept = sample_record("AAA/USDT:USDT", opened_at=MOMENT - timedelta(days=1))
    await store.commit([SaveStop(*HERE, kept), *(AppendEvent(*HERE, sample_alarm(each)) for each in order)])
    before = await read(store)
    following = store.events(follow=True).__aiter__()
    seen = [(await anext(following)).number for _ in order]
    same(await store.prune(sample_alarm(0).at), 0, "prune() deletes nothing where nothing is old")
    same(await store.prune(sample_alarm(700).at), 700, "prune() returns how many events it deleted")
    left = [record for record in before if record.event.at >= sample_alarm(700).at]
    same(await read(store), left, "prune() deletes the events before the time and no others; numbers stay")
    same(tuple((await store.load(*HERE)).stops), (kept,), "prune() deletes no stop and no intent, however old")
    same(await store.prune(sample_alarm(9_999).at), len(left), "prune() deletes all that are before the time")
    await store.commit([AppendEvent(*HERE, sample_alarm(9_999))])
    (record,) = await read(store)
    if record.number <= seen[-1]:
        raise AssertionError("an event appended after pruning has a higher number than any that was deleted")
    with trio.fail_after(FOLLOW_SECONDS):
        same(await anext(following), record, "a follower goes on behind events that were pruned")
    try:
        await store.prune(datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time must be refused
    except UsageError:
        pass
    else:
        raise AssertionError("prune(): a time that is not aware UTC is a UsageError")
