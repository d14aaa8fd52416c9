"""The update channel drops only ticks, and behaves like a channel of trio."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trailing.core.model import Source, Tick
from trailing.errors import UsageError
from trailing.exchanges.port import PositionUpdate, Update
from trailing.exchanges.updates import UpdateChannel, waiting

BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"


def tick(price: int, symbol: str = BTC, source: Source = "last", at: float = 0.0) -> Tick:
    return Tick(symbol, D(price), at, source)


def drain(channel: UpdateChannel) -> list[Update]:
    updates: list[Update] = []
    while True:
        try:
            updates.append(channel.receive_nowait())
        except trio.WouldBlock:
            return updates


def test_every_tick_is_kept_up_to_the_bound() -> None:
    channel = UpdateChannel(5)
    ticks = [tick(price) for price in (3, 1, 4, 1, 5)]
    for each in ticks:
        channel.push(each)
    assert drain(channel) == ticks
    assert channel.dropped == 0


def test_fm28_beyond_the_bound_the_first_the_extremes_and_the_last_stay_in_order() -> None:
    channel = UpdateChannel(7)
    for price in (5, 6, 9, 7, 2, 3, 4, 4):
        channel.push(tick(price))
    assert [update.price for update in drain(channel)] == [5, 9, 2, 4]  # type: ignore[union-attr]
    assert channel.dropped == 4


def test_each_symbol_and_source_keeps_its_own_extremes() -> None:
    channel = UpdateChannel(8)
    series: list[tuple[str, Source]] = [(BTC, "last"), (BTC, "mark"), (ETH, "last")]
    for price in (5, 9, 1):
        for symbol, source in series:
            channel.push(tick(price, symbol, source))
    assert len(drain(channel)) == 9


def test_other_updates_are_never_dropped_and_keep_their_order() -> None:
    channel = UpdateChannel(2)
    updates: list[Update] = []
    for number in range(50):
        update = PositionUpdate(BTC, "long", D(number), 0.0)
        updates.append(update)
        channel.push(tick(10 + number % 3))
        channel.push(update)
    got = drain(channel)
    assert [update for update in got if not isinstance(update, Tick)] == updates
    assert got[0] == tick(10)
    assert channel.dropped + sum(isinstance(update, Tick) for update in got) == 50


def test_more_extremes_than_the_bound_are_not_thinned_out_at_every_push() -> None:
    channel = UpdateChannel(1)
    for number in range(100):
        channel.push(tick(1, f"COIN{number}/USDT:USDT"))
    channel.push(tick(1, "COIN0/USDT:USDT"))
    channel.push(tick(1, "COIN0/USDT:USDT"))
    assert channel.dropped == 0, "the last thinning left 95, so that the next comes above 190"
    assert len(drain(channel)) == 102


@given(st.lists(st.tuples(st.sampled_from([BTC, ETH]), st.integers(1, 50), st.booleans())), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_fm28_extremes_and_the_last_tick_always_arrive(pushes: list[tuple[str, int, bool]], bound: int) -> None:
    channel = UpdateChannel(bound)
    pushed: dict[str, list[D]] = {BTC: [], ETH: []}
    got: list[Update] = []
    for number, (symbol, price, receive) in enumerate(pushes):
        channel.push(tick(price, symbol, at=number))
        pushed[symbol].append(D(price))
        if receive:
            got.append(channel.receive_nowait())
    got += drain(channel)
    times = [update.at for update in got]
    assert times == sorted(times)
    assert len(got) + channel.dropped == len(pushes)
    for symbol, prices in pushed.items():
        arrived = [update.price for update in got if isinstance(update, Tick) and update.symbol == symbol]
        if prices:
            assert (min(arrived), max(arrived), arrived[-1]) == (min(prices), max(prices), prices[-1])


async def test_receiving_waits_for_the_next_push_and_is_always_a_checkpoint() -> None:
    channel = UpdateChannel()
    got: list[Update] = []

    async def receive() -> None:
        got.append(await channel.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert got == []
        channel.push(tick(1))
    channel.push(tick(2))
    with assert_checkpoints():
        got.append(await channel.receive())
    assert got == [tick(1), tick(2)]


async def test_a_receiver_that_is_cancelled_loses_nothing() -> None:
    channel = UpdateChannel()
    channel.push(tick(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.receive()
    assert scope.cancelled_caught
    with trio.move_on_after(0):
        await UpdateChannel().receive()
    assert await channel.receive() == tick(1)


async def test_a_second_receiver_gets_a_busy_error() -> None:
    channel = UpdateChannel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await channel.receive()
        channel.push(tick(1))


async def test_the_end_follows_the_queued_updates_and_wakes_a_receiver() -> None:
    channel = UpdateChannel()
    channel.push(tick(1))
    got = []
    async with trio.open_nursery() as nursery:

        async def receive_all() -> None:
            got.extend([update async for update in channel])

        nursery.start_soon(receive_all)
        await wait_all_tasks_blocked()
        channel.end()
    assert got == [tick(1)]


async def test_closing_drops_the_queued_updates_and_wakes_a_receiver() -> None:
    channel = UpdateChannel()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await channel.receive()

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        with assert_checkpoints():
            await channel.aclose()
    channel.push(tick(1))
    assert repr(channel) == "<UpdateChannel: 0 waiting, 0 ticks dropped>"
    with pytest.raises(trio.ClosedResourceError):
        channel.receive_nowait()


@pytest.mark.parametrize("bound", [0, -1, 1.5, True])
def test_an_invalid_bound_is_refused(bound: int) -> None:
    with pytest.raises(UsageError, match="tick_bound"):
        UpdateChannel(bound)


def test_queued_updates_can_be_taken_at_once_up_to_a_number() -> None:
    channel = UpdateChannel()
    for price in (1, 2, 3):
        channel.push(tick(price))
    assert waiting(channel, 2) == [tick(1), tick(2)]
    channel.end()
    assert waiting(channel, 2) == [tick(3)]
    assert waiting(channel, 2) == []
    channel.close()
    assert waiting(channel, 2) == []
    _, other = trio.open_memory_channel[Update](1)
    assert waiting(other, 2) == ()
