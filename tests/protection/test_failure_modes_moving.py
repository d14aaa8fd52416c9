"""Ways in which a trailing-stop bot lost its protection: while prices moved and stops were moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from inspection.paper import stored_now
from worlds import BTC, PLAN, START, SYMBOL, a_position, open_listened, open_world, some_positions

import trailing
from trailing import Callback, Pacing, Percent, Protected, Refused, StoreError, TrailPlan
from trailing.core.model import Side
from trailing.events import StopMoved
from trailing.exchanges.paper import RateLimit
from trailing.testing import (
    At,
    Fails,
    Fault,
    FaultyExchange,
    Hangs,
    Refuses,
    ReplyLost,
    Throttles,
    Unreachable,
    peak_kept,
)
from trailing.unprotected import UnprotectedTime

D = Decimal


class _Looker(trio.abc.Instrument):
    """Looks after every step of every task."""

    def __init__(self, look: Any) -> None:
        self._look = look

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._look()


@contextmanager
def looking(look: Any) -> Iterator[None]:
    """Call `look` after every step of every task."""
    looker = _Looker(look)
    trio.lowlevel.add_instrument(looker)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(looker)


# 02: the price path took a lock that it held already; everything hung.


@pytest.mark.parametrize("stuck", ["place_stop", "find_stop", "cancel_stop"])
async def test_fm02_a_stuck_symbol_delays_no_other_symbols_move_or_opening(
    stuck: Any, autojump_clock: trio.testing.MockClock
) -> None:
    bad, good, new = some_positions(3)
    faults: dict[At, Fault] = {At(stuck, bad.symbol, number): Hangs() for number in range(1, 100)}
    if stuck == "find_stop":
        faults[At("place_stop", bad.symbol, 1)] = ReplyLost()
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(bad, good, new)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.protect(bad, deadline=200.0))
            assert isinstance(await world.running.protect(good, deadline=5.0), trailing.Protected)
            await trio.sleep(5)
            started = trio.current_time()
            world.feed("106", bad.symbol)
            world.feed("106", good.symbol)
            nursery.start_soon(lambda: world.running.protect(new, deadline=5.0))
            await trio.sleep(1.0)
            await trio.testing.wait_all_tasks_blocked()
            assert world.running.stops()[good.symbol, "long"].price == D("104.94")
            assert world.running.stops()[new.symbol, "long"].price == 98
            assert trio.current_time() - started == 1.0
            nursery.cancel_scope.cancel()


async def test_fm02_a_fill_that_comes_inside_a_tick_is_taken_without_a_deadlock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The tick that sets the peak and the one that fills the stop are both there before any task has run.
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("105")
        world.feed("97.5")
        with trio.fail_after(10):
            await world.running.wait_closed()
        assert await world.live() == ()
        assert world.running.statistics().closed == 1


# 03: moves cancelled the old stop first.


@pytest.mark.parametrize("fault", [None, Refuses(), ReplyLost(), Hangs(), Hangs(booked=True), Unreachable()], ids=repr)
@pytest.mark.parametrize("operation", ["place_stop", "cancel_stop", "amend_stop"])
async def test_fm03_at_every_step_of_a_move_a_stop_is_live_where_two_may_stand(
    operation: Any, fault: Fault | None, autojump_clock: trio.testing.MockClock
) -> None:
    faults = {} if fault is None else {At(operation, None, 2 if operation == "place_stop" else 1): fault}
    async with open_world(latency=1.0, exchange_faults=faults, can_amend=operation == "amend_stop") as world:
        await world.protect()
        counts: list[int] = []
        with looking(lambda: counts.append(len(world.paper.actual(SYMBOL)[0]))):
            world.feed("105")
            await trio.sleep(60)
            world.feed("106")
            await trio.sleep(60)
        assert min(counts) == 1
        assert max(counts) <= 2
        assert [stop.price for stop in world.paper.actual(SYMBOL)[0]] == [D("104.94")]
        assert world.running.statistics().unprotected_seconds == 1.0  # the opening's second and nothing since
        await world.check(a_position())


async def test_fm03_a_move_with_one_stop_is_unprotected_for_two_legs_and_measured(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, two_stops=False) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(10)
        (moved,) = [event for event in world.events if isinstance(event, StopMoved)]
        assert moved.price == D("103.95")
        assert moved.unprotected_time == UnprotectedTime(
            move=1.5
        )  # from the update that says that it is cancelled to the placing's answer
        assert world.running.statistics().unprotected_time == UnprotectedTime(opening=1.0, move=1.5)
        await world.check(a_position())


@pytest.mark.parametrize("fault", [Refuses(), Refuses(trailing.WouldTrigger("too near"))], ids=["refused", "crossed"])
async def test_fm03_where_one_may_stand_a_refused_stop_puts_the_old_one_back(
    fault: Refuses, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, two_stops=False, exchange_faults={At("place_stop", None, 2): fault}) as world:
        await world.protect()
        world.feed("105")
        # The cancelling; the placing is refused at once; the old price, acknowledged a second later.
        await trio.sleep(2.0)
        await trio.testing.wait_all_tasks_blocked()
        assert [stop.price for stop in world.paper.actual(SYMBOL)[0]] == [98]
        assert world.running.stops()[BTC].price == 98
        assert (
            world.running.statistics().unprotected_seconds == 2.5
        )  # from the update of the cancelling to the placing's answer


async def test_fm03_where_the_old_stop_can_not_be_put_back_either_the_position_is_covered_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {At("place_stop", None, number): Refuses() for number in (2, 3, 4, 5)}
    async with open_world(latency=1.0, two_stops=False, exchange_faults=faults) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(1.5)
        assert set(world.running.unprotected()) == {BTC}
        await trio.sleep(20)
        assert world.running.unprotected() == {}
        assert world.running.stops()[BTC].price == D("103.95")
        await world.check(a_position())


async def test_fm03_where_one_may_stand_it_is_not_cancelled_before_the_turn_of_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    free = dict.fromkeys(("positions", "open_stops", "price", "candles", "set_subscriptions", "cancel_stop"), 0.0)
    limit = RateLimit(capacity=10, per_second=0.5, weights={"place_stop": 10.0} | free)
    async with open_world(two_stops=False, rate_limit=limit) as world:
        (first,) = await world.protect(settle=1.0)
        world.feed("105")
        with trio.move_on_after(18.9):  # a placing takes every token, and they are back after 20 s
            while True:
                assert await world.live() == (first,)
                await trio.sleep(0.1)
        assert world.calls("cancel_stop") == 0
        await trio.sleep(20)
        assert [stop.price for stop in await world.live()] == [D("103.95")]
        assert world.running.statistics().unprotected_seconds == 0
        await world.check(a_position())


# 09: memory and database moved before the exchange confirmed.


MOVE_FAULTS: dict[str, Fault] = {
    "refused": Refuses(),
    "lost": ReplyLost(),
    "hanging": Hangs(),
    "hanging-booked": Hangs(booked=True),
    "unreachable": Unreachable(),
    "limited": Throttles(5.0),
}


@pytest.mark.parametrize("fault", MOVE_FAULTS)
@pytest.mark.parametrize("operation", ["place_stop", "cancel_stop", "amend_stop"])
async def test_fm09_what_is_remembered_and_stored_was_acknowledged_at_every_step(
    operation: Any, fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    struck = {At(operation, None, 2 if operation == "place_stop" else 1): MOVE_FAULTS[fault]}
    async with open_world(latency=1.0, exchange_faults=struck, can_amend=operation == "amend_stop") as world:
        await world.enter(a_position())
        acknowledged: set[tuple[str, Decimal]] = set()
        _note_acknowledgements(world.exchange, acknowledged)

        def look() -> None:
            remembered = world.running.stops().values()
            stored = [order for record in stored_now(world.memory) for order in record.orders]
            for order in (*remembered, *stored):
                assert (order.client_order_id, order.price) in acknowledged

        with looking(look):
            await world.running.protect(a_position(), deadline=5.0)
            await trio.sleep(5)
            for price in ("105", "106", "107"):
                world.feed(price)
                await trio.sleep(30)
        await world.check(a_position())
        assert world.running.stops()[BTC].price == D("105.93")


async def test_fm09_what_the_store_did_not_take_is_stored_once_it_does(autojump_clock: trio.testing.MockClock) -> None:
    full: list[bool] = []
    async with open_world(
        latency=1.0,
        store_faults=lambda operation, *_: Fails(StoreError("disk full")) if full and operation == "commit" else None,
    ) as world:
        await world.protect()
        full.append(True)
        world.feed("105")
        await trio.sleep(30)
        (record,) = (await world.load()).stops
        assert [order.price for order in record.orders] == [98]
        assert world.running.stops()[BTC].price == D("103.95")
        full.clear()
        await trio.sleep(10)  # without a tick
        (record,) = (await world.load()).stops
        assert record.orders == (world.running.stops()[BTC],)
        await world.check(a_position())


def _note_acknowledgements(exchange: FaultyExchange, acknowledged: set[tuple[str, Decimal]]) -> None:
    for name in ("place_stop", "amend_stop", "find_stop"):
        call = getattr(exchange, name)

        async def noting(*args: Any, call: Any = call, **more: Any) -> Any:
            order = await call(*args, **more)
            if order is not None:
                acknowledged.add((order.client_order_id, order.price))
            return order

        setattr(exchange, name, noting)


# 22: a move that pacing held back was lost unless another extreme came.


async def test_fm22_a_deferred_move_is_sent_when_its_interval_ends_without_a_tick(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, pacing=Pacing(min_interval=30.0))
    async with open_world(latency=1.0, plan=plan) as world:
        await world.protect()
        started = trio.current_time()
        world.feed("105")
        await trio.sleep(3)
        world.feed("106")
        await trio.sleep(60)
        moves = [event for event in world.events if isinstance(event, StopMoved)]
        assert [move.price for move in moves] == [D("103.95"), D("104.94")]
        # The interval runs from the sending of the first, whose acknowledgement comes a second later.
        since = [(move.at - START).total_seconds() - (started - world.started) for move in moves]
        assert since == [1.0, 31.0]


# 28: a throttle dropped ticks, peaks included.


@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm28_a_peak_among_many_ticks_of_one_moment_is_kept(
    side: Side, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect(a_position(side=side))
        step = D("0.001") if side == "long" else D("-0.001")
        seen = [100 + step * (number if number < 3000 else 6000 - number) for number in range(3500)]
        for price in seen:
            world.feed(str(price))
        await trio.sleep(10)
        claim = world.claim(SYMBOL, side)
        assert peak_kept(side, seen, claim.peak) == []
        assert claim.peak == 100 + step * 3000
        assert world.running.stops()[SYMBOL, side].price == (D("101.97") if side == "long" else D("97.97"))


async def test_fm28_a_peak_while_a_move_is_under_way_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=4.0) as world:
        await world.protect()
        world.feed("104")
        await trio.sleep(1)
        for price in ("104.5", "108", "107.5"):
            world.feed(price)
            await trio.sleep(0.01)
        await trio.sleep(30)
        assert world.running.stops()[BTC].price == D("106.92")


# 29: concurrent updates of one position.


class _OneAtATime:
    """Stands before an exchange and counts the calls under way for each symbol."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__dict__["_inner"], name)
        if name not in {"place_stop", "amend_stop", "cancel_stop", "find_stop", "price", "close_position"}:
            return attribute

        async def counted(first: Any, *args: Any, **more: Any) -> Any:
            symbol = first if isinstance(first, str) else first.symbol
            self._now[symbol] += 1
            self.most[symbol] = max(self.most[symbol], self._now[symbol])
            try:
                return await attribute(first, *args, **more)
            finally:
                self._now[symbol] -= 1

        return counted


async def test_fm29_one_task_at_a_time_does_a_positions_io(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(3)
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(*positions)
        counting = _OneAtATime(world.exchange)
        world.exchange = counting  # type: ignore[assignment]
        async with open_listened(world) as manager, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lambda: manager.protect_wave(positions, deadline=20.0))
            for step in range(40):
                for position in positions:
                    world.feed(str(100 + D(step) / 5 + D(step % 3) / 10), position.symbol)
                if step == 1:  # while its stop is being placed
                    await world.enter(positions[2])
                if step == 20:
                    world.paper.cancel_by_hand(manager.stops()[positions[0].symbol, "long"].client_order_id)
                    world.paper.reduce(positions[1].symbol, "long", D("0.5"))
                if step == 30:
                    for _ in range(2):
                        nursery.start_soon(lambda: manager.close_all(deadline=60.0))
                await trio.sleep(0.375)
            await manager.wait_closed()
        assert counting.most == {position.symbol: 1 for position in positions}


# 35: peaks came from the mark price, orders triggered on the last price.


@pytest.mark.parametrize("trigger", ["last", "mark", "index"])
async def test_fm35_one_setting_decides_the_source_of_peaks_orders_and_crossings(
    trigger: Any, autojump_clock: trio.testing.MockClock
) -> None:
    (other, _) = [source for source in ("last", "mark", "index") if source != trigger]
    plan = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1)),), trigger=trigger)
    async with open_world(latency=1.0, plan=plan) as world:
        await world.protect()
        assert {order.source for order in await world.live()} == {trigger}
        world.feed("109", source=other)  # type: ignore[arg-type]
        await trio.sleep(10)
        assert world.running.stops()[BTC].price == 99  # the callback of the entry price
        assert world.running.statistics().foreign_ticks == 1
        world.feed("105", source=trigger)
        await trio.sleep(10)
        (moved,) = await world.live()
        assert (moved.price, moved.source) == (D("103.95"), trigger)
        world.feed("95", source=other)  # type: ignore[arg-type]
        await trio.sleep(30)
        assert await world.live() == (moved,)
        assert len(await world.paper.positions()) == 1


@pytest.mark.parametrize("trigger", ["last", "mark", "index"])
async def test_fm35_a_crossing_is_confirmed_by_the_price_that_triggers(
    trigger: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), trigger=trigger)
    async with open_world(latency=1.0, plan=plan, partial_fills=lambda order, tick: D(0)) as world:
        await world.protect()
        world.feed("97", source=trigger)  # the others stay at 100, and the exchange fills nothing
        with trio.fail_after(20):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()


@pytest.mark.parametrize("trigger", ["last", "mark", "index"])
async def test_fm35_peaks_that_were_missed_are_those_of_the_price_that_triggers(
    trigger: Any, autojump_clock: trio.testing.MockClock
) -> None:
    others: list[Any] = [source for source in ("last", "mark", "index") if source != trigger]
    plan = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), Percent(1)),), trigger=trigger)
    async with open_world(latency=1.0, plan=plan) as world:
        await world.protect()
        world.paper.disconnect()
        await trio.sleep(65)
        for price, further in (("105", "110"), ("104.5", "109")):
            world.feed(price, source=trigger)
            for other in others:
                world.feed(further, source=other)
        await trio.sleep(130)
        world.paper.reconnect()
        await trio.sleep(10)
        assert world.running.stops()[BTC].price == D("103.95")


# 36: health was stamped before the work.


async def test_fm36_a_stop_whose_every_move_fails_does_not_look_healthy(autojump_clock: trio.testing.MockClock) -> None:
    def refused(operation: str, symbol: str | None, number: int) -> Fault | None:
        return Refuses() if operation == "place_stop" and number > 1 else None

    async with open_world(latency=1.0, exchange_faults=refused) as world:
        await world.protect()
        confirmed = trio.current_time() - 5.0
        world.feed("105")
        await trio.sleep(100)
        world.feed("106")
        await trio.sleep(100)
        assert sum(call.operation == "place_stop" for call in world.exchange.calls) > 10
        assert world.running.statistics().since_confirmed == trio.current_time() - confirmed
        assert isinstance(world.claim().error, trailing.StopRejected)


async def test_the_only_stop_waits_for_a_throttle_that_an_earlier_position_of_its_symbol_has_met(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: Any = {At("place_stop", SYMBOL, 1): Throttles(60.0)}
    async with open_world(two_stops=False, exchange_faults=faults) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        world.paper.reduce(SYMBOL, "long", D("1.5"))
        await trio.sleep(10)
        second = a_position(id="second")
        await world.enter(second)
        assert isinstance(await world.running.protect(second, deadline=5.0), Protected)
        world.feed("105")
        await trio.sleep(30)
        assert world.calls("cancel_stop") == 0
        await trio.sleep(30)
        assert [stop.price for stop in await world.live()] == [D("103.95")]
