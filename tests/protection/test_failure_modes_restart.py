"""Ways in which a trailing-stop bot lost its protection: gaps, dead processes, silent streams, restarts and midnight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from worlds import BTC, PLAN, START, a_position, open_listened, open_world, some_positions

import trailing
from trailing import AlreadyProtected, Callback, Exited, Pacing, Percent, Protected, TrailPlan, UsageError
from trailing.core.model import Side
from trailing.events import Alarm
from trailing.exchanges.paper import PaperExchange
from trailing.protection.clock import Clock
from trailing.stores import MemoryStore
from trailing.stores.port import SaveStop
from trailing.testing import At, Fault, FaultyExchange, Hangs, ReplyLost, Unreachable

D = Decimal


# 10: trailing exits lived in the process only; a gap rode through, and a dead process left nothing.


@pytest.mark.parametrize("fault", [None, ReplyLost(), Hangs(booked=True)], ids=repr)
@pytest.mark.parametrize("share", ["0", "0.5"])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm10_a_gap_that_the_exchange_does_not_fill_in_its_grace_is_closed_once_and_no_more_than_is_left(
    side: Side, share: str, fault: Fault | None, autojump_clock: trio.testing.MockClock
) -> None:
    filled: list[bool] = []

    def fill_once(order: trailing.StopOrder, _: trailing.Tick) -> Decimal:
        """A part at the gap's first price, and nothing after it."""
        return D(0) if filled or filled.append(True) else order.quantity * D(share)  # type: ignore[func-returns-value]

    faults = {} if fault is None else {At("close_position", None, 1): fault}
    async with open_world(latency=0.5, partial_fills=fill_once, exchange_faults=faults, record=True) as world:
        await world.protect(a_position(side=side), deadline=10.0, settle=1.0)
        close_position, asked_for = world.paper.close_position, list[Decimal]()

        async def noting(symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> trailing.Fill:
            asked_for.append(quantity)
            return await close_position(symbol, side, quantity, client_order_id)

        world.paper.close_position = noting  # type: ignore[method-assign]
        gapped_at = trio.current_time()
        for _ in range(20):
            world.feed("95" if side == "long" else "105")
            await trio.sleep(0.25)
        with trio.fail_after(60):
            await world.running.wait_closed()
        (close,) = [call for call in world.exchange.calls if call.operation == "close_position"]
        assert gapped_at + PLAN.exit_grace <= close.at <= gapped_at + PLAN.exit_grace + 1.0
        assert asked_for == [D("1.5") * (1 - D(share))]
        fills: list[Any] = [booking.result for booking in world.paper.log if booking.operation == "fill"]
        assert sum(fill.quantity for fill in fills) == D("1.5")
        assert fills[-1].quantity == D("1.5") * (1 - D(share))
        assert (await world.paper.positions(), await world.live()) == ((), ())


async def test_fm10_a_gap_that_the_exchange_fills_in_its_grace_is_left_to_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    late: list[bool] = []
    async with open_world(
        latency=0.5, partial_fills=lambda order, _: order.quantity if late else D(0), record=True
    ) as world:
        await world.protect(a_position(), deadline=10.0, settle=1.0)
        world.feed("95")
        await trio.sleep(PLAN.exit_grace - 0.25)
        late.append(True)
        world.feed("95")
        await world.running.wait_closed()
        assert not any(call.operation == "close_position" for call in world.exchange.calls)


async def test_fm10_a_manager_that_ends_leaves_the_exchanges_stops_standing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(3)
    async with open_world(latency=0.5, with_manager=False) as world:
        with trio.CancelScope() as program:
            async with open_listened(world):
                await world.protect(*positions, deadline=10.0, settle=1.0)
                stops = await world.live()
                program.cancel()
        assert await world.live() == stops
        for position in positions:
            world.feed("95", position.symbol)
        assert (await world.paper.positions(), await world.live()) == ((), ())


@pytest.mark.parametrize("after", [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0])
async def test_fm10_a_process_that_dies_in_a_move_leaves_a_stop_that_is_no_looser(
    after: float, autojump_clock: trio.testing.MockClock
) -> None:
    dead: list[bool] = []

    def play_dead(*_: object) -> Fault | None:
        return Hangs() if dead else None  # what a dead process would have sent next never comes

    async with open_world(latency=0.5, with_manager=False, exchange_faults=play_dead, store_faults=play_dead) as world:
        with trio.CancelScope() as process:
            async with open_listened(world) as manager:
                await world.protect(a_position(), deadline=10.0, settle=1.0)
                world.feed("105")  # placing and cancelling take half a second each
                await trio.sleep(after)
                dead.append(True)
                process.cancel()
        await trio.sleep(5)
        prices = sorted(stop.price for stop in await world.live())
        assert prices in ([D(98)], [D(98), D("103.95")], [D("103.95")])
        assert prices == [D(98)] or after > 0
        dead.clear()
        async with open_listened(world) as manager:
            await trio.sleep(10)
            assert manager.stops()[BTC].price == D("103.95")
            await world.check(a_position())
            dead.append(True)  # and killed again, it leaves what fills without it
        world.feed("90")
        assert await world.paper.positions() == ()


# 12: the price feed died silently; resubscriptions did nothing.


async def test_fm12_after_a_disconnect_the_subscriptions_are_the_symbols_of_the_open_positions(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first, *kept, new = some_positions(4)
    down: list[bool] = []
    async with open_world(
        latency=0.5,
        exchange_faults=lambda operation, *_: Unreachable() if down and operation == "set_subscriptions" else None,
    ) as world:
        await world.protect(first, *kept, deadline=10.0, settle=1.0)
        assert world.paper.subscriptions == {position.symbol for position in (first, *kept)}
        down.append(True)
        world.paper.disconnect()
        await trio.sleep(5)
        assert isinstance(await world.running.close(first.symbol, first.side, deadline=10.0), Exited)
        await world.protect(new, deadline=10.0, settle=1.0)
        await trio.sleep(60)
        assert "the prices can't be subscribed" in world.alarms()
        world.paper.reconnect()
        down.clear()
        await trio.sleep(40)
        assert world.paper.subscriptions == {position.symbol for position in (*kept, new)}
        for position in (*kept, new):
            world.feed("105", position.symbol)
        await trio.sleep(5)
        assert {stop.price for stop in world.running.stops().values()} == {D("103.95")}
        await world.running.close(new.symbol, new.side, deadline=10.0)
        await trio.sleep(5)
        assert world.paper.subscriptions == {position.symbol for position in kept}


async def test_fm12_a_symbol_that_falls_silent_raises_an_alarm_in_the_stated_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    speaks, silent = some_positions(2)
    async with open_world(latency=0.5) as world:
        await world.protect(speaks, silent, deadline=10.0, settle=1.0)
        for spoken in (True, False, False):  # the other one falls silent; and, after it spoke once more, again
            for _ in range(30):
                world.feed("100.5", speaks.symbol)
                world.feed("100.5", silent.symbol, "mark")  # not the plan's source
                if spoken:
                    world.feed("100.5", silent.symbol)
                await trio.sleep(5)
        spoke_last = START + timedelta(seconds=1.5 + 29 * 5)
        (alarm,) = [event for event in world.events if isinstance(event, Alarm)]
        assert (alarm.symbol, alarm.what) == (silent.symbol, "no price of its trigger source")
        late_by = (alarm.at - spoke_last).total_seconds() - PLAN.stale_after
        assert 0 <= late_by <= 1
        world.feed("100.5", silent.symbol)
        await trio.sleep(PLAN.stale_after + 5)
        assert [event.symbol for event in world.events if isinstance(event, Alarm)].count(silent.symbol) == 2


# 18: a restart reset peaks, side and callback, and deleted every state while the exchange was offline.


async def test_fm18_a_restart_while_the_exchange_is_offline_deletes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions, down = some_positions(14), list[bool]()
    async with open_world(
        latency=0.5, with_manager=False, exchange_faults=lambda *_: Unreachable() if down else None
    ) as world:
        async with open_listened(world) as manager:
            await world.protect(*positions, deadline=10.0, settle=1.0)
            for price in ("110", "109.5"):
                for position in positions:
                    world.feed(price, position.symbol)
            await trio.sleep(300)  # the peak is in no candle that a restart reads
            stops = manager.stops()
            assert {stop.price for stop in stops.values()} == {D("108.9")}
        before = {record.position: record for record in (await world.load()).stops}
        down.append(True)
        async with open_listened(world) as manager:
            for _ in range(30):
                await trio.sleep(10)
                loaded = await world.load()
                assert len(loaded.stops) == 14
                assert set(await world.live()) == set(stops.values())
                assert set(manager.unprotected()) == set(stops)
            for record in loaded.stops:
                old = before[record.position]
                assert (record.best, record.target, record.orders, record.plan, record.quantity) == (
                    *(old.best, old.target, old.orders, old.plan, old.quantity),
                )
            down.clear()
            await trio.sleep(60)
            assert manager.stops() == stops
            assert {claim.peak for claim in world.inside.claims()} == {D(110)}
            await world.check(*positions)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "plan": ({"plan": {"initial_stop": "0%"}}, "TrailPlan.initial_stop got"),
    "callback": (
        {"plan": {"initial_stop": "2%", "rules": [{"type": "Callback", "distance": "0%"}]}},
        "Callback.distance got",
    ),
    "quantity": ({"quantity": D(-1)}, "StopRecord.quantity got"),
    "peak": ({"best": D(0)}, "StopRecord.best got"),
    "target": ({"target": D("NaN")}, "StopRecord.target got"),
    "state": ({"state": "asleep"}, "StopRecord.state got"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_fm18_what_is_restored_is_checked_as_if_it_were_new_and_a_bad_record_is_told_of_and_kept(
    broken: str, autojump_clock: trio.testing.MockClock
) -> None:
    bad, good = some_positions(2)
    change, complaint = BROKEN[broken]
    async with open_world(latency=0.5, with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.protect(bad, good, deadline=10.0, settle=1.0)
        stops = await world.live()
        (record,) = [one for one in (await world.load()).stops if one.position == bad]
        record = msgspec.structs.replace(record, **change)
        await world.memory.commit([SaveStop("paper", "default", record)])
        async with open_listened(world) as manager:
            await trio.sleep(130)
            assert set(manager.stops()) == {(good.symbol, "long")}
        told = [one.event async for one in world.memory.events() if isinstance(one.event, Alarm)]
        (alarm,) = [event for event in told if "can't be restored" in event.what]
        assert bad.symbol in alarm.what
        assert complaint in alarm.detail
        loaded = await world.load()
        assert [repr(one) for one in loaded.stops if one.position == bad] == [repr(record)]
        assert await world.live() == stops  # its stop stands


# 25: intervals wrapped, and times of day were mixed.


async def test_fm25_times_of_day_follow_from_the_running_clock_and_not_from_the_machines(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock, began = Clock(START), trio.current_time()
    for _ in range(2):  # more than a day
        await trio.sleep(45_000)
    assert clock.utc() == START + timedelta(seconds=90_000)
    assert clock.utc_at(began + 1.5) == START + timedelta(seconds=1.5)
    assert clock.now() == trio.current_time()


# 32: more positions than the limit; a stale wave was taken for a fresh one, through a time zone.


@asynccontextmanager
async def open_day(start: datetime) -> AsyncIterator[tuple[PaperExchange, FaultyExchange, MemoryStore]]:
    """An exchange whose times of day begin at `start`, and a store."""
    async with trailing.open_paper(latency=2.0, utc_start=start) as paper:
        yield paper, FaultyExchange(paper, {}), MemoryStore()


async def run_through(start: datetime) -> list[object]:
    """A wave of five at an hour, handed in once more, moved, and again after a restart; everything that is seen of it."""
    plan = TrailPlan(
        initial_stop=Percent(2),
        rules=(Callback(Percent(1), activation=Percent(1)),),
        pacing=Pacing(min_interval=10.0),
        stale_after=1000.0,
    )
    opened_at = start + timedelta(seconds=0.5)
    wave = [a_position(f"COIN{number}/USDT:USDT", opened_at=opened_at) for number in range(5)]
    seen: list[object] = []

    def since(at: datetime) -> float:
        return round((at - start).total_seconds(), 6)

    async with open_day(start) as (paper, exchange, store):
        began = trio.current_time()

        def note(report: trailing.WaveReport) -> None:
            for outcome in report.outcomes:
                seen.append((type(outcome), outcome.elapsed, outcome.unprotected_seconds, outcome.uncovered))

        def utc() -> datetime:
            return start + timedelta(seconds=trio.current_time() - began)

        async with trailing.open_manager(exchange, store, plan, utc_start=utc()) as manager:
            await paper_enter(paper, wave)
            note(await manager.protect_wave(wave, deadline=10.0))  # acknowledged two seconds later, in the new day
            note(await manager.protect_wave(wave, deadline=10.0))
            for price in ("104", "106"):  # the first is sent, the second has to wait for its interval
                for position in wave:
                    paper.feed(trailing.Tick(position.symbol, D(price), trio.current_time()))
                await trio.sleep(4.25)  # nothing falls on the moment at which the manager ends
            seen.append(sorted(stop.price for stop in manager.stops().values()))
        async with trailing.open_manager(exchange, store, plan, utc_start=utc()) as manager:
            await trio.sleep(20)
            seen.append(sorted(stop.price for stop in manager.stops().values()))
            again = await manager.protect_wave(wave, deadline=10.0)
            assert {type(outcome) for outcome in again.outcomes} == {AlreadyProtected}
            assert len(await paper.open_stops()) == 5
            seen.append(len([call for call in exchange.calls if call.operation == "place_stop"]))
        loaded = await store.load("paper", "default")
        for record in loaded.stops:
            assert record.saved_at is not None
            seen.append((since(record.position.opened_at), since(record.saved_at), record.best))
        told = [(type(one.event), since(one.event.at)) async for one in store.events()]
        assert [at for _, at in told] == sorted(at for _, at in told)
        seen += sorted(told, key=repr)
    return seen


async def paper_enter(paper: PaperExchange, wave: list[trailing.Position]) -> None:
    for position in wave:
        await paper.enter(position)


async def test_fm32_a_wave_across_midnight_and_a_restart_goes_as_at_any_other_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for before in (0.75, 2.0, 3.0, 4.5, 9.0, 14.0, 20.0):
        noon = await run_through(datetime(2026, 1, 1, 12, tzinfo=UTC) - timedelta(seconds=before))
        outcomes = [(one[0], one[2]) for one in noon[:10] if isinstance(one, tuple)]
        # What was left of the manager's own reading, and the order's two seconds.
        assert outcomes == [(Protected, 3.5)] * 5 + [(AlreadyProtected, 3.5)] * 5
        assert await run_through(datetime(2026, 1, 2, tzinfo=UTC) - timedelta(seconds=before)) == noon


async def test_fm32_a_wave_of_yesterday_is_not_taken_for_one_of_today(
    autojump_clock: trio.testing.MockClock,
) -> None:
    start = datetime(2026, 1, 1, 23, 59, 58, tzinfo=UTC)
    async with open_day(start) as (paper, exchange, store):
        async with trailing.open_manager(exchange, store, PLAN, utc_start=start) as manager:
            yesterdays = [a_position(f"COIN{number}/USDT:USDT", opened_at=start) for number in range(5)]
            await paper_enter(paper, yesterdays)
            await manager.protect_wave(yesterdays, deadline=10.0)
            await trio.sleep(5)
            for position in yesterdays:
                paper.feed(trailing.Tick(position.symbol, D(97), trio.current_time()))
            await manager.wait_closed()
        await trio.sleep(86_400 - trio.current_time())
        utc = start + timedelta(seconds=trio.current_time())
        async with trailing.open_manager(exchange, store, PLAN, utc_start=utc) as manager:
            stale = await manager.protect_wave(yesterdays, deadline=10.0)
            assert [type(outcome).__name__ for outcome in stale.outcomes] == ["Refused"] * 5
            await manager.wait_closed()
            assert (await paper.open_stops(), manager.unprotected()) == ((), {})
            todays = [a_position(position.symbol, opened_at=utc, entry_price=D(97)) for position in yesterdays]
            assert {one.identity for one in todays}.isdisjoint(one.identity for one in yesterdays)
            await paper_enter(paper, todays)
            fresh = await manager.protect_wave(todays, deadline=10.0)
            assert all(isinstance(outcome, Protected) for outcome in fresh.outcomes)
            assert len(await paper.open_stops()) == 5


@pytest.mark.parametrize("hours", [-5, 1, 3])
def test_fm32_a_time_of_another_zone_is_refused(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    with pytest.raises(UsageError, match=r"Position.opened_at got .*, wants an aware datetime in UTC"):
        a_position(opened_at=START.astimezone(zone))
    with pytest.raises(UsageError, match=r"Position.opened_at got .*, wants an aware datetime in UTC"):
        a_position(opened_at=START.replace(tzinfo=None))
