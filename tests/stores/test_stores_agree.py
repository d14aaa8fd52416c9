"""After any commits, every store holds the same as the memory store.

The memory store writes entry by entry. The other stores compact the entries of a commit, table by table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import a_schema, in_schema

from trailing.errors import StoreError
from trailing.events import Alarm
from trailing.stores import MemoryStore, open_store
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, SaveStop, SettleIntent, Store, StoreWrite
from trailing.testing.store_samples import MOMENT, sample_alarm, sample_intent, sample_record

HERE = ("testex", "main")
RECORDS = [sample_record("AAA/USDT:USDT"), sample_record("AAA/USDT:USDT", identity="another")]

_examples = itertools.count(1)


@st.composite
def entries(draw: st.DrawFn) -> StoreWrite:
    """Draw an entry of one of two positions and two orders; sometimes an invalid one."""
    number = draw(st.integers(0, 9))
    record = msgspec.structs.replace(draw(st.sampled_from(RECORDS)), foreign_ticks=number)
    intent = msgspec.structs.replace(
        sample_intent(draw(st.sampled_from("ab")), purpose=draw(st.sampled_from(["stop", "stop", "exit"]))),
        identity=record.position.identity,
        quantity=Decimal(number),
    )
    naive = Alarm(at=MOMENT.replace(tzinfo=None), what="naive")
    kinds: list[StoreWrite] = [
        SaveStop(*HERE, record),
        CloseStop(*HERE, record),
        AddIntent(intent),
        SettleIntent(*HERE, intent.client_order_id),
        AppendEvent(*HERE, sample_alarm(number) if number else naive),
    ]
    return draw(st.sampled_from(kinds))


Batches = Sequence[Sequence[StoreWrite]]
batches = st.lists(st.lists(entries(), max_size=8), max_size=4)


def with_exchange(exchange: str, entry: StoreWrite) -> StoreWrite:
    if isinstance(entry, AddIntent):
        return AddIntent(msgspec.structs.replace(entry.intent, exchange=exchange))
    return msgspec.structs.replace(entry, exchange=exchange)


async def committed(store: Store, batch: Sequence[StoreWrite]) -> bool:
    try:
        await store.commit(batch)
    except StoreError:
        return False
    return True


async def contents(store: Store, exchange: str) -> tuple[Any, ...]:
    events = [record.event async for record in store.events() if record.exchange == exchange]
    return await store.load(exchange, "main"), (exchange, "main") in await store.accounts(), events


def check_agreement(url: str, batches: Batches) -> None:
    """Commit the batches to both stores, under an exchange of this example, because opening a new store takes too long."""
    exchange, memory = f"example {next(_examples)}", MemoryStore()

    async def main() -> None:
        async with open_store(url) as store:
            for batch in batches:
                renamed = [with_exchange(exchange, entry) for entry in batch]
                assert await committed(store, renamed) == await committed(memory, renamed)
                assert await contents(store, exchange) == await contents(memory, exchange)

    trio.run(main)


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('agree')}/trailing.db"


@pytest.fixture(scope="module")
def postgres_url(dsn: str) -> Iterator[str]:
    with a_schema(dsn) as schema:
        yield in_schema(dsn, schema)


@settings(max_examples=60, deadline=None)
@given(batches=batches)
def test_the_sqlite_store_holds_the_same_as_the_memory_store(sqlite_url: str, batches: Batches) -> None:
    check_agreement(sqlite_url, batches)


@settings(max_examples=40, deadline=None)
@given(batches=batches)
def test_the_postgres_store_holds_the_same_as_the_memory_store(postgres_url: str, batches: Batches) -> None:
    check_agreement(postgres_url, batches)
