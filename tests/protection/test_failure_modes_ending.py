"""Ways in which a trailing-stop bot lost its protection: while positions ended, and in what was kept and told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from inspection.paper import push_update
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, a_record, open_listened, open_world, some_positions

import trailing
from trailing import Callback, Exited, Market, Percent, State, StoreError, Tick, TrailPlan
from trailing.core.model import Side
from trailing.events import Alarm, ExitStarted, PositionClosed, StopFilled
from trailing.protection.waves.outcomes import OpeningTimes
from trailing.stores import MemoryStore
from trailing.stores.leases import LeaseProxy
from trailing.stores.port import AppendEvent, CloseStop, Lease, SaveStop, SettleIntent, StoreWrite
from trailing.testing import At, Fails, Fault, Hangs, ReplyLost, never_crossed_zero

D = Decimal


def net(world: World) -> list[Decimal]:
    """BTC's net quantity after everything that was entered or filled, shorts negative."""
    quantities, total = [], D(0)
    for booking in world.paper.log:
        if booking.operation in {"enter", "fill"}:
            moved: Any = booking.result
            sign = 1 if (moved.side == "long") == (booking.operation == "enter") else -1
            total += sign * moved.quantity
            quantities.append(total)
    return quantities


# 01: two exit authorities both fired, and opened a position the other way.


@pytest.mark.parametrize("fault", [None, ReplyLost(), Hangs(), Hangs(booked=True)], ids=repr)
@pytest.mark.parametrize("gap", [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 4.0])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm01_no_interleaving_of_exits_touches_more_than_the_position(
    side: Side, gap: float, fault: Fault | None, autojump_clock: trio.testing.MockClock
) -> None:
    faults = {} if fault is None else {At("close_position", None, 1): fault}
    async with open_world(latency=1.0, exchange_faults=faults, record=True) as world:
        await world.protect(a_position(side=side))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.close(SYMBOL, side, deadline=60.0))
            await trio.sleep(gap)
            world.feed("97" if side == "long" else "103")
        await world.running.wait_closed()
        # The next position is not protected by us: no order of the old one may be left to hit it.
        await world.enter(a_position(side=side, quantity=D("0.7")))
        world.feed("90" if side == "long" else "110")
        await trio.sleep(120)
        assert never_crossed_zero(net(world)) == []
        assert net(world)[-1] == (D("0.7") if side == "long" else D("-0.7"))
        assert await world.live() == ()


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm01_no_stop_is_left_behind_that_would_hit_the_next_position(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, record=True) as world:
        await world.protect(a_position(side=side))
        await world.running.close(SYMBOL, side, deadline=60.0)
        await world.enter(a_position(side=side, quantity=D("0.7")))
        world.feed("90" if side == "long" else "110")
        await trio.sleep(120)
        assert net(world)[-1] == (D("0.7") if side == "long" else D("-0.7"))
        assert await world.live() == ()


async def test_fm01_a_partly_filled_stop_and_the_bots_close_add_up_to_the_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, partial_fills=D("0.4"), record=True) as world:
        await world.protect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.close(*BTC, deadline=60.0))
            for _ in range(3):
                await trio.sleep(0.25)
                world.feed("97")
        await world.running.wait_closed()
        assert net(world)[-1] == 0
        assert never_crossed_zero(net(world)) == []
        assert await world.live() == ()


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm01_a_close_that_is_on_its_way_is_waited_for_and_not_sent_again(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(
        latency=lambda operation, _: 3.0 if operation == "close_position" else 0.125, record=True
    ) as world:
        await world.enter(a_position(side=side))
        world.feed("97" if side == "long" else "103")
        outcome = await world.running.protect(a_position(side=side), deadline=1.0)  # it arrives at 1.75
        assert isinstance(outcome, trailing.TimedOut)
        await world.running.wait_closed()
        assert sum(call.operation == "close_position" for call in world.exchange.calls) == 1
        assert never_crossed_zero(net(world)) == []
        assert net(world)[-1] == 0


# 17: after an emergency close the stop stayed on the books.


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm17_a_crossed_price_at_the_door_leads_to_one_close_and_a_final_state(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, record=True) as world:
        await world.enter(a_position(side=side))
        world.feed("97" if side == "long" else "103")
        outcome = await world.running.protect(a_position(side=side), deadline=10.0)
        assert isinstance(outcome, Exited)
        assert (outcome.fill.quantity, outcome.uncovered) == (D("1.5"), D(0))
        assert outcome.elapsed == 3.0  # the refused stop, the exchange's own price, the close
        await world.running.wait_closed()
        assert sum(call.operation == "close_position" for call in world.exchange.calls) == 1
        assert (await world.paper.positions(), await world.live()) == ((), ())
        loaded = await world.load()
        assert (loaded.stops, loaded.intents) == ((), ())
        assert world.running.unprotected() == {}


async def test_fm17_a_gap_that_the_exchange_does_not_fill_leads_to_one_close_and_no_stop_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, partial_fills=lambda order, tick: D(0), record=True) as world:
        await world.protect()
        crossed_at = trio.current_time()
        world.feed("97")
        await world.running.wait_closed()
        (close,) = [call for call in world.exchange.calls if call.operation == "close_position"]
        assert close.at == crossed_at + PLAN.exit_grace + 1.0  # and a second for the exchange's own price
        assert (await world.paper.positions(), await world.live()) == ((), ())
        assert len([event for event in world.events if isinstance(event, ExitStarted)]) == 1
        assert len([event for event in world.events if isinstance(event, PositionClosed)]) == 1


async def test_fm17_a_crossing_that_the_exchanges_own_price_denies_closes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, receive = trio.open_memory_channel[Tick](10)
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with trailing.open_manager(world.exchange, world.store, PLAN, ticks=receive, utc_start=START) as manager:
            await manager.protect(a_position(), deadline=5.0)
            await send.send(Tick(SYMBOL, D(97), trio.current_time()))
            await trio.sleep(30)
            assert [call.operation for call in world.exchange.calls].count("price") == 1
            assert [call.operation for call in world.exchange.calls].count("close_position") == 0
            assert manager.stops()[BTC].price == 98


async def test_fm17_a_stop_that_was_not_sent_yet_and_is_crossed_leads_to_one_close_and_the_one_that_stands_is_withdrawn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, pacing=trailing.Pacing(min_interval=1000.0))
    async with open_world(latency=0.5, plan=plan, record=True) as world:
        await world.protect()
        for price in ("102", "105", "103.5"):  # moved to 100.98; 103.95 has to wait; it is crossed
            world.feed(price)
            await trio.sleep(2)
        await world.running.wait_closed()
        assert [call.operation for call in world.exchange.calls].count("close_position") == 1
        assert (await world.paper.positions(), await world.live()) == ((), ())
        assert (world.running.stops(), world.running.unprotected()) == ({}, {})


# 19: stops outlived their positions; a later save brought closed ones back.


async def _filled(world: World) -> None:
    world.feed("97")


async def _closed_by_hand(world: World) -> None:
    world.paper.reduce(*BTC, D("1.5"))


async def _closed_by_the_bot(world: World) -> None:
    await world.running.close(*BTC, deadline=30.0)


async def _cancelled_and_closed_by_hand(world: World) -> None:
    world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
    world.paper.reduce(*BTC, D("1.5"))


@pytest.mark.parametrize("end", [_filled, _closed_by_hand, _closed_by_the_bot, _cancelled_and_closed_by_hand])
@pytest.mark.parametrize("on_unprotected", ["retry", "close", "report"])
async def test_fm19_every_end_takes_stop_claim_and_record_with_it_for_good(
    end: Any, on_unprotected: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected=on_unprotected)
    async with open_world(latency=1.0, plan=plan) as world:
        await world.protect()
        claim = world.claim()
        (early,) = (await world.load()).stops
        await end(world)
        with trio.fail_after(60):
            await world.running.wait_closed()
        await trio.sleep(5)
        late = claim.record
        await world.inside.save(claim)
        await world.memory.commit([SaveStop("paper", "default", early)])  # handed in before, and late
        world.inside.remove(claim)  # once more
        assert late.state == State.CLOSED
        assert (await world.live(), await world.paper.positions()) == ((), ())
        loaded = await world.load()
        assert (loaded.stops, loaded.intents) == ((), ())
        assert (world.running.stops(), world.running.unprotected()) == ({}, {})
        assert len([event for event in world.events if isinstance(event, PositionClosed)]) == 1
        assert world.running.statistics().closed == 1


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_fm19_a_late_save_revives_nothing_in_any_store(url: str, tmp_path: Path) -> None:
    # On the real clock: SQLite works in threads.
    early = a_record()
    if url == "sqlite":
        url = f"sqlite:///{tmp_path}/trailing.db"
    async with trailing.open_store(url) as store, store.acquire_lease("paper", "default", mark="0000") as lease:
        await lease.commit([SaveStop("paper", "default", early)])
        assert len((await store.load("paper", "default")).stops) == 1
        await lease.commit(
            [CloseStop("paper", "default", msgspec.structs.replace(early, state="closed", quantity=D(0)))]
        )
        await lease.commit([SaveStop("paper", "default", early)])
        assert (await store.load("paper", "default")).stops == ()


# 27: the event log was awaited on the hot path; its queue overflowed.


class _RefusesEvents:
    """A store whose log is broken: it takes no commit with an event in it, after a while."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    @asynccontextmanager
    async def acquire_lease(self, *account: str, **options: Any) -> AsyncIterator[Lease]:
        async with self._inner.acquire_lease(*account, **options) as lease:

            async def commit(entries: Sequence[StoreWrite]) -> None:
                if any(isinstance(entry, AppendEvent) for entry in entries):
                    raise StoreError("the log is full")
                await lease.commit(entries)

            yield LeaseProxy(lease, commit)


async def test_fm27_a_subscriber_who_never_reads_and_a_broken_log_cost_events_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        world.store = _RefusesEvents(world.store)  # type: ignore[assignment]
        await world.enter(a_position())
        async with open_listened(world) as manager, manager.subscribe(capacity=1):
            outcome = await manager.protect(a_position(), deadline=5.0)
            assert (type(outcome), outcome.elapsed) == (trailing.Protected, 1.0)
            await trio.sleep(5)
            for price in ("103", "104", "105"):
                world.feed(price)
                await trio.sleep(2)
            assert manager.stops()[BTC].price == D("103.95")
            # An opening and three moves: none reached the log, and all but the first found the channel full.
            assert len(world.events) == 4
            assert manager.statistics().dropped == 4 + 3
            await world.check(a_position())


# 30: float met Decimal; `numeric(20,8)` rounded micro-priced coins away.

TINY = D("0.000000123456789012")
TINY_MARKET = Market("BTC/USDT:USDT", price_tick=D("1e-18"), quantity_step=D("1e-18"))
TINY_PLAN = TrailPlan(initial_stop=Percent("1.5"), rules=(Callback(D("0.000000000000000003")),))


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_fm30_prices_with_18_decimals_survive_protection_store_and_restart(url: str, tmp_path: Path) -> None:
    # On the real clock: SQLite works in threads.
    position = a_position(entry_price=TINY, quantity=D("1.000000000000000001"))
    if url == "sqlite":
        url = f"sqlite:///{tmp_path}/trailing.db"
    async with (
        trailing.open_store(url) as store,
        trailing.open_paper(markets=[TINY_MARKET]) as exchange,
    ):
        await exchange.enter(position)
        async with trailing.open_manager(exchange, store, TINY_PLAN) as manager:
            outcome = await manager.protect(position, deadline=5.0)
            assert isinstance(outcome, trailing.Protected)
            # 1.5 % below, then up to the tick; the callback of the entry price is nearer, and comes with the first move.
            with trio.fail_after(30):
                while manager.stops()[BTC].price != TINY - D("3e-18"):
                    await trio.sleep(0.01)
            assert outcome.stop.quantity == position.quantity
        (record,) = (await store.load("paper", "default")).stops
        assert record.orders[-1].price == D("0.000000123456789009")
        assert record.position == position
        async with trailing.open_manager(exchange, store, TINY_PLAN) as manager:
            assert manager.stops()[BTC].price == D("0.000000123456789009")
            assert manager.stops()[BTC].quantity == D("1.000000000000000001")


# 33: fills were taken from other trades; the statistics of triggered stops were always 0.


async def test_fm33_only_our_own_orders_fills_count(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("99")
        world.paper.reduce(*BTC, D("0.5"))  # another trade, at 99
        await trio.sleep(10)
        assert [event for event in world.events if isinstance(event, StopFilled)] == []
        (stop,) = await world.live()
        assert stop.quantity == 1
        world.feed("97")
        await world.running.wait_closed()
        (filled,) = [event for event in world.events if isinstance(event, StopFilled)]
        assert (filled.quantity, filled.price, filled.left, filled.client_order_id) == (
            D(1),
            D(97),
            D(0),
            stop.client_order_id,
        )
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit) == (D(1), None)  # the price of the other trade is not ours to know
        assert closed.reason == "the stop was filled"


@pytest.mark.parametrize(("side", "profit"), [("long", D("-4.5")), ("short", D("-4.5"))])
async def test_fm33_a_triggered_stop_is_counted_with_its_profit(
    side: Side, profit: Decimal, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(a_position(side=side))
        world.feed("97" if side == "long" else "103")
        await world.running.wait_closed()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit, closed.unprotected_seconds, closed.moves) == (D("1.5"), profit, 1.0, 0)
        assert world.running.statistics().closed == 1


def test_fm33_the_opening_times_of_all_waves_are_those_of_all_their_stops() -> None:
    first, second = OpeningTimes.over([1.0, 3.0]), OpeningTimes.over([8.0])
    assert first.joined(second) == second.joined(first) == OpeningTimes(3, 1.0, 4.0, 8.0)
    assert first.joined(OpeningTimes()) == OpeningTimes().joined(first) == first


# 34: a position's stop percentage was silently replaced by a default.


async def test_fm34_a_restart_uses_the_plan_stored_with_the_position(autojump_clock: trio.testing.MockClock) -> None:
    own, other = some_positions(2)
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(own, other)
        async with open_listened(world) as manager:
            tight = TrailPlan(initial_stop=Percent(1), rules=(Callback(Percent("0.5")),))
            await manager.protect(own, deadline=5.0, plan=tight)
            await manager.protect(other, deadline=5.0)
        world.plan = TrailPlan(initial_stop=Percent(9))
        async with open_listened(world) as manager:
            await trio.sleep(5)
            for position in (own, other):
                world.feed("105", position.symbol)
            await trio.sleep(5)
            assert manager.stops()[own.symbol, "long"].price == D("104.475")
            assert manager.stops()[other.symbol, "long"].price == D("103.95")


def test_fm34_a_plan_without_an_initial_stop_can_not_be_built() -> None:
    with pytest.raises(TypeError, match="initial_stop"):
        TrailPlan()  # type: ignore[call-arg]


async def test_fm27_telemetry_that_finds_no_room_is_counted_while_the_store_hangs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("commit"): Fails(StoreError("disk full"))}
    async with open_world(latency=1.0, store_faults=faults) as world:
        outcome = None
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert (type(outcome), outcome.elapsed) == (trailing.Protected, 1.0)
        await trio.sleep(1)
        told = len(world.events)
        assert world.running.statistics().dropped == told > 0


async def test_fm27_the_queue_of_telemetry_is_bounded_and_what_it_does_not_take_is_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stuck: list[bool] = []
    async with open_world(
        latency=1.0, store_faults=lambda operation, *_: Hangs() if stuck and operation == "commit" else None
    ) as world:
        await world.enter(a_position())
        stuck.append(True)
        for _ in range(10_100):
            world.inside.publish(Alarm(at=START, what="a heap of it"))
        assert world.running.statistics().dropped == 100
        assert world.inside.entries_waiting() == 10_000
        outcome = await world.running.protect(a_position(), deadline=5.0)
        assert isinstance(outcome, trailing.Protected)
        assert (
            outcome.elapsed == PLAN.journal_wait + 1.0
        )  # the intent waits for the store, the acknowledgement does not
        stuck.clear()


async def test_fm17_a_bad_print_closes_nothing_that_the_plan_keeps(autojump_clock: trio.testing.MockClock) -> None:
    pacing = trailing.Pacing(min_interval=1000.0)
    plan = msgspec.structs.replace(PLAN, on_would_trigger="keep", pacing=pacing)
    async with open_world(plan=plan) as world:
        position = a_position()
        await world.protect(position, settle=1.0)
        for price in ("102", "105", "103.5"):  # moved to 100.98; 103.95 has to wait; it is crossed, and kept
            world.feed(price)
            await trio.sleep(1)
        push_update(world.paper, trailing.Tick(position.symbol, D(100), trio.current_time()))
        await trio.sleep(10)
        assert [order.price for order in await world.live()] == [D("100.98")]
        assert len(await world.paper.positions()) == 1


class _FailsToSettle(MemoryStore):
    """Commits that delete intents and close no record take a second, and fail."""

    failures = 0

    @asynccontextmanager
    async def acquire_lease(  # type: ignore[override]
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[Lease]:
        async with super().acquire_lease(exchange, account, mark=mark, standby=standby) as lease:

            async def commit(entries: Sequence[StoreWrite]) -> None:
                settles = any(isinstance(entry, SettleIntent) for entry in entries)
                if settles and not any(isinstance(entry, CloseStop) for entry in entries):
                    await trio.sleep(1.0)
                    self.failures += 1
                    raise StoreError("the disk is full")
                await lease.commit(entries)

            yield LeaseProxy(lease, commit)


async def test_the_intent_of_an_ended_position_is_deleted_although_the_store_failed_just_before_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = _FailsToSettle()
    async with trailing.open_paper() as exchange, trailing.open_manager(exchange, store, PLAN) as manager:
        exchange.feed(Tick(SYMBOL, D(100), trio.current_time()))
        await exchange.enter(a_position())
        await manager.protect(a_position(), deadline=5.0)
        await trio.sleep(10)
        await manager.close(*BTC, deadline=10.0)
        await trio.sleep(60)
    assert store.failures
    loaded = await store.load("paper", "default")
    assert (loaded.stops, loaded.intents) == ((), ())
