"""The emergency exit closes everything, cancels stops only behind flat positions, and lists what is open whenever it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio

from trailing import AuthenticationFailed, NothingToReduce, Position, StopRejected, StopRequest, Tick, UsageError
from trailing.core.account import PositionReport
from trailing.core.entry_orders import EntryRequest
from trailing.core.model import Side, StopOrder
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.port import PartialList
from trailing.flatten.account import open_flattening
from trailing.flatten.orders import READS_AT_ONCE
from trailing.flatten.result import FlattenResult, Survey
from trailing.testing import (
    At,
    Fails,
    FaultyExchange,
    Hangs,
    Refuses,
    ReplyLost,
    Slow,
    Throttles,
    Unreachable,
    cancel_everywhere,
)
from trailing.testing.faults import Faults

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
OURS = "trabcd0123456789abcdef"
LAG = 0.5
CANCELS = {"cancel_stop", "cancel_order"}


@dataclass
class World:
    """A paper account, and the calls of the exit in front of it."""

    paper: PaperExchange
    exchange: FaultyExchange
    said: list[str] = field(default_factory=list)
    result: FlattenResult | None = None

    async def enter(self, symbol: str = BTC, side: Side = "long", quantity: str = "2", stop: str | None = OURS) -> None:
        await self.paper.enter(Position(symbol, side, D(quantity), D(100), datetime(2026, 1, 1, tzinfo=UTC)))
        if stop is not None:
            price = D(98) if side == "long" else D(102)
            self.paper.place_by_hand(StopRequest(symbol, side, D(quantity), price, stop))

    def held(self, symbol: str = BTC) -> dict[Side, D]:
        return self.paper.actual(symbol)[1]

    def stops(self, symbol: str = BTC) -> list[str]:
        return sorted(stop.client_order_id for stop in self.paper.actual(symbol)[0])

    def sent(self, operation: str) -> list[float]:
        return [call.at for call in self.exchange.calls if call.operation == operation]

    async def flatten(self, *, deadline: float = 180.0, **options: Any) -> FlattenResult:
        async with open_flattening(self.exchange, tell=self.said.append, **options) as flattening:
            try:
                await flattening.run(deadline)
            finally:
                self.result = flattening.result()
        return self.result

    async def survey(self, **options: Any) -> Survey:
        async with open_flattening(self.exchange, **options) as flattening:
            return await flattening.survey()


@asynccontextmanager
async def a_world(
    faults: Faults | None = None, wrap: Callable[[PaperExchange], Any] = lambda paper: paper, **settings: Any
) -> AsyncIterator[World]:
    settings = {"latency": 0.1, "orders_read_lag": LAG, "positions_read_lag": LAG} | settings
    async with open_paper(record=True, **settings) as paper:
        yield World(paper, FaultyExchange(wrap(paper), faults or {}))


def an_id(number: int) -> str:
    return f"trabcd{number:016x}"


async def fill_twenty(world: World) -> list[str]:
    symbols = [f"COIN{number}/USDT:USDT" for number in range(20)]
    for number, symbol in enumerate(symbols):
        await world.enter(symbol, "long" if number % 2 else "short", stop=an_id(number))
    return symbols


async def test_twenty_positions_are_closed_in_parallel_and_their_stops_are_cancelled_after_each_is_flat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(latency=2.0) as world:
        symbols = await fill_twenty(world)
        result = await world.flatten()
        assert result.is_done
        assert (len(result.closed), result.still_open, len(result.cancelled)) == (20, (), 20)
        assert all(world.held(symbol) == {} and world.stops(symbol) == [] for symbol in symbols)
        closes = world.sent("close_position")
        assert len(closes) == 20
        assert max(closes) - min(closes) == 0
        filled = max(entry.at for entry in world.paper.log if entry.operation == "close_position")
        assert min(world.sent("cancel_stop")) >= filled + LAG
        assert {(one.quantity, one.price) for one in result.closed} == {(D(2), D(100))}


async def test_the_survey_shows_what_would_be_closed_and_cancelled_and_sends_nothing_that_changes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        await world.enter()
        await world.enter(ETH, "short", "1", None)
        world.paper.take_profit_by_hand(ETH, "short", D(1), D(90), "profit")
        await trio.sleep(LAG)
        survey = await world.survey()
        shown = [(one.symbol, one.side, one.quantity, one.entry_price, one.stops) for one in survey.positions]
        assert shown == [(BTC, "long", D(2), D(100), 1), (ETH, "short", D(1), D(100), 0)]
        assert survey.covering_orders == (f"{ETH} LIMIT buy 1 at 90 (profit)",)
        assert (survey.stops_without_position, survey.problems) == ((), ())
        assert {call.operation for call in world.exchange.calls} == {"open_stops", "positions", "open_orders"}


@pytest.mark.parametrize("quantity", ["2", "0.5"])
async def test_a_take_profit_that_blocks_the_close_is_cancelled_and_named(
    quantity: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_world() as world:
        await world.enter()
        world.paper.take_profit_by_hand(BTC, "long", D(quantity), D(110), "profit")
        result = await world.flatten()
        assert (result.is_done, world.held()) == (True, {})
        assert f"{BTC} LIMIT sell {quantity} at 110 (profit)" in result.cancelled
        assert [one.quantity for one in result.closed] == [D(2)]


async def test_with_a_symbol_the_other_symbols_keep_their_positions_and_orders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        await world.enter()
        await world.enter(ETH, stop=an_id(2))
        world.paper.take_profit_by_hand(ETH, "long", D(2), D(110), "profit")
        result = await world.flatten(symbols={BTC})
        assert (result.is_done, [one.symbol for one in result.closed]) == (True, [BTC])
        assert (world.held(), world.held(ETH)) == ({}, {"long": D(2)})
        assert world.stops(ETH) == [an_id(2)]
        assert [order.client_order_id for order in await world.paper.open_orders(ETH)] == ["profit", an_id(2)]


async def test_an_unknown_symbol_is_refused_before_anything_is_read(autojump_clock: trio.testing.MockClock) -> None:
    async with a_world() as world:
        with pytest.raises(UsageError, match="BTCUSDT"):
            await world.flatten(symbols={"BTCUSDT"})
        assert world.exchange.calls == []


async def test_only_ours_leaves_positions_without_a_stop_of_ours_unless_the_store_knows_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        await world.enter()
        world.paper.place_by_hand(StopRequest(BTC, "long", D(2), D(97), "foreign"))
        await world.enter(ETH, stop="another")
        await world.enter("SOL/USDT:USDT", stop=None)
        await trio.sleep(LAG)
        result = await world.flatten(only_ours=True, recorded={("SOL/USDT:USDT", "long")})
        assert [one.symbol for one in result.closed] == [BTC, "SOL/USDT:USDT"]
        assert (world.held(ETH), world.stops(ETH)) == ({"long": D(2)}, ["another"])
        assert result.cancelled == (f"{BTC} long stop 2 at 98 ({OURS})",)
        assert world.stops() == ["foreign"]


async def test_an_entry_that_may_open_a_position_again_is_left_and_named(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        await world.enter()
        await world.paper.place_entry(EntryRequest(BTC, "long", D(1), "entry", limit=D(90)))
        result = await world.flatten()
        assert result.left == (f"{BTC} LIMIT buy 1 at 90 (entry)",)
        assert [order.client_order_id for order in await world.paper.open_orders(BTC)] == ["entry"]


async def test_an_account_without_a_position_is_proved_flat_by_two_snapshots(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        result = await world.flatten()
        assert (result.is_done, result.closed) == (True, ())
        assert len(world.sent("positions")) == 2


class ListsNothingAtFirst:
    """Lists no position for some seconds, as venues were seen to do."""

    def __init__(self, inner: PaperExchange, seconds: float) -> None:
        self.inner, self.until = inner, trio.current_time() + seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def positions(self) -> Sequence[PositionReport]:
        found = await self.inner.positions()
        return found if trio.current_time() > self.until else ()


async def test_a_stop_whose_position_is_not_listed_stays_until_the_position_is_listed_and_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(wrap=lambda paper: ListsNothingAtFirst(paper, 30.0)) as world:
        await world.enter()
        await trio.sleep(LAG)
        assert (await world.survey()).stops_without_position == (f"{BTC} long stop 2 at 98 ({OURS})",)
        result = await world.flatten()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])
        assert min(world.sent("cancel_stop")) > 30.0


async def test_a_stop_without_a_position_is_cancelled_only_after_the_evidence_for_a_contradicted_list(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world:
        await world.enter()
        world.paper.reduce(BTC, "long", D(2))
        await trio.sleep(LAG)
        result = await world.flatten(deadline=60.0)
        assert (result.is_done, world.stops()) == (False, [OURS])
        assert "not listed, but not confirmed flat either" in result.still_open[0].reason
        started = trio.current_time()
        result = await world.flatten()
        assert (result.is_done, world.stops()) == (True, [])
        assert world.sent("cancel_stop")[0] - started > 120.0


@pytest.mark.parametrize(
    "fault", [ReplyLost(), Unreachable(), Throttles(3.0), Refuses(), Slow(4.0), Hangs(), Hangs(booked=True)]
)
async def test_after_any_single_fault_of_a_close_everything_is_flat(
    fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_world({At("close_position", BTC, 1): fault}) as world:
        await world.enter()
        await world.enter(ETH, "short", stop=an_id(2))
        result = await world.flatten()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])
        assert (world.held(ETH), world.stops(ETH)) == ({}, [])
        assert {(one.symbol, one.quantity) for one in result.closed} == {(BTC, D(2)), (ETH, D(2))}


@pytest.mark.parametrize(
    "operation", ["open_stops", "positions", "open_orders", "cancel_stop", "cancel_order", "order_fills"]
)
@pytest.mark.parametrize("fault", [ReplyLost(), Unreachable(), Throttles(1.0), Hangs(), Refuses(StopRejected("no"))])
async def test_after_two_faults_of_any_other_request_everything_is_flat(
    operation: Any, fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    struck = {At(operation, call=1): fault, At(operation, call=2): fault, At("close_position", call=1): ReplyLost()}
    async with a_world(struck) as world:
        await world.enter()
        world.paper.take_profit_by_hand(BTC, "long", D(1), D(110), "profit")
        result = await world.flatten()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])
        assert await world.paper.open_orders(BTC) == ()


async def test_a_close_that_is_always_refused_is_listed_with_the_words_of_the_exchange_and_its_stop_stays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refusal = Refuses(StopRejected("the market is closed"))
    async with a_world({At("close_position", BTC): refusal}) as world:
        await world.enter()
        await world.enter(ETH, stop=an_id(2))
        result = await world.flatten(deadline=60.0)
        (left,) = result.still_open
        assert str(left) == f"{BTC} long 2: the market is closed"
        assert (result.is_done, result.is_flat, world.stops()) == (False, False, [OURS])
        assert [one.symbol for one in result.closed] == [ETH]
        assert 10 < len(world.sent("close_position")) < 40  # not without a pause


@pytest.mark.parametrize("error", [NothingToReduce("covered"), StopRejected("no")])
async def test_a_refused_close_never_cancels_a_stop_while_the_position_is_listed(
    error: StopRejected, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_world({At("close_position"): Refuses(error)}) as world:
        await world.enter()
        result = await world.flatten(deadline=170.0)
        assert (world.held(), world.stops(), world.sent("cancel_stop")) == ({"long": D(2)}, [OURS], [])
        assert str(error) in result.still_open[0].reason


async def test_a_position_that_appears_meanwhile_is_closed_too(autojump_clock: trio.testing.MockClock) -> None:
    async with a_world() as world, trio.open_nursery() as nursery:
        await world.enter()

        async def enter_later() -> None:
            await trio.sleep(0.7)
            await world.enter(ETH, "short", stop=an_id(2))

        nursery.start_soon(enter_later)
        result = await world.flatten()
        assert (result.is_done, world.held(ETH), world.stops(ETH)) == (True, {}, [])
        assert f"{ETH} short appeared" in world.said


async def test_a_position_that_is_opened_again_before_the_proof_is_closed_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world() as world, trio.open_nursery() as nursery:
        await world.enter(stop=None)

        async def enter_again() -> None:
            while not world.sent("close_position") or world.held():
                await trio.sleep(0.1)
            await world.enter(stop=None, quantity="3")

        nursery.start_soon(enter_again)
        result = await world.flatten()
        assert (result.is_done, world.held(), len(world.sent("close_position"))) == (True, {}, 2)
        assert [one.quantity for one in result.closed] == [D(5)]


class ListsPartly:
    """Leaves an entry of the list of positions out for some seconds, and says so."""

    def __init__(self, inner: PaperExchange, seconds: float) -> None:
        self.inner, self.until = inner, trio.current_time() + seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def positions(self) -> Sequence[PositionReport]:
        found = await self.inner.positions()
        return found if trio.current_time() > self.until else PartialList(found, ["an entry"])


@pytest.mark.parametrize(("seconds", "is_proved"), [(20.0, True), (500.0, False)])
async def test_an_incomplete_list_proves_nothing(
    seconds: float, is_proved: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_world(wrap=lambda paper: ListsPartly(paper, seconds)) as world:
        result = await world.flatten(deadline=60.0)
        assert result.is_done == is_proved
        assert result.reason == (
            "" if is_proved else "the list of positions is incomplete: an entry of it can't be read"
        )
        assert (await world.survey()).problems == (() if is_proved else ("the list of positions is incomplete",))


class ListsTwice:
    def __init__(self, inner: PaperExchange) -> None:
        self.inner, self.until = inner, trio.current_time() + 20.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def positions(self) -> Sequence[PositionReport]:
        found = await self.inner.positions()
        return found if trio.current_time() > self.until else [*found, *found]


async def test_a_position_that_is_listed_twice_is_not_closed_before_its_quantity_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(wrap=ListsTwice) as world:
        await world.enter()
        result = await world.flatten(deadline=10.0)
        assert "listed twice" in result.still_open[0].reason
        assert world.sent("close_position") == []
        result = await world.flatten()
        assert (result.is_done, world.held()) == (True, {})


async def test_credentials_that_are_refused_end_it_with_the_documented_error_and_the_list(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused = Fails(AuthenticationFailed("no such key"))

    def faults(operation: str, _: str | None, number: int) -> Fails | None:
        return refused if operation in ("positions", "open_stops") and number > 1 else None

    async with a_world(faults) as world:
        await world.enter()
        await trio.sleep(LAG)
        with pytest.raises(AuthenticationFailed, match="no such key"):
            await world.flatten()
        assert world.result is not None
        assert (world.result.is_done, len(world.result.still_open)) == (False, 1)


async def test_a_bug_at_one_position_costs_no_other_its_close_and_is_raised_at_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("close_position", BTC, 1): Fails(KeyError("bug"))}) as world:
        await world.enter()
        await world.enter(ETH, stop=an_id(2))
        with pytest.raises(ExceptionGroup) as caught:
            await world.flatten()
        assert [type(bug) for bug in caught.value.exceptions] == [KeyError]
        assert (world.held(), world.held(ETH), world.stops(), world.stops(ETH)) == ({}, {}, [], [])


async def test_while_no_list_can_be_read_it_closes_what_the_survey_found_and_says_that_nothing_is_proved(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def faults(operation: str, _: str | None, number: int) -> Unreachable | None:
        return Unreachable() if operation == "positions" and number > 1 else None

    async with a_world(faults) as world:
        await world.enter()
        await trio.sleep(LAG)
        async with open_flattening(world.exchange) as flattening:
            await flattening.look()
            await flattening.run(30.0)
            result = flattening.result()
        assert (world.held(), world.stops()) == ({}, [OURS])
        assert (result.is_done, [left.reason for left in result.still_open]) == (
            False,
            ["closed, but not confirmed flat yet"],
        )


async def check_after_any_cancellation(world: World, cancelled: bool) -> None:
    """Each position is flat without a stop, or has its stop, or is listed as not closed."""
    await trio.sleep(5.0)  # requests in flight are executed
    result = world.result
    assert result is not None or cancelled
    listed = set() if result is None else {(left.symbol, left.side) for left in result.still_open}
    closed = set() if result is None else {(one.symbol, one.side) for one in result.closed}
    for symbol in (BTC, ETH):
        held = world.held(symbol)
        assert set(held) <= {"long"}  # no exit crosses zero
        if held:
            assert len(world.stops(symbol)) == 1, f"{symbol} is open without its stop"
            assert (symbol, "long") not in closed
            assert (symbol, "long") in listed or not world.exchange.calls or result is None or not result.is_flat
        elif world.stops(symbol):
            assert result is None or not result.is_done
    if not cancelled:
        assert result is not None
        assert result.is_done
    if result is not None and result.is_done:
        assert (world.held(), world.held(ETH), world.stops(), world.stops(ETH)) == ({}, {}, [], [])


async def test_cancelled_after_any_step_each_position_is_flat_or_keeps_its_stop_and_is_listed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def prepared() -> AsyncIterator[World]:
        async with a_world({At("close_position", BTC, 1): ReplyLost()}) as world:
            await world.enter()
            await world.enter(ETH, stop=an_id(2))
            world.paper.take_profit_by_hand(ETH, "long", D(2), D(110), "profit")
            await trio.sleep(LAG)
            yield world

    points = await cancel_everywhere(prepared, World.flatten, check_after_any_cancellation)
    assert points > 50


async def test_a_stop_that_fills_while_the_close_is_sent_is_no_second_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(latency=1.0) as world, trio.open_nursery() as nursery:
        await world.enter()

        async def fall() -> None:
            await trio.sleep(1.2)
            world.paper.feed(Tick(BTC, D(97), trio.current_time()))

        nursery.start_soon(fall)
        result = await world.flatten()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])


async def test_open_orders_that_can_not_be_read_are_problems_of_the_survey_and_not_of_the_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("open_orders", BTC): Unreachable(), At("open_orders", ETH, 1): Hangs()}) as world:
        await world.enter()
        await world.enter(ETH, stop=an_id(2))
        await trio.sleep(LAG)
        first, second = (await world.survey()).problems
        assert first.startswith(f"{BTC}: the open orders can't be read: ")
        assert second.endswith(("no answer within 10.0 s", "could be read within 10 s"))


async def test_while_the_open_orders_can_not_be_read_the_stop_is_cancelled_and_the_exit_is_not_done(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("open_orders"): Unreachable()}) as world:
        await world.enter()
        result = await world.flatten(deadline=60.0)
        assert (world.held(), world.stops(), result.still_open, result.is_done) == ({}, [], (), False)
        (words,) = result.not_cancelled
        assert words.startswith(f"{BTC}: the open orders can't be read: ")


async def test_a_take_profit_is_not_found_while_the_open_orders_can_not_be_read_and_the_close_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("open_orders", call=1): Unreachable()}) as world:
        await world.enter()
        world.paper.take_profit_by_hand(BTC, "long", D(2), D(110), "profit")
        result = await world.flatten()
        assert (result.is_done, world.held()) == (True, {})
        assert any("the open orders can't be read" in said for said in world.said)


async def test_a_stop_that_can_not_be_cancelled_is_listed(autojump_clock: trio.testing.MockClock) -> None:
    async with a_world({At("cancel_stop"): Refuses(StopRejected("no such right"))}) as world:
        await world.enter()
        result = await world.flatten(deadline=60.0)
        assert (world.held(), world.stops(), result.still_open, result.is_done) == ({}, [OURS], (), False)
        assert result.not_cancelled == (f"{BTC} long stop 2 at 98 ({OURS}): no such right",)


class KnowsNoExecutions:
    def __init__(self, inner: PaperExchange) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def order_fills(self, *_: object) -> Sequence[object]:
        raise UsageError("it is not known how to read them here")


async def test_without_executions_a_lost_reply_is_settled_by_the_lists_alone_after_the_unannounced_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("close_position", call=1): ReplyLost()}, KnowsNoExecutions) as world:
        await world.enter()
        result = await world.flatten()
        assert (result.is_done, world.stops(), len(world.sent("close_position"))) == (True, [], 1)
        assert 60.0 < min(world.sent("cancel_stop")) < 100.0
        assert [(one.quantity, one.price) for one in result.closed] == [(D(0), None)]


async def test_a_lost_reply_is_settled_by_the_executions_within_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("close_position", call=1): ReplyLost()}) as world:
        await world.enter()
        result = await world.flatten()
        assert (result.is_done, len(world.sent("close_position"))) == (True, 1)
        assert max(world.sent("cancel_stop")) < 10.0


class ListsCancelledStops:
    """Acknowledges the first cancellation, and does not execute it."""

    def __init__(self, inner: PaperExchange) -> None:
        self.inner, self.until = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def cancel_stop(self, order: StopOrder) -> None:
        if not self.until:
            self.until = trio.current_time()
            return
        await self.inner.cancel_stop(order)


async def test_a_stop_that_is_listed_after_its_acknowledged_cancellation_is_cancelled_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(wrap=ListsCancelledStops) as world:
        await world.enter()
        result = await world.flatten()
        assert (result.is_done, world.stops(), len(world.sent("cancel_stop"))) == (True, [], 2)


async def test_in_one_way_mode_a_position_of_the_other_side_is_evidence_and_is_closed_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refusal = Refuses(NothingToReduce("covered"))  # it proves nothing
    async with a_world({At("close_position", call=1): refusal}) as world, trio.open_nursery() as nursery:
        await world.enter(stop=None)
        await trio.sleep(LAG)

        async def flip() -> None:
            world.paper.reduce(BTC, "long", D(2))
            await world.enter(side="short", stop=an_id(2))

        async with open_flattening(world.exchange) as flattening:
            await flattening.look()
            nursery.start_soon(flip)
            await trio.sleep(2 * LAG)
            started = trio.current_time()
            await flattening.run(180.0)
            result = flattening.result()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])
        assert trio.current_time() - started < 60.0


async def test_a_position_that_is_opened_again_while_its_orders_are_read_keeps_its_stop_until_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("open_orders", call=1): Slow(4.0)}) as world, trio.open_nursery() as nursery:
        await world.enter()

        async def enter_again() -> None:
            while not world.sent("open_orders"):
                await trio.sleep(0.1)
            await world.enter(stop=an_id(2))

        nursery.start_soon(enter_again)
        result = await world.flatten()
        assert (result.is_done, world.held(), world.stops()) == (True, {}, [])
        times = {entry.client_order_id: entry.at for entry in world.paper.log if entry.operation in CANCELS}
        closes = [entry.at for entry in world.paper.log if entry.operation == "close_position"]
        assert len(closes) == 2
        assert times[an_id(2)] > closes[1]


class HidesPositions:
    """Says for some time that the list of positions is incomplete, and lists none."""

    def __init__(self, inner: PaperExchange) -> None:
        self.inner, self.is_hiding = inner, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def positions(self) -> Sequence[PositionReport]:
        found = await self.inner.positions()
        return PartialList((), ["an entry"]) if self.is_hiding else found


async def test_a_position_that_an_incomplete_list_leaves_out_is_not_flat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("close_position"): Refuses(NothingToReduce("covered"))}, HidesPositions) as world:
        await world.enter()
        await trio.sleep(LAG)
        async with open_flattening(world.exchange) as flattening:
            await flattening.look()
            world.exchange.inner.is_hiding = True  # type: ignore[attr-defined]
            await flattening.run(170.0)
            result = flattening.result()
        assert (result.closed, world.stops(), world.sent("cancel_stop")) == ((), [OURS], [])


async def test_a_close_that_is_not_answered_before_the_deadline_may_be_executed_and_is_listed_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("close_position"): Hangs()}) as world:
        await world.enter()
        result = await world.flatten(deadline=5.0)
        (left,) = result.still_open
        assert left.reason == "a close was sent and not answered; it may be executed"


async def test_while_a_close_is_in_flight_no_snapshot_decides(autojump_clock: trio.testing.MockClock) -> None:
    async with a_world({At("close_position", BTC): Slow(9.0)}) as world, trio.open_nursery() as nursery:
        await world.enter()
        await world.enter(ETH, stop=an_id(2))

        async def close_by_hand() -> None:
            await trio.sleep(2.0)
            world.paper.reduce(BTC, "long", D(2))

        nursery.start_soon(close_by_hand)
        result = await world.flatten()
        assert (result.is_done, len(world.sent("close_position"))) == (True, 2)
        cancelled = [call.at for call in world.exchange.calls if (call.operation, call.symbol) == ("cancel_stop", BTC)]
        assert min(cancelled) > 9.0


async def test_the_take_profit_of_the_other_side_of_a_symbol_stays(autojump_clock: trio.testing.MockClock) -> None:
    async with a_world(hedged=True) as world:
        await world.enter()
        await world.enter(side="short", stop=None)
        world.paper.take_profit_by_hand(BTC, "long", D(2), D(110), "long-profit")
        world.paper.take_profit_by_hand(BTC, "short", D(2), D(90), "short-profit")
        result = await world.flatten(only_ours=True)
        assert (result.is_done, world.held()) == (True, {"short": D(2)})
        await trio.sleep(LAG)
        assert [order.client_order_id for order in await world.paper.open_orders(BTC)] == ["short-profit"]


async def test_a_stop_that_ends_with_its_position_is_no_failed_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world(cancel_on_flat=True, orders_read_lag=6.0) as world:
        await world.enter()
        await trio.sleep(6.0)
        result = await world.flatten()
        assert (result.is_done, world.stops(), result.cancelled) == (True, [], ())
        assert len(world.sent("cancel_stop")) >= 1
        assert not any("not cancelled" in said for said in world.said)


async def test_the_open_orders_of_flat_positions_are_read_a_few_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_world({At("open_orders"): Slow(3.0)}) as world:
        await fill_twenty(world)
        assert (await world.flatten()).is_done
        reads = world.sent("open_orders")
        assert len(reads) == 20
        assert max(sum(at <= other < at + 3.0 for other in reads) for at in reads) == READS_AT_ONCE
