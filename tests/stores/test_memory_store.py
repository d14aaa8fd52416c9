from __future__ import annotations

from datetime import datetime
from typing import cast

import pytest

from trailing.errors import StoreError
from trailing.events import Alarm
from trailing.stores import MemoryStore
from trailing.stores.port import AddIntent, AppendEvent, SaveStop, StoreWrite
from trailing.testing.store_samples import sample_alarm, sample_intent, sample_record


async def test_the_store_counts_commits_that_succeeded() -> None:
    store = MemoryStore()
    await store.commit([AddIntent(sample_intent("t1"))])
    with pytest.raises(StoreError):
        await store.commit([AppendEvent("testex", "main", Alarm(at=datetime(2026, 1, 1), what="naive"))])
    await store.commit([AddIntent(sample_intent("t2")), AddIntent(sample_intent("t3"))])
    assert store.commits == 2


async def test_the_repr_of_a_memory_store_has_the_numbers_of_its_rows() -> None:
    store = MemoryStore()
    await store.commit(
        [
            SaveStop("testex", "main", sample_record("AAA/USDT:USDT")),
            AddIntent(sample_intent("t1")),
            AddIntent(sample_intent("t2")),
            AppendEvent("testex", "main", sample_alarm(1)),
        ]
    )
    assert repr(store) == "<MemoryStore: 1 stops, 2 intents, 1 events>"


async def test_a_commit_with_an_invalid_entry_is_refused_as_a_whole() -> None:
    store = MemoryStore()
    with pytest.raises(StoreError, match="Alarm is not a StoreWrite"):
        await store.commit([AddIntent(sample_intent("t1")), cast("StoreWrite", sample_alarm(1))])
    assert await store.accounts() == []


async def test_a_follower_that_commits_while_reading_reads_its_own_events_too() -> None:
    store = MemoryStore()
    for number in range(1_500):
        await store.commit([AppendEvent("testex", "main", sample_alarm(number))])
    numbers = []
    async for record in store.events(follow=True):
        numbers.append(record.number)
        if len(numbers) < 1_500:
            continue
        if record.number == 3_000:
            break
        await store.commit([AppendEvent("testex", "main", sample_alarm(record.number))])
    assert numbers == list(range(1, 3_001))
