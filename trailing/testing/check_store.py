"""The conformance test that every implementation of the `Store` port must pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal
from typing import TypeAlias

import msgspec
import trio

from trailing.errors import StoreError
from trailing.events import Alarm
from trailing.stores.port import (
    AddIntent,
    AppendEvent,
    CloseStop,
    Loaded,
    SaveStop,
    SettleIntent,
    Store,
    StoreWrite,
)
from trailing.testing.store_assertions import HERE, load, read, require_growing, same
from trailing.testing.store_event_checks import check_events, check_following
from trailing.testing.store_lease_checks import check_owning
from trailing.testing.store_prune_checks import check_pruning
from trailing.testing.store_samples import HUGE, MOMENT, sample_alarm, sample_intent, sample_record

StoreMaker: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]

_OTHERS = (("testex", "second"), ("otherex", "main"))
_EMPTY = Loaded(stops=(), intents=())


async def check_store(maker: StoreMaker, *, reopen: StoreMaker | None = None) -> None:
    """Check that a store keeps the contract of `trailing.stores.port.Store`.

    Run it on the real clock for a store that works in threads or over a network. It takes a second or two there.

    Args:
        maker: opens a new and empty store with each call.
        reopen: opens the store again that `maker` opened last and that has been closed since. None: this store keeps
            nothing when it is closed, and that is not checked.

    Raises:
        AssertionError: naming what does not hold.

    Cancellation: ends the present check.
    """
    checks: tuple[Callable[[Store], Awaitable[None]], ...] = (
        _check_an_empty_store,
        _check_records,
        _check_closing,
        _check_intents,
        _check_isolation,
        _check_all_or_nothing,
        _check_cancellation,
        check_events,
        check_following,
        check_pruning,
        _check_concurrency,
        check_owning,
    )
    for check in checks:
        async with maker() as store:
            await check(store)
    if reopen is not None:
        await _check_reopening(maker, reopen)


async def _check_an_empty_store(store: Store) -> None:
    same(tuple(await store.accounts()), (), "a new store has no accounts")
    same(await load(store, HERE), _EMPTY, "an account that was never written to is empty")
    same(await read(store), [], "a new store has no events")
    await store.commit([])


async def _check_records(store: Store) -> None:
    first = sample_record("AAA/USDT:USDT")
    second = sample_record("BBB/USDT:USDT", side="short", identity='the bot\'s "größte" 停')
    await store.commit([SaveStop(*HERE, first), SaveStop(*HERE, second)])
    loaded = await load(store, HERE)
    same(loaded.stops, (first, second), "records come back exactly and in order: 18 decimals, huge sizes, times")
    moved = msgspec.structs.replace(first, state="waiting", best=HUGE, seconds_since_move=None, orders=())
    await store.commit([SaveStop(*HERE, moved)])
    loaded = await load(store, HERE)
    same(loaded.stops, (moved, second), "a later save replaces the record and keeps its place")
    later = sample_record("AAA/USDT:USDT", opened_at=MOMENT + timedelta(microseconds=1))
    await store.commit([SaveStop(*HERE, later), SaveStop(*HERE, first), SaveStop(*HERE, moved)])
    loaded = await load(store, HERE)
    same(loaded.stops, (moved, second, later), "another position of the same symbol and side has its own record")


async def _check_closing(store: Store) -> None:
    record, other = sample_record("AAA/USDT:USDT"), sample_record("AAA/USDT:USDT", identity="another one")
    closed = msgspec.structs.replace(record, state="closed")
    await store.commit([SaveStop(*HERE, record), SaveStop(*HERE, other)])
    await store.commit([CloseStop(*HERE, closed)])
    same((await load(store, HERE)).stops, (other,), "a closed record is not loaded, others of its symbol are")
    late_entries: tuple[list[StoreWrite], ...] = (
        [SaveStop(*HERE, record)],
        [CloseStop(*HERE, closed), SaveStop(*HERE, record)],
    )
    for late in late_entries:
        await store.commit(late)
        same((await load(store, HERE)).stops, (other,), "no save brings a closed record back")
    unseen = sample_record("BBB/USDT:USDT")
    await store.commit([CloseStop(*HERE, unseen)])
    await store.commit([SaveStop(*HERE, unseen)])
    same((await load(store, HERE)).stops, (other,), "a record whose first entry closes it stays closed")
    intent = msgspec.structs.replace(
        sample_intent("e1", purpose="exit"), symbol="BBB/USDT:USDT", identity=unseen.position.identity
    )
    await store.commit([AddIntent(intent), SaveStop(*HERE, unseen)])
    same((await load(store, HERE)).stops, (other,), "an exit's intent opens no record")
    wanted = msgspec.structs.replace(intent, client_order_id="s1", purpose="stop")
    await store.commit([AddIntent(wanted), SaveStop(*HERE, unseen)])
    same((await load(store, HERE)).stops, (other, unseen), "a stop's intent opens its record again")
    back = msgspec.structs.replace(sample_intent("s2"), identity=record.position.identity)
    await store.commit([AddIntent(back)])
    expected = (closed, other, unseen)
    same((await load(store, HERE)).stops, expected, "opened again without a save: as written last, in its old place")
    await store.commit([CloseStop(*HERE, record), AddIntent(back)])
    expected = (record, other, unseen)
    same((await load(store, HERE)).stops, expected, "closed and opened again in one commit: as its closing wrote it")
    await store.commit([CloseStop(*HERE, open_record) for open_record in expected])
    await store.commit([SettleIntent(*HERE, client_order_id) for client_order_id in ("e1", "s1", "s2")])
    same(tuple(await store.accounts()), (), "an account with nothing open is not among the accounts")


async def _check_intents(store: Store) -> None:
    first, second, third = sample_intent("t1"), sample_intent("t2", purpose="exit", price=None), sample_intent("t0")
    await store.commit([AddIntent(first), AddIntent(second)])
    await store.commit([AddIntent(third)])
    intents = (await load(store, HERE)).intents
    same(intents, (first, second, third), "intents come back exactly, in the order they were written")
    await store.commit([AddIntent(msgspec.structs.replace(first, quantity=Decimal(1)))])
    intents = (await load(store, HERE)).intents
    same(intents, (first, second, third), "adding an intent again is no error and replaces nothing")
    await store.commit([SettleIntent(*HERE, "t1"), SettleIntent(*HERE, "never added")])
    await store.commit([SettleIntent(*HERE, "t1")])
    intents = (await load(store, HERE)).intents
    same(intents, (second, third), "a settled intent is not loaded; settling one that is not open is no error")


async def _check_isolation(store: Store) -> None:
    record = sample_record("AAA/USDT:USDT")
    everyone = (HERE, *_OTHERS)
    intents = {key: sample_intent("t1", *key) for key in everyone}
    await store.commit([SaveStop(*key, record) for key in everyone] + [AddIntent(intents[key]) for key in everyone])
    same(tuple(await store.accounts()), tuple(sorted(everyone)), "accounts() names every account, once and sorted")
    await store.commit([CloseStop(*HERE, record), SettleIntent(*HERE, "t1")])
    same(await load(store, HERE), _EMPTY, "an account whose stops and intents have all ended is empty")
    for key in _OTHERS:
        expected = Loaded(stops=(record,), intents=(intents[key],))
        same(await load(store, key), expected, "what one (exchange, account) writes does not touch another")
    same(tuple(await store.accounts()), tuple(sorted(_OTHERS)), "accounts() names those with something open")


async def _check_all_or_nothing(store: Store) -> None:
    kept = Loaded(stops=(sample_record("AAA/USDT:USDT"),), intents=(sample_intent("t1"),))
    await store.commit([SaveStop(*HERE, kept.stops[0]), AddIntent(kept.intents[0])])
    naive = MOMENT.replace(tzinfo=None)
    bad: tuple[StoreWrite, ...] = (
        AppendEvent(*HERE, Alarm(at=naive, what="naive")),
        AddIntent(msgspec.structs.replace(sample_intent("t9"), at=naive)),
    )
    others: tuple[StoreWrite, ...] = (
        AddIntent(sample_intent("t2")),
        SettleIntent(*HERE, "t1"),
        CloseStop(*HERE, kept.stops[0]),
        SaveStop(*HERE, sample_record("BBB/USDT:USDT")),
        AppendEvent(*HERE, sample_alarm(0)),
    )
    for wrong in bad:
        for entries in ((*others, wrong), (wrong, *others)):
            try:
                await store.commit(entries)
            except StoreError:
                pass
            else:
                raise AssertionError("a time of day that is not aware UTC is a StoreError")
            same(await load(store, HERE), kept, "a commit that fails changes nothing")
            same(await read(store), [], "a commit that fails appends nothing")
    await store.commit(others)
    loaded = await load(store, HERE)
    same(loaded.intents, (sample_intent("t2"),), "a commit after one that failed is written")


async def _check_cancellation(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.commit(_pair(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.commit, _pair(1))
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    await store.commit(_pair(2))
    await _require_whole_pairs(store, at_least={2})


async def _check_concurrency(store: Store) -> None:
    tasks, commits = 20, 5

    async def write(task: int) -> None:
        for commit in range(commits):
            number = task * commits + commit
            await store.commit([*_pair(number), AppendEvent(*HERE, sample_alarm(number))])

    async with trio.open_nursery() as nursery:
        for task in range(tasks):
            nursery.start_soon(write, task)
    await _require_whole_pairs(store, at_least=set(range(tasks * commits)))
    records = await read(store)
    require_growing(records)
    numbers = [int(record.event.detail) for record in records if isinstance(record.event, Alarm)]
    same(sorted(numbers), list(range(tasks * commits)), "many commits at once: each event is there, once")
    for task in range(tasks):
        own = [number for number in numbers if number // commits == task]
        same(own, sorted(own), "many commits at once: those of one task keep their order")


async def _check_reopening(maker: StoreMaker, reopen: StoreMaker) -> None:
    record, closed = sample_record("AAA/USDT:USDT"), sample_record("BBB/USDT:USDT")
    async with maker() as store:
        await store.commit([SaveStop(*HERE, record), CloseStop(*HERE, closed), *_pair(0)])
        await store.commit([AppendEvent(*HERE, sample_alarm(0))])
        loaded, records = await load(store, HERE), await read(store)
    async with reopen() as store:
        same(await load(store, HERE), loaded, "stops and intents outlive the closing of the store")
        same(await read(store), records, "events outlive the closing of the store, with their numbers")
        await store.commit([SaveStop(*HERE, closed), AppendEvent(*HERE, sample_alarm(1))])
        same((await load(store, HERE)).stops, (record,), "what was closed stays closed in a store that was reopened")
        require_growing(await read(store))
    async with maker() as store:
        same(tuple(await store.accounts()), (), "the maker's next store is another one, and empty")


async def _require_whole_pairs(store: Store, *, at_least: set[int]) -> None:
    ids = [intent.client_order_id for intent in (await load(store, HERE)).intents]
    firsts, seconds = ([int(id_[1:]) for id_ in ids if id_[0] == letter] for letter in "ab")
    same(firsts, seconds, "each commit is there as a whole, or not at all")
    if not at_least <= set(firsts):
        raise AssertionError(f"what was committed is there: {sorted(at_least - set(firsts))} is missing")


def _pair(number: int) -> list[StoreWrite]:
    return [AddIntent(sample_intent(f"{letter}{number}")) for letter in "ab"]
