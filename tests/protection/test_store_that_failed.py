"""The store fails for some seconds and works again: what it holds then, and what the next manager makes of that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from worlds import BTC, START, SYMBOL, World, a_position, a_record, open_listened, open_world

from trailing import Position, Protected, StopOrder, StopRecord, UsageError
from trailing.core.entries import Entry
from trailing.errors import StoreError
from trailing.events import Alarm
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.protection.records import EventPublisher, Records
from trailing.stores.port import CloseStop, SaveStop, StoreWrite
from trailing.testing import At, Fails, Fault, Hangs, Unreachable

D = Decimal

NEXT = a_position(entry_price=D(101), opened_at=START + timedelta(seconds=60))
"""The position that the bot opens while the one before is ending. Its first stop is at 98.98."""


class Outage:
    """The store refuses every commit while `is_on`."""

    def __init__(self) -> None:
        self.is_on = False

    def __call__(self, operation: str, *_: Any) -> Fault | None:
        return Fails(StoreError("the disk is full")) if self.is_on and operation == "commit" else None


async def protect_a_later_one(world: World, **fields: Any) -> StopOrder:
    """Enter a position that opens now, and protect it. Returns its stop."""
    opened_at = START + timedelta(seconds=trio.current_time() - world.started)
    position = a_position(opened_at=opened_at, **fields)
    await world.enter(position)
    outcome = await world.running.protect(position, deadline=5.0)
    assert isinstance(outcome, Protected)
    return outcome.stop


async def kill(world: World, program: trio.CancelScope) -> None:
    """End the manager while the store refuses everything, as if the process were killed."""
    program.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()


# An orderly end.


@pytest.mark.parametrize("seconds", [1.0, 3.0])
async def test_a_position_protected_during_the_outage_is_stored_at_an_orderly_end(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """The manager ends before the refused record is due again."""
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        async with open_listened(world):
            await trio.sleep(1)
            outage.is_on = True
            (stop,) = await world.protect(settle=0.5)
            outage.is_on = False
            await trio.sleep(seconds)
        assert (await world.record()).orders == (stop,)
        async with open_listened(world):
            assert world.running.stops() == {BTC: stop}


async def test_a_position_released_during_the_outage_stays_released_after_an_orderly_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        async with open_listened(world):
            await world.protect()
            outage.is_on = True
            await world.running.release(*BTC, cancel_stop=True)
            outage.is_on = False
            await trio.sleep(2)
        async with open_listened(world):
            await trio.sleep(100)
            assert world.running.stops() == {}
        assert await world.live() == ()


# The next position of the symbol.


async def test_the_end_of_a_position_is_stored_before_the_next_one_of_its_symbol(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outage = Outage()
    async with open_world(latency=0.1, store_faults=outage) as world:
        await world.protect()
        outage.is_on = True
        world.feed("97")
        await trio.sleep(1.5)
        world.feed("100")
        await protect_a_later_one(world)
        await trio.sleep(1.5)
        assert (await world.record()).position == a_position()
        outage.is_on = False
        world.feed("103")
        await trio.sleep(0.5)
        assert (await world.record()).position == world.claim().position


@pytest.mark.parametrize("entry", ["110", "108", "120"])
async def test_a_position_keeps_its_stop_after_a_restart_although_the_end_of_the_one_before_was_refused(
    entry: str, autojump_clock: trio.testing.MockClock
) -> None:
    """The one before had trailed to 118.8, so that its state would close the next one or cancel its stop."""
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        async with open_listened(world):
            await world.protect(a_position(entry_price=D(110)))
            world.feed("120")
            await trio.sleep(5)
            outage.is_on = True
            world.feed("118")
            await trio.sleep(1.5)
            world.feed(entry)
            stop = await protect_a_later_one(world, entry_price=D(entry))
            outage.is_on = False
            await trio.sleep(20)
        async with open_listened(world):
            world.feed(entry)
            await trio.sleep(100)
            assert world.running.stops() == {BTC: stop}
        assert await world.live() == (stop,)


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_position_keeps_its_stop_after_a_restart_although_the_end_of_an_entry_before_was_refused(
    is_killed: bool, autojump_clock: trio.testing.MockClock
) -> None:
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        world.feed("100")
        with trio.CancelScope() as program:
            async with open_listened(world):
                async with trio.open_nursery() as callers:
                    entry = Entry(SYMBOL, "long", D("1.5"), limit=D(95))
                    callers.start_soon(lambda: world.running.enter(entry, deadline=5.0))
                    await trio.sleep(2)
                    outage.is_on = True
                await trio.sleep(1.5)
                stop = await protect_a_later_one(world)
                await trio.sleep(1.5)
                outage.is_on = False
                await trio.sleep(20)
                if is_killed:
                    outage.is_on = True
                    await kill(world, program)
        outage.is_on = False
        async with open_listened(world):
            await trio.sleep(100)
            assert world.running.stops() == {BTC: stop}
        assert await world.live() == (stop,)


# Two records of one key.


def saved(position: Position, seconds: float | None, orders: Sequence[StopOrder] = ()) -> StopRecord:
    """A record of a protected position. `seconds`: when it was saved, after `START`; None: unknown."""
    at = None if seconds is None else START + timedelta(seconds=seconds)
    return msgspec.structs.replace(a_record(position), state="waiting", saved_at=at, orders=tuple(orders))


async def store(world: World, *records: StopRecord) -> None:
    """Write records, in this order."""
    await world.memory.commit([SaveStop("paper", "default", record) for record in records])


async def conflicts(world: World) -> list[tuple[str | None, str]]:
    """The side and the detail of each alarm about two records of one key."""
    events = [record.event async for record in world.memory.events()]
    what = "two records claim one position"
    return [(event.side, event.detail) for event in events if isinstance(event, Alarm) and event.what == what]


async def a_stored_stop(world: World) -> StopOrder:
    """A live stop of a position whose manager has ended."""
    await world.protect_and_end()
    (stop,) = (await world.record()).orders
    return stop


OLD, NEW = a_position(id="old"), a_position(id="new")


@pytest.mark.parametrize(
    ("old_at", "new_at", "is_new_first"),
    [(10.0, 20.0, False), (10.0, 20.0, True), (None, 20.0, False), (None, 20.0, True), (None, None, False)],
)
async def test_the_record_that_was_saved_last_claims_the_key(
    old_at: float | None, new_at: float | None, is_new_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(NEW)
        records = [saved(OLD, old_at), saved(NEW, new_at)]
        await store(world, *(reversed(records) if is_new_first else records))
        async with open_listened(world):
            await trio.sleep(10)
            assert world.claim().position == NEW
            assert BTC in world.running.stops()
            assert (await world.record()).position == NEW
        assert await conflicts(world) == [("long", "long new is kept, old was saved before it")]


async def test_a_position_that_was_released_has_held_the_key_after_the_older_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The older one has ended, and the process was killed before the store took that."""
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(NEW)
        await store(world, saved(OLD, 10.0), msgspec.structs.replace(saved(NEW, 20.0), state="closed"))
        async with open_listened(world):
            await trio.sleep(100)
            assert (world.running.stops(), world.calls("place_stop")) == ({}, 0)
        assert await conflicts(world) == [("long", "long new is kept, old was saved before it")]
        assert await stored_positions(world) == {"new"}


async def test_a_position_that_was_given_up_and_has_an_order_left_is_restored_until_that_is_settled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        await world.enter(NEW)
        await store(world, msgspec.structs.replace(saved(NEW, 20.0), state="exiting", is_abandoned=True))
        async with open_listened(world):
            await trio.sleep(100)
            assert BTC in world.running.unprotected()


async def test_a_live_stop_of_the_older_record_is_adopted_before_that_record_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        stop = await a_stored_stop(world)
        (own,) = (await world.load()).stops
        await world.memory.commit([CloseStop("paper", "default", own)])
        await store(world, saved(OLD, 10, [stop]), saved(NEW, 20))
        async with open_listened(world):
            await trio.sleep(100)
            assert world.running.stops() == {BTC: stop}
            record = await world.record()
            assert (record.position, record.orders) == (NEW, (stop,))
            assert world.calls("cancel_stop") == 0
        assert await world.live() == (stop,)


async def store_other_side(world: World) -> Position:
    """Store `OLD` with a live stop behind no position, and then the open position of the other side. Returns that one.

    On an account without hedging, the two sides have one key.
    """
    stop = await a_stored_stop(world)
    (own,) = (await world.load()).stops
    await world.memory.commit([CloseStop("paper", "default", own)])
    new = a_position(side="short", id="new")
    world.paper.reduce(*BTC, D("1.5"))
    await world.enter(new)
    await store(world, saved(OLD, 10, [stop]), saved(new, 20))
    return new


async def stored_positions(world: World) -> set[str]:
    """The identities of the open records."""
    return {record.position.identity for record in (await world.load()).stops}


async def test_the_older_record_is_stored_until_its_stop_behind_no_position_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        new = await store_other_side(world)
        world.inject({At("cancel_stop", SYMBOL, 1): Unreachable()})
        async with open_listened(world):
            await trio.sleep(8)
            assert await stored_positions(world) == {"old", "new"}
            assert {one.side for one in await world.live()} == {"long", "short"}
            await trio.sleep(100)
            assert (await world.record()).position == new
            assert world.running.stops().keys() == {(SYMBOL, "short")}
        assert {one.side for one in await world.live()} == {"short"}


async def test_no_older_record_claims_a_key_whose_last_record_can_not_be_restored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        stop = await a_stored_stop(world)
        (own,) = (await world.load()).stops
        await store(world, msgspec.structs.replace(own, state="dreaming"), saved(OLD, -10))
        async with open_listened(world):
            await trio.sleep(100)
            assert world.inside.claimed() == set()
            assert world.running.unprotected()[BTC].position == own.position
        assert await world.live() == (stop,)
        assert (await world.record()).position == own.position


async def test_an_older_record_is_not_closed_if_its_position_is_protected_again_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world:
        new = await store_other_side(world)
        world.inject({At("cancel_stop"): Unreachable()})
        async with open_listened(world):
            await trio.sleep(8)
            await world.running.release(SYMBOL, "short", cancel_stop=False)
            (stop,) = [one for one in await world.live() if one.side == "short"]
            world.paper.cancel_by_hand(stop.client_order_id)
            world.paper.reduce(SYMBOL, "short", new.quantity)
            await world.enter(OLD)
            await world.running.protect(OLD, deadline=5.0)
            world.inject({})
            await trio.sleep(100)
            assert BTC in world.running.stops()
            assert "old" in await stored_positions(world)


# A position that waits for its key.


async def let_one_wait(world: World, outage: Outage) -> None:
    """Have `NEXT` wait for a key whose claim does not end, while the store refuses its record."""
    world.inject({At("cancel_stop", SYMBOL): Hangs()})
    await world.protect()
    world.paper.reduce(*BTC, D("1.5"))
    with trio.fail_after(10):
        while not world.calls("cancel_stop"):
            await trio.sleep(0.1)
    await world.enter(NEXT)
    outage.is_on = True
    await world.running.protect(NEXT, deadline=1.0)
    await trio.sleep(2)
    outage.is_on = False


async def is_waiting_in_store(world: World) -> bool:
    """Whether the store holds `NEXT` as a position that waits for its key."""
    return any(record.position == NEXT and record.is_waiting for record in (await world.load()).stops)


async def test_a_position_that_waits_for_its_key_is_stored_once_the_store_works_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        with trio.CancelScope() as program:
            async with open_listened(world):
                await let_one_wait(world, outage)
                assert not await is_waiting_in_store(world)
                await trio.sleep(300)
                assert await is_waiting_in_store(world)
                outage.is_on = True
                await kill(world, program)
        outage.is_on = False
        world.inject({})
        async with open_listened(world):
            await trio.sleep(100)
            assert world.running.stops()[BTC].price == D("98.98")
        record = await world.record()
        assert (record.position, record.is_waiting) == (NEXT, False)


async def test_a_position_that_waits_for_its_key_is_stored_at_an_orderly_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world:
        async with open_listened(world):
            await let_one_wait(world, outage)
            assert not await is_waiting_in_store(world)
        assert await is_waiting_in_store(world)


async def test_a_position_that_got_its_key_after_the_outage_is_stored_as_its_holder(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outage = Outage()
    async with open_world(with_manager=False, latency=0.1, store_faults=outage) as world, open_listened(world):
        await let_one_wait(world, outage)
        world.inject({})
        await trio.sleep(60)
        assert world.claim().position == NEXT
        record = await world.record()
        assert (record.position, record.is_waiting, len(record.orders)) == (NEXT, False, 1)


async def test_a_position_whose_caller_waits_for_the_key_is_stored_by_its_caller_at_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False, latency=0.1) as world, trio.open_nursery() as callers:
        async with open_listened(world):
            world.inject({At("cancel_stop", SYMBOL): Hangs()})
            await world.protect()
            world.paper.reduce(*BTC, D("1.5"))
            await trio.sleep(2)
            await world.enter(NEXT)

            async def protect() -> None:
                with pytest.raises(UsageError, match="ended"):
                    await running.protect(NEXT, deadline=300.0)

            running = world.running
            callers.start_soon(protect)
            await trio.sleep(1)
        (record,) = [one for one in (await world.load()).stops if one.position == NEXT]
        assert (record.is_waiting, record.is_abandoned) == (False, True)


# A record that was refused, and a newer one.


class Refusing:
    """A writer that refuses every commit with one of some records."""

    def __init__(self, *refused: StopRecord) -> None:
        self.refused = refused
        self.written: list[StopRecord] = []

    async def commit(self, entries: Sequence[StoreWrite]) -> None:
        await trio.lowlevel.checkpoint()
        records = [entry.record for entry in entries if isinstance(entry, SaveStop | CloseStop)]
        if any(record in self.refused for record in records):
            raise StoreError("the record is refused")
        self.written += records


@asynccontextmanager
async def open_records(writer: Refusing) -> AsyncIterator[Records]:
    """Records that are written to a writer."""
    journal = Journal(writer)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield Records("paper", "default", journal, Clock(START), EventPublisher(journal, None, "paper", "default"))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_repeated", [False, True])
async def test_a_refused_record_never_replaces_a_newer_one_of_its_position(is_repeated: bool) -> None:
    old, new = saved(OLD, 10), saved(OLD, 20)
    writer = Refusing(old)
    async with open_records(writer) as records:
        records.hand_in_record(old)
        if is_repeated:
            await records.journal.drain()
            assert records.unstored
            records.store_again()
        records.hand_in_record(new)
        await records.journal.drain()
        assert (records.unstored, records.newest, writer.written) == ({}, {}, [new])


async def test_refused_records_of_a_symbol_are_written_before_the_next_one_of_it() -> None:
    old, new, other = saved(OLD, 10), saved(NEW, 20), saved(a_position("ETH/USDT:USDT"), 15)
    writer = Refusing(old, other)
    async with open_records(writer) as records:
        records.hand_in_record(old)
        records.hand_in_record(other)
        await records.journal.drain()
        writer.refused = ()
        records.hand_in_record(new)
        await records.journal.drain()
        assert writer.written == [old, new]
        records.store_again()
        await records.journal.drain()
        assert (records.unstored, writer.written) == ({}, [old, new, other])


async def test_a_record_that_the_store_never_takes_keeps_no_other_one_of_its_symbol_out() -> None:
    old, new = saved(OLD, 10), saved(NEW, 20)
    writer = Refusing(old)
    async with open_records(writer) as records:
        records.hand_in_record(old)
        await records.journal.drain()
        records.hand_in_record(new)
        await records.journal.drain()
        assert (len(records.unstored), writer.written) == (1, [new])
