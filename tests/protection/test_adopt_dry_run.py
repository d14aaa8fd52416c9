"""A dry run of an adoption says what the adoption then does, and writes nothing."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from inspection import Key
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_world

from trailing import (
    AdoptionReport,
    AlreadyProtected,
    ExchangeUnreachable,
    Exited,
    Market,
    NotAdopted,
    OutcomeUnknown,
    Percent,
    Protected,
    Refused,
    TrailPlan,
    WouldAdopt,
)
from trailing.core.model import Side
from trailing.exchanges.port import StopRequest
from trailing.testing import At, Fails, Unreachable

ETH: Key = ("ETH/USDT:USDT", "long")
WRITES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}


def writes(world: World) -> list[str]:
    return [call.operation for call in world.exchange.calls if call.operation in WRITES]


def would_adopt(report: AdoptionReport) -> WouldAdopt:
    """The only outcome."""
    (outcome,) = report.outcomes
    assert isinstance(outcome, WouldAdopt)
    return outcome


async def leave_stop(world: World, price: str) -> None:
    """Leave a stop of ours behind the position, which nothing protects any more."""
    plan = TrailPlan(initial_stop=Percent(100 - D(price)))
    assert isinstance(await world.running.protect(a_position(), deadline=5.0, plan=plan), Protected)
    await world.running.release(*BTC, cancel_stop=False)


@pytest.mark.parametrize("policy", ["exit", "keep"])
@pytest.mark.parametrize(
    ("price", "left", "stop_price", "stop", "is_beyond", "words"),
    [
        ("100", None, None, "98", False, "a stop would be placed at 98"),
        (
            "97.9",
            None,
            None,
            "98",
            True,
            "the price 97.9 is already beyond the stop at 98, so the position would be {}",
        ),
        ("100", "95", None, "98", False, "our stop at 95 would be adopted; it would be moved to 98"),
        ("100", "99", None, "99", False, "our stop at 99 would be adopted"),
        (
            "97.9",
            "95",
            None,
            "98",
            True,
            "our stop at 95 would be adopted; the price 97.9 is already beyond the stop at 98, so the position would be {}",
        ),
        ("97", None, "96", "96", False, "a stop would be placed at 96"),
        ("105", None, "104", "104", False, "a stop would be placed at 104"),
    ],
)
async def test_an_adoption_does_what_its_dry_run_said(
    price: str,
    left: str | None,
    stop_price: str | None,
    stop: str,
    is_beyond: bool,
    words: str,
    policy: Any,
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = msgspec.structs.replace(PLAN, on_would_trigger=policy)
    given = None if stop_price is None else {BTC: D(stop_price)}
    async with open_world(plan=plan) as world:
        await world.enter(a_position())
        if left is not None:
            await leave_stop(world, left)
        world.feed(price)
        manager, written, stops = world.running, writes(world), await world.live()
        said = would_adopt(await manager.adopt_wave([BTC], deadline=5.0, stop_prices=given, dry_run=True))
        await trio.sleep(30)
        assert (writes(world), await world.live()) == (written, stops)
        assert (world.inside.claimed(), manager.unprotected(), manager.statistics().waves) == (
            set(),
            {},
            int(bool(left)),
        )

        assert (said.price, said.stop_price) == (D(price), D(stop))
        assert said.on_would_trigger == (policy if is_beyond else None)
        assert said.adopted == next(iter(stops), None)
        end = "left with it" if left else "left without a stop"
        end = "closed at market at once" if policy == "exit" else end
        assert str(said) == f"BTC/USDT:USDT long: {words.format(end)}"

        (outcome,) = (await manager.adopt_wave([BTC], deadline=5.0, stop_prices=given)).outcomes
        await trio.sleep(10)
        prices = [order.price for order in await world.live()]
        if not is_beyond:
            assert isinstance(outcome, Protected)
            assert prices == [D(stop)]
        elif policy == "exit":
            assert isinstance(outcome, Exited if left is None else Protected)  # then it is moved, and closed
            assert (prices, await world.paper.positions()) == ([], ())
        else:
            assert isinstance(outcome, Refused if left is None else Protected)
            assert prices == [stop.price for stop in stops]
            assert len(await world.paper.positions()) == 1


@pytest.mark.parametrize("side", ["long", "short"])
async def test_a_dry_run_names_the_stops_that_are_not_ours(side: Side, autojump_clock: trio.testing.MockClock) -> None:
    other: Side = "short" if side == "long" else "long"
    async with open_world(hedged=True) as world:
        await world.enter(a_position(side=side), a_position(side=other), a_position(*ETH))
        for number, (symbol, leg, price) in enumerate(
            [(SYMBOL, "long", 97), (SYMBOL, "short", 103), (SYMBOL, "long", 96), (SYMBOL, "short", 104), (*ETH, 95)]
        ):
            leg_side: Any = leg
            world.paper.place_by_hand(StopRequest(symbol, leg_side, D(1), D(price), f"by-hand-{number}"))
        said = would_adopt(await world.running.adopt_wave([(SYMBOL, side)], deadline=5.0, dry_run=True))
        assert {order.price for order in said.foreign} == ({97, 96} if side == "long" else {103, 104})
        assert (said.symbol, said.side, said.position.quantity) == (SYMBOL, side, D("1.5"))
        prices = ", ".join(str(order.price) for order in said.foreign)
        stop = 98 if side == "long" else 102
        assert str(said) == (
            f"BTC/USDT:USDT {side}: a stop would be placed at {stop}; foreign stops would stay as they are: {prices}"
        )


async def test_a_dry_run_of_all_says_what_becomes_of_each(autojump_clock: trio.testing.MockClock) -> None:
    small, mine = a_position("SMALL/USDT:USDT"), a_position("XRP/USDT:USDT")
    async with open_world(latency=0.1, markets=[Market(small.symbol, min_quantity=D(10))]) as world:
        await world.protect(mine)
        await world.enter(small, a_position(), a_position(*ETH))
        written = writes(world)
        report = await world.running.adopt_all(deadline=5.0, exclude=[ETH[0]], dry_run=True)
        assert [(outcome.symbol, type(outcome)) for outcome in report.outcomes] == [
            (SYMBOL, WouldAdopt),
            (small.symbol, Refused),
        ]
        assert (report.is_complete, report.protected, report.unprotected) == (True, (), report.outcomes)
        named = await world.running.adopt_wave(
            [(mine.symbol, "long"), ("SOL/USDT:USDT", "long")], deadline=5.0, dry_run=True
        )
        assert [type(outcome) for outcome in named.outcomes] == [AlreadyProtected, NotAdopted]
        assert writes(world) == written
        assert set(world.running.unprotected()) == set()
        assert world.running.statistics().outcomes == {"Protected": 1}


async def test_a_dry_run_refuses_a_given_stop_on_the_wrong_side(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.enter(a_position())
        report = await world.running.adopt_wave([BTC], deadline=5.0, stop_prices={BTC: D(101)}, dry_run=True)
        (outcome,) = report.outcomes
        assert isinstance(outcome, Refused)
        assert "Position.stop_price of BTC/USDT:USDT got 101, wants it below the price, 100" in str(outcome.error)


async def test_a_dry_run_does_not_wait_for_a_position_that_is_being_opened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    takes: Any = lambda operation, _: 5.0 if operation == "place_stop" else 0.1  # noqa: E731
    async with open_world(latency=takes) as world, trio.open_nursery() as nursery:
        await world.enter(a_position())
        nursery.start_soon(lambda: world.running.protect(a_position(), deadline=10.0))
        await trio.sleep(0.5)
        started = trio.current_time()
        report = await world.running.adopt_wave([BTC], deadline=5.0, dry_run=True)
        assert trio.current_time() - started < 1.0
        (outcome,) = report.outcomes
        assert isinstance(outcome, Refused)
        assert str(outcome.error) == "BTC/USDT:USDT long has no live stop, and its task works on it already"


@pytest.mark.parametrize("error", [ExchangeUnreachable("no"), OutcomeUnknown("no")])
async def test_a_dry_run_whose_price_can_not_be_read_says_so_and_goes_on_with_the_others(
    error: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(exchange_faults={At("price", SYMBOL): Fails(error)}) as world:
        await world.enter(a_position(), a_position(*ETH))
        report = await world.running.adopt_all(deadline=5.0, dry_run=True)
        assert [type(outcome) for outcome in report.outcomes] == [NotAdopted, WouldAdopt]
        assert report.unprotected == report.outcomes


async def test_a_dry_run_of_an_account_that_can_not_be_read_is_an_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("open_stops"): Unreachable()}) as world:
        await world.enter(a_position())
        with pytest.raises(ExchangeUnreachable):
            await world.running.adopt_all(deadline=5.0, dry_run=True)
