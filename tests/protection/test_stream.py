"""The exchange's stream, when it ends, falls silent, or can't be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import pytest
import trio
import trio.testing
from inspection.paper import forget_subscriptions
from worlds import BTC, PLAN, SYMBOL, World, a_position, open_listened, open_world

import trailing
from trailing import EntryRequest, Protected, Tick, TrailPlan
from trailing.errors import AuthenticationFailed, ExchangeUnreachable
from trailing.events import PeaksRead, StreamChanged
from trailing.exchanges.port import Update
from trailing.exchanges.updates import UpdateChannel
from trailing.testing import At, Fails, FaultyExchange, Hangs, Slow
from trailing.testing.faults import Faults

OPENED_AGAIN = "the stream of the exchange is opened again"


class _WithStream(FaultyExchange):
    """An exchange whose streams a test breaks.

    Attributes:
        dead: streams that are open now, and get nothing any more.
        fails: what opening one raises, one after the other.
    """

    def __init__(self, inner: Any, *fails: Exception, faults: Faults | None = None) -> None:
        super().__init__(inner, faults or {})
        self.open: list[UpdateChannel] = []
        self.opened = 0
        self.fails = list(fails)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        if self.fails:
            raise self.fails.pop(0)
        self.opened += 1
        async with self.inner.updates() as updates:
            assert isinstance(updates, UpdateChannel)
            self.open.append(updates)
            yield updates
            self.open.remove(updates)

    def updates(self) -> Any:
        return self._open()

    def die_silently(self) -> None:
        """Silence the streams that are open now, without an error."""
        for updates in self.open:
            updates.push = lambda _: None  # type: ignore[method-assign,assignment]


@asynccontextmanager
async def open_streamed(
    *fails: Exception, faults: Faults | None = None, **world: Any
) -> AsyncIterator[tuple[World, _WithStream]]:
    async with open_world(with_manager=False, **world) as made:
        exchange = _WithStream(made.paper, *fails, faults=faults)
        made.exchange = exchange
        async with open_listened(made):
            yield made, exchange


async def test_fm12_a_stream_that_died_silently_is_opened_again_and_subscribed_to_what_is_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, exchange):
        (stop,) = await world.protect(settle=0.0)
        exchange.die_silently()
        forget_subscriptions(world.paper)  # and the venue has forgotten what was subscribed
        world.feed("105")
        await trio.sleep(80)
        assert world.running.stops()[BTC] != stop  # the peak was found by the reading
        assert world.alarms().count(OPENED_AGAIN) == 1
        assert world.paper.subscriptions == {SYMBOL}
        world.feed("110")
        await trio.sleep(1)
        assert world.running.stops()[BTC].price == D("108.9")
        await world.check(a_position())


async def test_a_silence_is_noticed_within_a_quarter_more_than_the_time_that_the_plan_states(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed(plan=TrailPlan(initial_stop=trailing.Percent(2), stale_after=20.0)) as (world, exchange):
        await world.protect(settle=3.0)
        world.feed("101")
        exchange.die_silently()
        await trio.sleep(19.9)
        assert exchange.opened == 1
        await trio.sleep(5.3)
        assert exchange.opened == 2


async def test_prices_that_came_while_the_stream_was_silent_are_read_from_the_last_one_on_that_came(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, exchange):
        await world.protect(settle=0.0)
        await trio.sleep(300)
        world.feed("100.1")
        exchange.die_silently()
        world.feed("105")  # at once after it
        await trio.sleep(10)
        world.feed("101")
        await trio.sleep(80)
        world.feed("101.5")  # the first thing that is heard again
        await trio.sleep(130)
        assert any(isinstance(event, PeaksRead) and event.best == D(105) for event in world.events)


async def test_a_stream_with_nothing_to_say_is_left_alone_while_no_prices_are_subscribed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, exchange):
        await trio.sleep(3600)
        assert exchange.opened == 1
        assert world.alarms() == []


async def test_with_prices_of_its_own_a_bot_needs_nothing_of_the_stream_but_orders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        exchange = world.exchange = _WithStream(world.paper)
        send, receive = trio.open_memory_channel[Tick](0)
        plan = TrailPlan(initial_stop=trailing.Percent(2), stale_after=20.0)
        async with trailing.open_manager(exchange, world.store, plan, ticks=receive) as manager, send:
            await world.enter(a_position())
            assert isinstance(await manager.protect(a_position(), deadline=5.0), Protected)
            await trio.sleep(3600)
            assert exchange.opened == 1


async def test_the_end_of_a_bots_own_prices_is_an_alarm(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        send, receive = trio.open_memory_channel[Tick](0)
        async with trailing.open_manager(world.exchange, world.store, world.plan, ticks=receive):
            send.close()
            await trio.sleep(1)
        told = await world.stored_alarms()
        assert told == ["the bot's own prices have ended"]


async def test_a_stream_that_ends_is_opened_again_and_the_account_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, exchange):
        (stop,) = await world.protect()
        for updates in exchange.open:
            updates.end()
            updates.push = lambda _: None  # type: ignore[method-assign,assignment]
        world.paper.cancel_by_hand(stop.client_order_id)  # without an update
        await trio.sleep(5)
        assert exchange.opened == 2
        assert world.running.stops()[BTC].client_order_id != stop.client_order_id
        await world.check(a_position())


async def test_a_stream_that_can_not_be_opened_is_tried_again_while_everything_else_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fails = [ExchangeUnreachable("no route") for _ in range(6)]
    async with open_streamed(*fails) as (world, exchange):
        await world.protect(settle=0.0)
        await trio.sleep(30)
        assert exchange.opened == 1
        assert exchange.fails == []
        world.feed("105")
        await trio.sleep(1)
        assert world.running.stops()[BTC].price == D("103.95")


async def test_a_line_that_the_exchange_says_is_down_is_not_said_to_be_up_again_before_something_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, exchange):
        await world.protect(settle=0.0)
        world.paper.disconnect("maintenance")
        await trio.sleep(600)
        assert exchange.opened > 3
        states = [event.connected for event in world.events if isinstance(event, StreamChanged)]
        assert states == [False]
        world.paper.reconnect()
        await trio.sleep(30)
        states = [event.connected for event in world.events if isinstance(event, StreamChanged)]
        assert states == [False, True]


async def test_credentials_that_the_stream_does_not_take_end_the_manager(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refused: Faults = {At("positions"): Fails(AuthenticationFailed("bad key"))}
    with pytest.raises(AuthenticationFailed):
        async with open_streamed(AuthenticationFailed("bad key"), faults=refused):
            await trio.sleep(60)


async def test_fm55_credentials_that_the_stream_does_not_take_once_are_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed(AuthenticationFailed("bad key")) as (world, exchange):
        await trio.sleep(5)
        assert exchange.opened == 1
        await world.protect(settle=2.0)
        world.feed("105")
        await trio.sleep(1)
        assert world.running.stops()[BTC].price == D("103.95")


async def test_a_bug_in_the_feed_ends_the_manager_and_leaves_the_stops_standing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            async with open_listened(world):
                await world.protect(settle=0.0)
                world.inside.break_feed()
                world.feed("101")
                await trio.sleep(10)
        assert len(await world.live()) == 1


async def test_a_wave_that_is_under_way_when_a_service_fails_is_cleaned_up_and_nothing_hangs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=0.5, with_manager=False) as world:
        await world.enter(a_position())
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            async with open_listened(world) as manager, trio.open_nursery() as nursery:

                async def protect_it() -> None:
                    await manager.protect(a_position(), deadline=10.0)

                nursery.start_soon(protect_it)
                await trio.sleep(0.1)
                world.inside.break_feed()
                world.paper.disconnect()
                await trio.sleep(100)
        assert await world.live() == ()
        loaded = await world.load()
        assert [record.is_abandoned for record in loaded.stops] == [True]


async def test_credentials_that_are_not_taken_for_a_subscription_end_the_manager(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        refused: list[str] = []

        def faults(operation: str, *_: object) -> Fails | None:
            if operation == "set_subscriptions":
                refused.append(operation)
            is_refused = operation == "set_subscriptions" or (operation == "positions" and refused)
            return Fails(AuthenticationFailed("read only")) if is_refused else None

        world.exchange = FaultyExchange(world.paper, faults)
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect(settle=10.0)
        assert len(await world.live()) == 1


async def test_a_subscription_that_is_never_answered_is_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(exchange_faults={At("set_subscriptions", None, 1): Hangs()}) as world:
        await world.protect(settle=0.0)
        await trio.sleep(15)
        world.feed("105")
        await trio.sleep(1)
        assert world.running.stops()[BTC].price == D("103.95")
        assert world.alarms() == ["the prices can't be subscribed"]


async def test_prices_that_came_before_a_slow_subscription_was_answered_are_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = TrailPlan(initial_stop=trailing.Percent(2), rules=PLAN.rules, stale_after=3600.0)
    async with open_world(plan=plan, exchange_faults={At("set_subscriptions", None, 1): Slow(5.0)}) as world:
        await world.protect(settle=2.0)
        world.feed("105")
        await trio.sleep(1)
        world.feed("104.5")
        await trio.sleep(80)
        assert world.running.stops()[BTC].price == D("103.95")


async def test_prices_that_came_while_the_stream_was_deaf_are_read_although_the_process_saved_and_died_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    plan = TrailPlan(initial_stop=trailing.Percent(2), rules=PLAN.rules, stale_after=600.0)
    async with open_world(plan=plan, with_manager=False) as world:
        async with open_listened(world) as manager:
            await world.protect(settle=0.0)
            await trio.sleep(60)
            world.feed("101")
            await trio.sleep(60)
            world.paper.disconnect()
            world.feed("105")
            await trio.sleep(1)
            world.feed("104.5")
            await trio.sleep(100)
            assert manager.stops()[BTC].price == D("99.99")
            await world.inside.save(world.claim())
        async with open_listened(world) as manager:
            await trio.sleep(5)
            assert manager.stops()[BTC].price == D("103.95")


async def test_an_entry_that_a_bot_places_through_the_port_disturbs_no_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streamed() as (world, _):
        (stop,) = await world.protect(settle=0.0)
        world.feed("60", symbol="ETH/USDT:USDT")
        await world.paper.place_entry(EntryRequest("ETH/USDT:USDT", "long", D(1), "mine", D(50)))
        world.feed("40", symbol="ETH/USDT:USDT")
        await trio.sleep(5)
        assert world.running.stops() == {BTC: stop}


async def test_a_manager_that_ends_does_not_wait_for_candles(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False, latency=2.0) as world:
        async with open_listened(world):
            await world.protect(settle=100.0)
            supervision, before = world.inside.supervision, world.calls("candles")
            supervision.feed.note_missed(supervision.registry.all())
            with trio.fail_after(200):
                while world.calls("candles") == before:
                    await trio.sleep(0.1)
            ends_at = trio.current_time()
        assert trio.current_time() - ends_at < 0.5
