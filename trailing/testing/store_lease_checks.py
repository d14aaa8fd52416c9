"""Checks of leases, for every store: an account has one owner at a time."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime

import msgspec
import trio

from trailing.errors import LeaseLost, StoreError
from trailing.stores.port import AddIntent, CloseStop, Intent, Lease, SaveStop, SettleIntent, Store, StoreWrite
from trailing.testing.store_assertions import HERE
from trailing.testing.store_samples import sample_intent, sample_record

HAND_OVER_SECONDS = 10.0
"""Seconds in which a standby must own an account whose owner has ended in order."""

_OTHERS = (("testex", "second"), ("otherex", "main"))


class _Broken(Exception):
    pass


async def check_owning(store: Store) -> None:
    """Check owners, former owners and standbys."""
    first = await _check_an_owner(store)
    await _check_a_former_owner(store, first)
    await _check_standing_by(store)
    await _check_cancelled_while_standing_by(store)


def _own(store: Store, mark: str, *, standby: bool = False) -> AbstractAsyncContextManager[Lease]:
    return store.acquire_lease(*HERE, mark=mark, standby=standby)


async def _check_an_owner(store: Store) -> Lease:
    await _require_owner(store, owned=False)
    async with _own(store, "0001") as lease:
        if lease.lost is not None or not lease.held_until > trio.current_time() or not lease.seconds > 0:
            raise AssertionError(
                f"a new lease is held and not lost: got lost {lease.lost!r}, held_until {lease.held_until}"
            )
        await lease.commit([AddIntent(sample_intent("t1")), SaveStop(*HERE, sample_record("AAA/USDT:USDT"))])
        await _require_ids(store, ["t1"], "what an owner commits is there")
        await _require_refused(store)
        await _require_owner(store, owned=True)
        for other in _OTHERS:
            async with store.acquire_lease(*other, mark="0002") as another:
                await another.commit([AddIntent(sample_intent("t1", *other))])
        naive = msgspec.structs.replace(sample_intent("t9"), at=datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time must be refused
        try:
            await lease.commit([AddIntent(sample_intent("t2")), AddIntent(naive)])
        except LeaseLost as error:
            raise AssertionError("a wrong entry does not end the lease") from error
        except StoreError:
            pass
        else:
            raise AssertionError("an owner's entries are checked, too: a naive time of day is a StoreError")
        await _require_ids(store, ["t1"], "an owner's commit that fails changes nothing")
        lease.busy_until = max(lease.busy_until, trio.current_time())
    return lease


async def _require_owner(store: Store, *, owned: bool) -> None:
    owner = await store.lease_owner(*HERE)
    if (owner is not None) is not owned:
        raise AssertionError(f"lease_owner says who owns an account, and None if it is free: got {owner!r}")


async def _check_a_former_owner(store: Store, former: Lease) -> None:
    try:
        async with _own(store, "0003"):
            raise _Broken
    except _Broken:
        pass
    async with _own(store, "0004") as lease:
        writes: tuple[StoreWrite, ...] = (
            AddIntent(sample_intent("late")),
            SettleIntent(*HERE, "t1"),
            SaveStop(*HERE, sample_record("BBB/USDT:USDT")),
            CloseStop(*HERE, sample_record("AAA/USDT:USDT")),
        )
        before = await store.load(*HERE)
        for entries in ([write] for write in writes):
            try:
                await former.commit(entries)
            except LeaseLost:
                pass
            else:
                raise AssertionError(f"a former owner's {type(entries[0]).__name__} is LeaseLost")
        loaded = await store.load(*HERE)
        if (tuple(loaded.stops), tuple(loaded.intents)) != (tuple(before.stops), tuple(before.intents)):
            raise AssertionError("what a former owner commits is not written")
        with trio.move_on_after(HAND_OVER_SECONDS) as scope:
            try:
                await former.wait_renewed()
            except LeaseLost:
                pass
            else:
                raise AssertionError("a former owner's lease is not renewed any more")
        if scope.cancelled_caught:
            raise AssertionError("a former owner that waits for the next renewal gets LeaseLost")
        if former.lost is None:
            raise AssertionError("a former owner's lease has `lost` set")
        await lease.commit([SettleIntent(*HERE, "t1")])
        await _require_ids(store, [], "the present owner goes on")


async def _check_standing_by(store: Store) -> None:
    order = list[str]()

    async def stand_by(nursery: trio.Nursery) -> None:
        async with _own(store, "0006", standby=True) as lease:
            order.append("second")
            await lease.commit([AddIntent(sample_intent("t3"))])
        nursery.cancel_scope.cancel()

    with trio.move_on_after(1.0 + HAND_OVER_SECONDS) as scope:
        async with trio.open_nursery() as nursery:
            async with _own(store, "0005") as lease:
                nursery.start_soon(stand_by, nursery)
                await trio.sleep(1.0)
                await lease.commit([AddIntent(sample_intent("t2"))])
                order.append("first")
            await trio.sleep_forever()
    if scope.cancelled_caught:
        raise AssertionError(f"a standby owns the account {HAND_OVER_SECONDS} s after its owner has ended")
    if order != ["first", "second"]:
        raise AssertionError("a standby owns the account only once its owner has ended")
    await _require_ids(store, ["t2", "t3"], "what both owners committed is there")


async def _check_cancelled_while_standing_by(store: Store) -> None:
    async with _own(store, "0007"):
        with trio.move_on_after(0.5) as scope:
            async with _own(store, "0008", standby=True):
                raise AssertionError("two own one account")
        if not scope.cancelled_caught:
            raise AssertionError("a standby can be cancelled")
    async with _own(store, "0009"):
        pass


async def _require_refused(store: Store) -> None:
    try:
        async with _own(store, "0000"):
            raise AssertionError("a second owner of an account gets LeaseLost")
    except LeaseLost:
        pass


async def _require_ids(store: Store, wanted: list[str], what: str) -> None:
    intents: list[Intent] = list((await store.load(*HERE)).intents)
    ids = [intent.client_order_id for intent in intents]
    if ids != wanted:
        raise AssertionError(f"{what}: got {ids}, wanted {wanted}")
