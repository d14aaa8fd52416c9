"""Ways in which positions lost their protection: lists that were empty, incomplete or unreadable, and were believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pytest
import trio
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_listened, open_world
from wrong_venues import WrongVenue, during, empty, open_wrong_world, requests, without

from trailing import AlreadyProtected, Exited, NoSuchPosition, Protected, StopOrder
from trailing.core.account import PositionReport
from trailing.testing import At, Fails, Fault, Hangs, Refuses
from trailing.testing.faults import Operation

D = Decimal

OTHER = a_position("ETH/USDT:USDT")
OTHER_KEY = (OTHER.symbol, OTHER.side)

EMPTY_SECONDS = [1.5, 2.5, 3.0]


class _StopsLive(trio.abc.Instrument):
    """Counts the live stops of a symbol after every step of every task."""

    def __init__(self, world: World, symbol: str) -> None:
        self._world, self._symbol = world, symbol
        self.fewest = len(world.paper.actual(symbol)[0])

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.fewest = min(self.fewest, len(self._world.paper.actual(self._symbol)[0]))


@contextmanager
def always_a_stop(world: World, symbol: str = SYMBOL) -> Iterator[None]:
    """Assert that the exchange holds a stop of the symbol at every moment within the block."""
    watch = _StopsLive(world, symbol)
    trio.lowlevel.add_instrument(watch)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(watch)
    assert watch.fewest >= 1, f"the exchange held no stop of {symbol}"


async def reconcile_for(world: World, seconds: float) -> None:
    """Have the account read again and again, and assert that the position stays listed all the time."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        world.inside.reconcile_now()
        await trio.sleep(0.5)
        assert BTC in world.inside.listed()


# 41: two routines decided what is believed, and an empty list cancelled a live stop.


@pytest.mark.parametrize("can_amend", [True, False], ids=["amends", "places"])
@pytest.mark.parametrize("seconds", EMPTY_SECONDS)
async def test_fm41_an_empty_list_while_the_position_changes_and_its_stop_is_moved_cancels_nothing(
    seconds: float, can_amend: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_wrong_world(latency=0.2, can_amend=can_amend) as (world, venue):
        await world.protect()
        with always_a_stop(world):
            venue.list_positions = during(seconds, empty)
            world.feed("105")
            world.paper.reduce(SYMBOL, "long", D("0.5"))
            await reconcile_for(world, 10)
        assert [(stop.price, stop.quantity) for stop in await world.live()] == [(D("103.95"), D(1))]
        await world.check(a_position(quantity=D(1)))


@pytest.mark.parametrize("seconds", EMPTY_SECONDS)
async def test_fm41_an_empty_list_after_a_refused_move_cancels_nothing(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """The exchange says once that there is nothing to reduce, as while it starts again, and lists no position."""
    faults: dict[At, Fault] = {At("place_stop", None, 2): Refuses(NoSuchPosition("no such position"))}
    async with open_wrong_world(faults, latency=0.2) as (world, venue):
        await world.protect()
        with always_a_stop(world):
            venue.list_positions = during(seconds, empty)
            world.feed("105")
            await reconcile_for(world, 10)
        assert [stop.price for stop in await world.live()] == [D("103.95")]


async def test_fm41_an_adoption_does_not_believe_a_list_that_is_empty_for_a_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Assumes that nothing but the list says that there is a position, so that two empty lists 2 s apart count."""
    async with open_wrong_world(latency=0.1) as (world, venue):
        await world.enter(a_position())
        venue.list_positions = during(1.5, empty)
        outcome = await world.running.adopt(*BTC, deadline=10.0)
        assert isinstance(outcome, Protected)


async def test_fm41_an_adoption_does_not_believe_an_empty_list_beside_a_stop_of_ours(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world(latency=0.1) as (world, venue):
        (stop,) = await world.protect()
        await world.running.release(*BTC, cancel_stop=False)
        venue.list_positions = during(3.0, empty)
        outcome = await world.running.adopt(*BTC, deadline=10.0)
        assert isinstance(outcome, (Protected, AlreadyProtected))
        assert await world.live() == (stop,)


@pytest.mark.parametrize("seconds", EMPTY_SECONDS)
async def test_fm41_a_close_that_finds_nothing_to_reduce_does_not_believe_an_empty_list(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """The exchange refuses every close and lists no position for some seconds; the live stop contradicts both."""
    until = trio.current_time() + 10 + seconds

    def refuse(operation: Operation, _: str | None, __: int) -> Fault | None:
        blocked = operation == "close_position" and trio.current_time() < until
        return Refuses(NoSuchPosition("no such position")) if blocked else None

    async with open_wrong_world(refuse, latency=0.1) as (world, venue):
        await world.protect()
        await trio.sleep_until(until - seconds)
        venue.list_positions = during(seconds, empty)
        with always_a_stop(world):
            world.paper.reduce(SYMBOL, "long", D("0.5"))
            await world.running.close(*BTC, deadline=seconds)
        with trio.fail_after(90):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()
        assert await world.live() == ()


@pytest.mark.parametrize("outcome", [Hangs(), Hangs(booked=True)], ids=["not-executed", "executed"])
async def test_fm41_a_close_of_unknown_outcome_is_not_settled_by_an_empty_list_beside_the_live_stop(
    outcome: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    """Where the close was not executed, the stop stays live until it is. Where it was, the exchange is flat in the end."""
    until = trio.current_time() + 14

    def hang(operation: Operation, _: str | None, number: int) -> Fault | None:
        again = outcome == Hangs() and trio.current_time() < until  # each further close is lost, too
        return outcome if operation == "close_position" and (number == 1 or again) else None

    plan = msgspec.structs.replace(PLAN, call_seconds=2.0)
    async with open_wrong_world(hang, plan=plan, latency=0.1) as (world, venue):
        await world.protect()
        venue.list_positions = during(8.0, empty)
        if outcome == Hangs():
            with always_a_stop(world):
                await world.running.close(*BTC, deadline=1.0)
                for _ in range(6):
                    await trio.sleep(1)
                    assert BTC in world.running.stops()
        else:
            assert isinstance(await world.running.close(*BTC, deadline=20.0), Exited)
        with trio.fail_after(90):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()
        assert await world.live() == ()


# 54: a foreign order ended the manager.


def foreign_stop(client_order_id: Any) -> StopOrder:
    """A stop of the account that is not ours, as an adapter shows it that does not check ids."""
    order = StopOrder(SYMBOL, "long", D(1), D(90), "foreign", "4711")
    msgspec.structs.force_setattr(order, "client_order_id", client_order_id)
    return order


FOREIGN_IDS: list[Any] = [1578938, None, "", "0", "tr", "tr0123", "x" * 300, "\N{PILE OF POO}\x00{}"]


async def test_fm54_foreign_orders_of_whatever_ids_end_no_manager_and_are_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect(a_position(), OTHER)
        venue.list_stops = lambda true: (*true, *map(foreign_stop, FOREIGN_IDS))
        await reconcile_for(world, 5)
        world.feed("105")
        await trio.sleep(2)
        assert world.running.stops()[BTC].price == D("103.95")
        assert requests(world, "cancel_stop") == 1  # of the stop that was moved


async def test_fm54_a_foreign_order_with_a_numeric_id_does_not_keep_a_manager_from_opening(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position())
        world.exchange = venue = WrongVenue(world.paper, {})
        venue.list_stops = lambda true: (*true, foreign_stop(1578938))
        async with open_listened(world):
            world.feed("105")
            await trio.sleep(5)
            assert world.running.stops()[BTC].price == D("103.95")


# 62: a number in a list that can't be read ended the manager.


def with_quantity(symbol: str, quantity: Decimal) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A list in which an entry has another quantity."""
    return lambda true: tuple(
        msgspec.structs.replace(entry, quantity=quantity) if entry.symbol == symbol else entry for entry in true
    )


def with_price(symbol: str, price: Decimal) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A list of stops in which one has another price."""
    return lambda true: tuple(
        msgspec.structs.replace(entry, price=price) if entry.symbol == symbol else entry for entry in true
    )


@pytest.mark.parametrize("listed", ["positions", "open_stops"])
@pytest.mark.parametrize(
    "error", [InvalidOperation("1e400"), ValueError("unknown symbol")], ids=lambda one: type(one).__name__
)
async def test_fm62_a_list_whose_read_raises_ends_no_manager_and_costs_no_stop(
    listed: Any, error: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that a list which an adapter fails to read counts as not read: there is an alarm, and it is read again."""
    async with open_world() as world:
        await world.protect(a_position(), OTHER)
        world.inject({At(listed): Fails(error)})
        await reconcile_for(world, 20)
        world.feed("105")
        await trio.sleep(2)
        assert world.running.stops()[BTC].price == D("103.95")
        assert len(await world.live()) == 2
        assert world.alarms()


@pytest.mark.parametrize("quantity", [D("1E+400"), D("1E+999999"), D("NaN")], ids=str)
async def test_fm62_a_listed_position_that_can_not_be_one_ends_no_manager_and_costs_no_stop(
    quantity: Decimal, autojump_clock: trio.testing.MockClock
) -> None:
    """Assumes that such an entry makes the list incomplete, where an adapter lets it pass."""
    async with open_wrong_world() as (world, venue):
        await world.protect(a_position(), OTHER)
        venue.list_positions = during(20, with_quantity(SYMBOL, quantity))
        with always_a_stop(world):
            await reconcile_for(world, 20)
            world.feed("105", OTHER.symbol)
            await trio.sleep(2)
        assert world.running.stops()[OTHER_KEY].price == D("103.95")
        await reconcile_for(world, 5)
        await world.check(a_position(), OTHER)


async def test_fm62_a_listed_stop_that_can_not_be_one_ends_no_manager(autojump_clock: trio.testing.MockClock) -> None:
    async with open_wrong_world() as (world, venue):
        await world.protect(a_position(), OTHER)
        venue.list_stops = during(20, with_price(SYMBOL, D("1E+999999")))
        with always_a_stop(world):
            await reconcile_for(world, 20)
            world.feed("105", OTHER.symbol)
            await trio.sleep(2)
        assert world.running.stops()[OTHER_KEY].price == D("103.95")


async def test_fm62_a_wave_is_protected_while_the_list_of_positions_can_not_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        world.inject({At("positions"): Fails(InvalidOperation("1e400"))})
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Protected)
        assert world.alarms()


# 64: a list in which entries were missing or garbled made the manager cancel their stops.


def doubled(true: Sequence[PositionReport]) -> Sequence[PositionReport]:
    """The other position twice, and this one not at all."""
    others = without(SYMBOL)(true)
    return (*others, *others)


def garbled(true: Sequence[PositionReport]) -> Sequence[PositionReport]:
    """This one under a symbol that no market has."""
    return tuple(msgspec.structs.replace(one, symbol="?/USDT:USDT") if one.symbol == SYMBOL else one for one in true)


@pytest.mark.parametrize("change", [without(SYMBOL), doubled, garbled], ids=["missing", "doubled", "garbled"])
@pytest.mark.parametrize("seconds", [3.0, 10.0, 30.0])
async def test_fm64_a_position_that_is_missing_from_the_list_beside_its_live_stop_keeps_it(
    seconds: float, change: Callable[..., Sequence[PositionReport]], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_wrong_world() as (world, venue):
        stops = await world.protect(a_position(), OTHER)
        venue.list_positions = during(seconds, change)
        with always_a_stop(world):
            await reconcile_for(world, seconds + 5)
        assert set(await world.live()) == set(stops)
        assert requests(world, "cancel_stop") == 0
        await world.check(a_position(), OTHER)


async def test_fm64_a_manager_that_opens_while_a_position_is_missing_from_the_list_keeps_its_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        await world.protect_and_end(a_position(), OTHER)
        world.exchange = venue = WrongVenue(world.paper, {})
        venue.list_positions = during(8.0, without(SYMBOL))
        with always_a_stop(world):
            async with open_listened(world):
                await reconcile_for(world, 15)
                await world.check(a_position(), OTHER)
