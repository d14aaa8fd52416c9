"""Failure mode 50: another order of the bot covers the whole position, and the exchange refuses every further reduce-only order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from worlds import BTC, SYMBOL, World, a_position, open_world

from trailing import NothingToReduce, OpenOrder, Position, TimedOut
from trailing.core.model import Side
from trailing.events import Alarm, ExitFailed, PositionClosed, StopGone
from trailing.exchanges.port import PartialList
from trailing.protection.effects import name_orders
from trailing.testing import At, Fails, Hangs, Slow, Unreachable

COVERED = "other open orders cover the"
ALARM = "the exchange refuses to reduce an open position"


def beyond(side: Side) -> str:
    return "97" if side == "long" else "103"


def take_profit(world: World, side: Side = "long", quantity: str = "1.5") -> OpenOrder:
    """The bot's own take-profit, on the book."""
    return world.paper.take_profit_by_hand(SYMBOL, side, D(quantity), D(110 if side == "long" else 90), "bot-tp")


def refusals(world: World) -> list[Alarm]:
    return [event for event in world.events if isinstance(event, Alarm) and event.what == ALARM]


async def until_listed(world: World, side: Side, words: str) -> None:
    """Wait until the position is listed as unprotected with such words."""
    with trio.fail_after(30):
        while words not in str(listed(world, side)):
            await trio.sleep(0.01)


def listed(world: World, side: Side = "long") -> Exception | None:
    found = world.running.unprotected().get((SYMBOL, side))
    return None if found is None else found.error


@pytest.mark.parametrize("latency", [0.0, 0.3])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm50_a_covered_position_is_listed_with_the_words_and_closes_once_the_take_profit_is_cancelled(
    side: Side, latency: float, autojump_clock: trio.testing.MockClock
) -> None:
    position = a_position(side=side)
    async with open_world(latency=latency) as world:
        await world.protect(position)
        take_profit(world, side)
        await trio.sleep(1)
        world.feed(beyond(side))  # the stop triggers and is rejected, then the exit is refused
        if latency:  # else the exit is refused at the same moment
            await until_listed(world, side, "other orders cover the position")
        await until_listed(world, side, COVERED)
        assert [event.reason for event in world.events if isinstance(event, StopGone)] == [
            "other orders cover the position"
        ]
        await trio.sleep(5)
        assert all(COVERED in event.error for event in world.events if isinstance(event, ExitFailed))
        for _ in range(40):  # at each moment, whatever is tried meanwhile
            await trio.sleep(0.5)
            assert COVERED in str(listed(world, side))
        (alarm,) = refusals(world)  # once, however often the exit is refused
        order_side = "sell" if side == "long" else "buy"
        assert f"LIMIT {order_side} 1.5 at {'110' if side == 'long' else '90'} (bot-tp)" in alarm.detail
        assert COVERED in alarm.detail
        assert (alarm.symbol, alarm.side) == (SYMBOL, side)
        assert world.calls("open_orders") == 1
        assert world.unlisted() == set()
        world.paper.cancel_by_hand("bot-tp")
        with trio.fail_after(35):
            await world.running.wait_closed()
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit) == (D("1.5"), D("-4.5"))
        assert len(refusals(world)) == 1


async def test_fm50_close_returns_the_reason_and_the_live_stop_does_not_hide_the_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        (stop,) = await world.protect()
        take_profit(world)
        outcome = await world.running.close(*BTC, deadline=5.0)
        assert isinstance(outcome, TimedOut)
        assert isinstance(outcome.error, NothingToReduce)
        assert COVERED in str(outcome.error)
        assert world.running.stops() == {BTC: stop}  # it protects nothing, because it would be refused, too
        assert COVERED in str(listed(world))
        assert world.running.unprotected()[BTC].state == "exiting"
        assert len(refusals(world)) == 1
        world.paper.cancel_by_hand("bot-tp")
        with trio.fail_after(35):
            await world.running.wait_closed()
        assert world.running.unprotected() == {}


async def test_fm50_a_filled_take_profit_ends_the_position(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        take_profit(world)
        assert isinstance(await world.running.close(*BTC, deadline=5.0), TimedOut)
        world.feed("110")
        with trio.fail_after(120):
            await world.running.wait_closed()
        assert await world.live() == ()


async def test_a_part_that_a_take_profit_leaves_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world:
        await world.protect()
        take_profit(world, quantity="0.5")
        assert isinstance(await world.running.close(*BTC, deadline=5.0), TimedOut)
        assert [(report.quantity) for report in await world.paper.positions()] == [D("0.5")]
        world.paper.cancel_by_hand("bot-tp")
        with trio.fail_after(35):
            await world.running.wait_closed()


async def test_fm50_a_second_take_profit_after_the_first_is_a_new_refusal_with_its_own_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect()
        take_profit(world)
        await world.running.close(*BTC, deadline=5.0)
        world.paper.cancel_by_hand("bot-tp")
        world.paper.take_profit_by_hand(SYMBOL, "long", D("0.5"), D(111), "second")
        with trio.fail_after(60):  # 1.0 is closed, then the rest is refused
            while len(refusals(world)) < 2:
                await trio.sleep(0.1)
        assert "(second)" in refusals(world)[1].detail


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Unreachable(), "its open orders can't be read: ExchangeUnreachable"),
        (Hangs(), "its open orders can't be read: ExchangeUnreachable: a read was not answered"),
        (Fails(RuntimeError("a bug")), "its open orders can't be read: RuntimeError: a bug"),
        (Fails(RuntimeError("\x1b[31mred")), r"\x1b[31mred"),
    ],
    ids=["unreachable", "hangs", "bug", "control characters"],
)
async def test_fm50_the_read_of_open_orders_fails_and_the_alarm_comes_all_the_same(
    autojump_clock: trio.testing.MockClock, fault: Any, says: str
) -> None:
    async with open_world(exchange_faults={At("open_orders"): fault}) as world:
        await world.protect()
        take_profit(world)
        await world.running.close(*BTC, deadline=5.0)
        exits = [event.at for event in world.events if isinstance(event, ExitFailed)]
        assert len(exits) > 3  # they went on beside the read
        await trio.sleep(20)
        (alarm,) = refusals(world)
        assert COVERED in alarm.detail
        assert says in alarm.detail
        assert world.calls("open_orders") == 1
        world.paper.cancel_by_hand("bot-tp")
        with trio.fail_after(35):
            await world.running.wait_closed()


async def test_fm50_a_slow_read_of_open_orders_delays_no_exit(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(exchange_faults={At("open_orders"): Slow(9.0)}) as world:
        await world.protect()
        take_profit(world)
        await world.running.close(*BTC, deadline=1.0)
        world.paper.cancel_by_hand("bot-tp")
        with trio.fail_after(5):
            await world.running.wait_closed()
        assert refusals(world) == []
        await trio.sleep(10)
        assert len(refusals(world)) == 1


async def test_fm50_the_alarm_comes_also_if_the_manager_ends_before_the_orders_are_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("open_orders"): Hangs()}) as world:
        await world.protect()
        take_profit(world)
        await world.running.close(*BTC, deadline=1.0)
        assert refusals(world) == []
    assert ALARM in [event.what for event in refusals(world)]
    assert "could not be read before the manager ended" in refusals(world)[0].detail


async def test_a_refusal_of_a_flat_position_raises_no_alarm_and_reads_no_orders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect()
        with world.updates_silenced():
            world.paper.reduce(SYMBOL, "long", D("1.5"))
        await world.running.close(*BTC, deadline=30.0)
        await world.running.wait_closed()
        assert (refusals(world), world.calls("open_orders")) == ([], 0)


async def test_fm50_a_stop_that_is_refused_while_the_position_is_reported_names_the_orders_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused = Fails(NothingToReduce("-4112 check your open orders"))
    faults = {At("place_stop", SYMBOL, call): refused for call in range(1, 40)}
    async with open_world(exchange_faults=faults) as world:
        await world.enter(a_position())
        take_profit(world)
        await world.running.protect(a_position(), deadline=3.0)
        await trio.sleep(10)
        assert "-4112" in str(listed(world))
        (alarm,) = refusals(world)
        assert "(bot-tp)" in alarm.detail


POSITION: Position = a_position()


def an_order(number: int, **changes: Any) -> OpenOrder:
    fields: dict[str, Any] = {
        "symbol": SYMBOL,
        "order_id": str(number),
        "client_order_id": f"bot-{number}",
        "kind": "LIMIT",
        "order_side": "sell",
        "side": "long",
        "quantity": D(number),
        "price": D(100 + number),
    }
    return OpenOrder(**fields | changes)


@pytest.mark.parametrize(
    ("orders", "says"),
    [
        ((), "no other open order would reduce it"),
        ((an_order(1, order_side="buy"),), "no other open order would reduce it"),
        ((an_order(1, client_order_id="tr" + "0" * 20),), "no other open order would reduce it"),
        (
            (an_order(1, side=None), an_order(2, quantity=D(0), price=None, trigger_price=D(90), client_order_id="")),
            "LIMIT sell the whole position triggered at 90 (2), LIMIT sell 1 at 101 (bot-1); cancel what covers it",
        ),
        (
            tuple(map(an_order, range(1, 9))),
            "LIMIT sell 5 at 105 (bot-5), and 3 more; cancel",
        ),
        (
            PartialList((), ("order 5: \x00",)),
            r"no other open order would reduce it; 1 could not be parsed: order 5: \x00",
        ),
    ],
    ids=["none", "it opens", "ours", "reduce-only first", "many", "partial"],
)
def test_the_named_orders_are_those_that_would_reduce_the_position(orders: Sequence[OpenOrder], says: str) -> None:
    assert says in name_orders(POSITION, orders)
