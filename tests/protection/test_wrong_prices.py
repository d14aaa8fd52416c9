"""A wrong time freezes nothing, and a stop that a person has tightened is not loosened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise

import pytest
import trio
from worlds import BTC, PLAN, START, SYMBOL, a_position, open_world
from wrong_venues import booked_prices

import trailing
from trailing import History, Manager, Market, Percent, Rule, Tick, TrailPlan
from trailing.events import Alarm
from trailing.exchanges.paper import PaperExchange
from trailing.stores import MemoryStore

D = Decimal


class FourBelowTheLastHigh(Rule, frozen=True):
    candles_needed = 1

    def propose(self, history: History) -> Decimal | None:
        return history.candles[-1].high - 4 if history.candles else None


@pytest.mark.parametrize("seconds", [1.0, 4.0, 6.0])
async def test_a_stop_that_a_person_has_tightened_is_not_loosened_by_the_next_move(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(markets=[Market(SYMBOL, can_amend=True)], record=True) as world:
        await world.protect()
        world.feed("105")  # moved to 103.95
        await trio.sleep(seconds)
        (stop,) = await world.live()
        await world.paper.amend_stop(stop, price=D("104.6"), quantity=stop.quantity)  # by hand; an update is pushed
        await trio.sleep(0.2)
        world.feed("105.2")  # the plan wants 104.148
        await trio.sleep(10)
        prices = booked_prices(world)
        assert all(before <= after for before, after in pairwise(prices)), prices


async def test_fm47_a_tick_with_a_wrong_time_does_not_freeze_a_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, receive = trio.open_memory_channel[Tick](10)
    store = MemoryStore()
    async with (
        trailing.open_paper(utc_start=START) as exchange,
        trailing.open_manager(exchange, store, PLAN, ticks=receive, utc_start=START) as manager,
    ):
        exchange.feed(Tick(SYMBOL, D(100), trio.current_time()))
        await exchange.enter(a_position())
        await manager.protect(a_position(), deadline=5.0)
        exchange.feed(Tick(SYMBOL, D(110), trio.current_time()))
        for wrong in (1.8e15, 1.8e9):  # microseconds and seconds since 1970
            await send.send(Tick(SYMBOL, D("101.5"), wrong))
        await trio.sleep(10)
        for price in ("103", "106", "109"):
            await send.send(Tick(SYMBOL, D(price), trio.current_time()))
            await trio.sleep(1)
        assert manager.stops()[BTC].price > D(98)
    alarms = [record.event async for record in store.events() if isinstance(record.event, Alarm)]
    assert [alarm.what for alarm in alarms] == ["the bot's own prices are ignored while their time is wrong"]


@asynccontextmanager
async def by_the_last_high() -> AsyncIterator[tuple[PaperExchange, Manager, trio.MemorySendChannel[Tick]]]:
    """A protected position whose stop is 4 below the last candle's high. The bot sends the prices."""
    plan = TrailPlan(initial_stop=Percent(5), rules=(FourBelowTheLastHigh(),))
    send, receive = trio.open_memory_channel[Tick](10)
    async with (
        trailing.open_paper(utc_start=START) as exchange,
        trailing.open_manager(exchange, MemoryStore(), plan, ticks=receive, utc_start=START) as manager,
    ):
        exchange.feed(Tick(SYMBOL, D(100), trio.current_time()))
        await exchange.enter(a_position())
        await manager.protect(a_position(), deadline=5.0)
        yield exchange, manager, send


@pytest.mark.parametrize(("market", "highest"), [("102", "103"), ("115", "115")])
async def test_a_jump_is_in_a_candle_only_if_the_exchanges_own_price_confirms_it(
    market: str, highest: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with by_the_last_high() as (exchange, manager, send):
        exchange.feed(Tick(SYMBOL, D(market), trio.current_time()))
        for price in ("103", "115", "115", market):
            await send.send(Tick(SYMBOL, D(price), trio.current_time()))
            await trio.sleep(1)
        await trio.sleep(60)
        await send.send(Tick(SYMBOL, D(market), trio.current_time()))
        await trio.sleep(5)
        assert manager.stops()[BTC].price == D(highest) - 4


async def test_a_wrong_price_alone_in_its_candle_moves_no_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with by_the_last_high() as (_, manager, send):
        for price in ("100", "115", "100"):
            await send.send(Tick(SYMBOL, D(price), trio.current_time()))
            await trio.sleep(60)
        assert manager.stops()[BTC].price == 96
