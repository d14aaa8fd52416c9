"""One manager at a time owns an account: who comes second is refused or stands by, and takes over."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import structlog
import trio
from worlds import BTC, PLAN, START, a_position, open_listened, open_world, some_positions

import trailing
from trailing import LeaseLost, StoreError, UsageError
from trailing.events import AwaitsLease, TookOver
from trailing.stores import MemoryStore
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import Lease, StoreWrite
from trailing.testing import At, Fails, Hangs

D = Decimal


async def test_fm31_a_second_manager_on_an_account_is_refused_before_it_reads_or_writes_anything(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect(settle=0.0)
        reads, writes = len(world.exchange.calls), len(world.store.calls)
        with pytest.raises(LeaseLost, match="paper default is owned by another manager"):
            async with trailing.open_manager(world.exchange, world.store, PLAN):
                raise AssertionError("two managers own one account")
        assert [call.operation for call in world.store.calls[writes:]] == ["acquire_lease"]
        assert len(world.exchange.calls) == reads
        await world.check(a_position())


async def test_the_accounts_of_a_store_are_owned_each_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_world() as world,
        trailing.open_paper(account="second") as other,
        trailing.open_manager(other, world.store, PLAN) as manager,
    ):
        await other.enter(a_position())
        assert isinstance(await manager.protect(a_position(), deadline=5.0), trailing.Protected)


async def test_an_account_is_free_again_once_its_manager_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        for _ in range(3):
            async with open_listened(world):
                pass
        with pytest.raises(ZeroDivisionError):
            async with open_listened(world):
                raise ZeroDivisionError
        async with open_listened(world):
            pass


async def test_one_that_stands_by_waits_touches_nothing_and_takes_over_what_is_stored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with open_world(with_manager=False) as world:
        taken: list[float] = []
        log: list[Any] = []

        async def stand_by() -> None:
            with structlog.testing.capture_logs() as logged:
                log.append(logged)
                async with trailing.open_manager(world.paper, world.memory, PLAN, standby=True) as second:
                    taken.append(trio.current_time())
                    assert second.stops()[BTC].price == D(98)
                    world.feed("103")
                    await trio.sleep(2)
                    assert second.stops()[BTC].price > D(101)

        async with trio.open_nursery() as nursery, open_listened(world) as first:
            await world.enter(a_position())
            await first.protect(a_position(), deadline=5.0)
            nursery.start_soon(stand_by)
            await trio.sleep(100)
            assert taken == []
            ended_at = trio.current_time()
        assert taken == [ended_at + world.paper.orders_read_lag]
        waits, took_over = (entry for entry in log[0] if entry["event"] in {"AwaitsLease", "TookOver"})
        assert waits["owner"].startswith("paper default is owned by another manager")
        assert took_over["waited"] == 100
        kept = [record.event async for record in world.memory.events()]
        assert [event.waited for event in kept if isinstance(event, TookOver)] == [100.0]
        assert not any(isinstance(event, AwaitsLease) for event in kept)
        assert len(await world.live()) == 1


async def test_a_standby_on_a_free_account_takes_over_at_once_without_an_event(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        async with trailing.open_manager(world.exchange, world.store, PLAN, standby=True):
            assert trio.current_time() == world.started
        assert [record async for record in world.memory.events()] == []


async def test_one_that_stands_by_can_be_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        with trio.move_on_after(50) as scope:
            async with trailing.open_manager(world.exchange, world.store, PLAN, standby=True):
                raise AssertionError("two managers own one account")
        assert scope.cancelled_caught
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), trailing.Protected)


async def test_the_account_is_owned_until_all_is_written(autojump_clock: trio.testing.MockClock) -> None:
    order: list[str] = []

    class Slow(MemoryStore):
        @asynccontextmanager
        async def acquire_lease(self, *account: str, **options: Any) -> AsyncIterator[Lease]:  # type: ignore[override]
            async with super().acquire_lease(*account, **options) as lease:

                async def commit(entries: Sequence[StoreWrite]) -> None:
                    await trio.sleep(1)
                    await lease.commit(entries)
                    order.append("written")

                try:
                    yield LeaseProxy(lease, commit)
                finally:
                    order.append("free")

    async with trailing.open_paper() as paper:
        with trio.move_on_after(2.5):
            async with trailing.open_manager(paper, Slow(), PLAN, utc_start=START) as manager:
                for position in some_positions(3):
                    await paper.enter(position)
                await manager.protect_wave(some_positions(3), deadline=20.0)
                await trio.sleep_forever()
    assert order.index("free") == len(order) - 1
    assert order.count("written") > 2


async def test_an_order_that_the_last_owner_could_not_write_down_is_taken_for_ours(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # Its store was down from its first order on, so nothing stored tells of it but the owner's mark.
    faults = {At("commit"): Fails(StoreError("the disk is full"))}
    async with open_world(with_manager=False, store_faults=faults) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            outcome = await manager.protect(a_position(), deadline=5.0)
            assert isinstance(outcome, trailing.Protected)
        world.store = world.memory  # type: ignore[assignment]
        async with open_listened(world) as manager:
            adopted = await manager.adopt(*BTC, deadline=5.0)
            assert isinstance(adopted, trailing.Protected)
            assert adopted.stop == outcome.stop


@pytest.mark.parametrize("standby", [False, True])
async def test_a_store_that_can_not_tell_who_owns_the_account_is_an_error(
    standby: bool, autojump_clock: trio.testing.MockClock
) -> None:
    faults = {At("acquire_lease"): Fails(StoreError("no way to the store"))}
    async with open_world(with_manager=False, store_faults=faults) as world:
        with pytest.raises(StoreError, match="no way to the store"):
            async with trailing.open_manager(world.exchange, world.store, PLAN, standby=standby):
                raise AssertionError("it is not owned")


async def test_a_manager_that_is_refused_while_it_waits_for_the_store_sends_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, store_faults={At("acquire_lease"): Hangs()}) as world:
        with trio.move_on_after(5):
            async with trailing.open_manager(world.exchange, world.store, PLAN):
                raise AssertionError("it is not owned")
        assert len(world.exchange.calls) == 0


async def test_a_plan_that_is_none_is_refused_before_the_account_is_owned(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        with pytest.raises(UsageError, match="plan got None"):
            async with trailing.open_manager(world.exchange, world.store, None):  # type: ignore[arg-type]
                raise AssertionError("no plan is no plan")
        assert len(world.store.calls) == 0
