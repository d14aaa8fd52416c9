"""Adopt many positions at once: from one snapshot, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import pytest
import trio
import trio.testing
from inspection import Key
from worlds import BTC, SYMBOL, World, a_position, open_listened, open_world, some_positions
from wrong_venues import during, empty, open_wrong_world, without

from trailing import (
    Callback,
    ExchangeUnreachable,
    Market,
    NotAdopted,
    Percent,
    Position,
    Protected,
    Refused,
    TrailPlan,
    UsageError,
)
from trailing.exchanges.port import PartialList, StopRequest
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Unreachable, cancel_everywhere

ETH: Key = ("ETH/USDT:USDT", "long")
SOL: Key = ("SOL/USDT:USDT", "long")


def pairs_of(*positions: Position) -> list[Key]:
    return [(position.symbol, position.side) for position in positions]


def kinds(report: Any) -> list[str]:
    return [type(outcome).__name__ for outcome in report.outcomes]


def place_foreign(world: World, symbol: str = SYMBOL, price: str = "97") -> None:
    world.paper.place_by_hand(StopRequest(symbol, "long", D(1), D(price), f"by-hand-{symbol[:3].lower()}"))


def without_market(world: World, unknown: str) -> Callable[[str], Market]:
    """A look-up of markets that lacks one."""

    def look_up(symbol: str) -> Market:
        if symbol == unknown:
            raise UsageError(f"symbol got {symbol!r}, but paper lists no such linear contract")
        return world.paper.market(symbol)

    return look_up


# One snapshot.


@pytest.mark.parametrize("is_named", [True, False], ids=["adopt_wave", "adopt_all"])
async def test_two_hundred_positions_are_adopted_from_one_snapshot(
    is_named: bool, autojump_clock: trio.testing.MockClock
) -> None:
    positions = some_positions(200)
    async with open_world(latency=1.0) as world:
        await world.enter(*positions)
        started = trio.current_time()
        if is_named:
            report = await world.running.adopt_wave(pairs_of(*reversed(positions)), deadline=5.0)
        else:
            report = await world.running.adopt_all(deadline=5.0)
        assert trio.current_time() - started == 2.0  # one for the lists, one for all stops
        named = positions[::-1] if is_named else sorted(positions, key=lambda position: position.symbol)
        assert [(outcome.symbol, type(outcome)) for outcome in report.outcomes] == [
            (position.symbol, Protected) for position in named
        ]
        first = next(index for index, call in enumerate(world.exchange.calls) if call.operation == "place_stop")
        before = [call.operation for call in world.exchange.calls[:first]]
        assert (before.count("positions"), before.count("open_stops")) == (1, 1)
        assert world.calls("positions") == 2  # as for one position, the openings ask for another one
        assert (report.is_complete, len(report.protected), report.unprotected) == (True, 200, ())
        assert report.opening_times.count == 200
        statistics = world.running.statistics()
        assert (statistics.waves, statistics.outcomes) == (1, {"Protected": 200})
        await trio.sleep(10)
        await world.check(*positions)


async def test_each_position_of_a_wave_has_its_own_outcome_in_the_order_given(
    autojump_clock: trio.testing.MockClock,
) -> None:
    small, mine = a_position("SMALL/USDT:USDT"), a_position(*ETH)
    markets = [Market(small.symbol, min_quantity=D(10))]
    async with open_world(latency=0.5, markets=markets, positions_read_lag=2.0) as world:
        await world.protect(mine)
        await world.enter(small, a_position())
        await trio.sleep(2)
        started = trio.current_time()

        async def check_not_held_up() -> None:
            await trio.sleep(1.05)
            assert BTC in world.running.stops()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_not_held_up)
            report = await world.running.adopt_wave([SOL, ETH, pairs_of(small)[0], BTC], deadline=5.0)
        assert trio.current_time() - started > 2.0
        assert kinds(report) == ["NotAdopted", "AlreadyProtected", "Refused", "Protected"]
        missing, _, refused, _ = report.outcomes
        assert str(missing).startswith(
            "SOL/USDT:USDT long: not adopted (the exchange reports no long position of SOL/USDT:USDT that could be"
        )
        assert isinstance(missing, NotAdopted)
        assert isinstance(missing.error, UsageError)
        assert isinstance(refused, Refused)
        assert "Position.quantity of SMALL/USDT:USDT got 1.5, wants at least 10" in str(refused.error)
        assert report.unprotected == (refused,)
        assert set(world.running.unprotected()) == {("SMALL/USDT:USDT", "long")}
        assert set(world.running.stops()) == {ETH, BTC}


async def test_a_position_that_only_the_second_answer_lists_is_adopted_after_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(latency=0.5) as (world, venue):
        await world.enter(a_position(), a_position(*ETH))
        venue.list_positions = during(0.6, without(*ETH))
        report = await world.running.adopt_wave([ETH, BTC], deadline=5.0)
        assert kinds(report) == ["Protected", "Protected"]
        late, first = report.outcomes
        assert isinstance(late, Protected)
        assert isinstance(first, Protected)
        assert late.position.opened_at > first.position.opened_at


async def test_a_wave_of_no_positions_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        report = await world.running.adopt_wave([], deadline=5.0)
        assert (report.outcomes, world.calls("positions")) == ((), 0)


async def test_foreign_stops_stay_as_they_are(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=0.5) as world:
        await world.enter(a_position(), a_position(*ETH))
        place_foreign(world)
        place_foreign(world, ETH[0], "96")
        foreign = set(await world.live())
        report = await world.running.adopt_all(deadline=5.0)
        assert kinds(report) == ["Protected", "Protected"]
        await trio.sleep(200)
        assert set(await world.live()) == foreign | set(world.running.stops().values())
        assert len(await world.live()) == 4


async def test_given_stops_and_a_plan_count_for_the_positions_that_they_name(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.enter(a_position(), a_position(*ETH))
        world.feed("110")
        plan = TrailPlan(initial_stop=Percent(5))
        await world.running.adopt_wave([BTC, ETH], deadline=5.0, plan=plan, stop_prices={BTC: D(105)})
        assert {key: stop.price for key, stop in world.running.stops().items()} == {BTC: 105, ETH: 95}


# All that are listed.


async def test_all_positions_that_are_listed_and_not_claimed_are_adopted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    short = a_position(side="short")
    async with open_world(latency=0.5, hedged=True) as world:
        (mine,) = await world.protect(settle=0.0)
        await world.enter(short, a_position(*ETH))
        report = await world.running.adopt_all(deadline=5.0)
        assert [str(outcome) for outcome in report.outcomes] == [
            "BTC/USDT:USDT short: protected by a stop at 102, after 0.5 s",
            "ETH/USDT:USDT long: protected by a stop at 98, after 0.5 s",
        ]
        assert world.running.stops()[BTC] == mine
        assert (await world.running.adopt_all(deadline=5.0)).outcomes == ()


@pytest.mark.parametrize(
    ("chosen", "adopted"),
    [
        ({"symbols": [SYMBOL, SOL[0]]}, {BTC}),
        ({"exclude": {SYMBOL}}, {ETH}),
        ({"symbols": {SYMBOL, ETH[0]}, "exclude": (ETH[0],)}, {BTC}),
        ({"symbols": []}, set()),
    ],
    ids=["symbols", "exclude", "both", "none"],
)
async def test_symbols_choose_among_all_positions(
    chosen: Any, adopted: set[Any], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world() as world:
        await world.enter(a_position(), a_position(*ETH))
        report = await world.running.adopt_all(deadline=5.0, **chosen)
        assert set(world.running.stops()) == adopted
        assert len(report.outcomes) == len(adopted)


async def test_a_list_without_any_position_is_believed_only_when_it_is_confirmed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(latency=0.1) as (world, venue):
        started = trio.current_time()
        report = await world.running.adopt_all(deadline=10.0)
        assert (report.outcomes, report.is_complete) == ((), True)
        assert trio.current_time() - started >= 2.0
        await world.enter(a_position())
        venue.list_positions = during(1.0, empty)
        assert kinds(await world.running.adopt_all(deadline=10.0)) == ["Protected"]


async def test_a_list_that_can_not_be_read_in_full_proves_presence_and_the_report_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(latency=0.1) as (world, venue):
        await world.enter(a_position())
        venue.list_positions = lambda true: PartialList(true, left_out=["a position"])
        report = await world.running.adopt_all(deadline=5.0)
        assert (kinds(report), report.is_complete) == (["Protected"], False)
        started = trio.current_time()
        report = await world.running.adopt_wave([SOL], deadline=5.0)
        (missing,) = report.outcomes
        assert isinstance(missing, NotAdopted)
        assert isinstance(missing.error, ExchangeUnreachable)  # nothing says that it does not exist
        assert report.unprotected == (missing,)
        assert trio.current_time() - started == 5.0
        venue.list_positions = lambda _: PartialList((), left_out=["a position"])
        report = await world.running.adopt_all(deadline=5.0)
        assert (report.outcomes, report.is_complete) == ((), False)


async def test_a_position_that_is_listed_twice_has_an_outcome_too(autojump_clock: trio.testing.MockClock) -> None:
    async with open_wrong_world(latency=0.1) as (world, venue):
        await world.enter(a_position(), a_position(*ETH))
        venue.list_positions = lambda true: (*true, *(each for each in true if each.symbol == SYMBOL))
        report = await world.running.adopt_all(deadline=5.0)
        assert [(outcome.symbol, type(outcome)) for outcome in report.outcomes] == [
            (ETH[0], Protected),
            (SYMBOL, NotAdopted),
        ]
        assert not report.is_complete
        assert report.outcomes[1] in report.unprotected


# What can go wrong.


@pytest.mark.parametrize("fault", [Unreachable(), Hangs()], ids=["unreachable", "hanging"])
async def test_an_account_that_can_not_be_read_is_adopted_in_no_part(
    fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(exchange_faults={At("positions"): fault}) as world:
        await world.enter(a_position(), a_position(*ETH))
        report = await world.running.adopt_wave([BTC, ETH], deadline=5.0)
        assert [type(getattr(outcome, "error", None)) for outcome in report.outcomes] == [ExchangeUnreachable] * 2
        with pytest.raises(ExchangeUnreachable, match="the positions of the account were not read before the deadline"):
            await world.running.adopt_all(deadline=5.0)
        assert (world.calls("place_stop"), world.inside.claimed()) == (0, set())


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        ("wave", {"pairs": BTC}, r"pairs\[0\] got 'BTC/USDT:USDT', wants a symbol and a side"),
        ("wave", {"pairs": [BTC, ("BTCUSDT", "long")]}, r"pairs\[1\]: symbol got 'BTCUSDT', .*Did you mean BTC/USDT"),
        ("wave", {"pairs": [(7, "long")]}, r"pairs\[0\]: symbol got 7, wants a linear contract"),
        ("wave", {"pairs": [(SYMBOL, "buy")]}, r"pairs\[0\]: side got 'buy', wants one of 'long', 'short'"),
        ("wave", {"pairs": [BTC, ETH, BTC]}, r"pairs\[2\] got .* wants each pair once, and pairs\[0\] is the same"),
        ("wave", {"pairs": [("BTD/USDT:USDT", "long")]}, r"pairs\[0\]: symbol got 'BTD.*no such.*mean BTC/USDT:USDT"),
        ("wave", {"stop_prices": {ETH: D(98)}}, r"stop_prices got \('ETH/USDT:USDT', 'long'\), wants only pairs"),
        ("wave", {"stop_prices": {BTC: 98.0}}, r"stop_prices\[.*\] got 98.0, wants a finite Decimal"),
        ("wave", {"deadline": 0}, "deadline got 0"),
        ("all", {"deadline": -1}, "deadline got -1"),
        ("all", {"symbols": SYMBOL}, "symbols got 'BTC/USDT:USDT', wants a collection of symbols"),
        ("all", {"symbols": ["BTD/USDT:USDT"]}, "symbols: symbol got 'BTD/USDT:USDT'.* Did you mean BTC/USDT:USDT"),
        ("all", {"exclude": ["BTD/USDT:USDT"]}, "exclude: symbol got 'BTD/USDT:USDT'.* Did you mean BTC/USDT:USDT"),
        ("all", {"exclude": [("XRP/USDT:USDT", "long")]}, "exclude: symbol got"),
    ],
)
async def test_arguments_that_can_not_be_right_send_nothing(
    call: str, arguments: dict[str, Any], message: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(with_manager=False) as world:
        await world.enter(a_position())
        world.exchange.market = without_market(world, "BTD/USDT:USDT")  # type: ignore[assignment,method-assign]
        async with open_listened(world):
            before = len(world.exchange.calls)
            given: dict[str, Any] = ({"pairs": [BTC]} if call == "wave" else {}) | {"deadline": 5.0} | arguments
            with pytest.raises(UsageError, match=message):
                await (world.running.adopt_wave if call == "wave" else world.running.adopt_all)(**given)
            assert (len(world.exchange.calls), world.inside.claimed()) == (before, set())


async def test_a_position_whose_market_is_unknown_or_can_not_trail_is_refused_and_the_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    native = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), native=True)
    async with open_world(with_manager=False, markets=[Market(ETH[0])]) as world:
        await world.enter(a_position(), a_position(*ETH), a_position(*SOL))
        world.exchange.market = without_market(world, SOL[0])  # type: ignore[assignment,method-assign]
        async with open_listened(world) as manager:
            report = await manager.adopt_all(deadline=5.0, plan=native)
            assert kinds(report) == ["Protected", "Refused", "Refused"]
            errors = [str(getattr(outcome, "error", "")) for outcome in report.outcomes]
            assert "ETH/USDT:USDT has no trailing order of the exchange's own" in errors[1]
            assert "lists no such linear contract" in errors[2]
            assert set(manager.unprotected()) == {ETH, SOL}
            with pytest.raises(UsageError, match="TrailPlan.native got True"):  # named, it is an impossible argument
                await manager.adopt_wave([ETH], deadline=5.0, plan=native)
            with pytest.raises(UsageError, match="TrailPlan.native got True"):
                await manager.adopt_all(symbols=[ETH[0]], deadline=5.0, plan=native)


async def test_a_bug_while_a_position_is_read_is_raised_once_the_others_are_protected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("price", SYMBOL): Fails(ZeroDivisionError("a bug"))}) as world:
        await world.enter(a_position(), a_position(*ETH))
        with pytest.raises(ExceptionGroup) as raised:
            await world.running.adopt_wave([BTC, ETH], deadline=5.0, stop_prices={BTC: D(99)})
        assert [type(bug) for bug in raised.value.exceptions] == [ZeroDivisionError]
        assert set(world.running.stops()) == {ETH}


async def test_a_lost_reply_of_one_stop_leaves_one_stop_behind_each_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    positions = some_positions(3)
    faults: Any = {At("place_stop", positions[1].symbol, 1): ReplyLost()}
    async with open_world(latency=0.5, exchange_faults=faults) as world:
        await world.enter(*positions)
        report = await world.running.adopt_all(deadline=10.0)
        assert kinds(report) == ["Protected"] * 3
        assert world.calls("place_stop") == 3
        await trio.sleep(60)
        await world.check(*positions)
        assert len(await world.live()) == 3


async def test_a_manager_that_ends_ends_an_adoption(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, with_manager=False) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        async with open_listened(world) as manager:

            async def adopt() -> None:
                with pytest.raises(UsageError, match="the manager has ended meanwhile"):
                    await manager.adopt_all(deadline=5.0)

            nursery.start_soon(adopt)
            await trio.sleep(0.5)
        with pytest.raises(UsageError, match="the manager has ended"):
            await manager.adopt_wave([BTC], deadline=5.0)
        assert world.calls("place_stop") == 0


@pytest.mark.parametrize("fault", [None, ReplyLost(), Refuses()], ids=["no fault", "lost reply", "refusal"])
async def test_adopting_many_cancelled_anywhere_leaves_nothing_behind(
    fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """One with a stop of ours, one with a foreign stop, and one that is not listed."""
    faults: Any = {} if fault is None else {At("place_stop", ETH[0], 1): fault}
    both = a_position(), a_position(*ETH)

    @asynccontextmanager
    async def open_with_stops() -> AsyncIterator[World]:
        async with open_world(latency=0.5, exchange_faults=faults) as world:
            await world.enter(*both)
            await world.running.protect(both[0], deadline=5.0)
            await world.running.release(*BTC, cancel_stop=False)
            place_foreign(world, ETH[0])
            yield world

    async def act(world: World) -> None:
        await world.running.adopt_wave([BTC, SOL, ETH], deadline=6.0)

    async def check(world: World, cancelled: bool) -> None:
        await trio.sleep(60)
        claimed = world.inside.claimed()
        live = {order.client_order_id: order for order in await world.live()}
        assert live.pop("by-hand-eth").price == 97
        assert {*claimed, *world.running.unprotected(), *world.running.stops()} <= {BTC, ETH}
        assert sum(order.symbol == SYMBOL for order in live.values()) == 1  # at every moment: it was there before
        if BTC not in claimed:
            live.pop(*world.inside.released_stops())
        assert set(live.values()) == set(world.running.stops().values())
        assert claimed == world.inside.with_task()
        assert world.inside.with_unknown_request() == set()
        assert cancelled or claimed == {BTC, ETH}

    assert await cancel_everywhere(open_with_stops, act, check) > 10
