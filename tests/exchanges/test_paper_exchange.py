"""The paper exchange for its users: the stream, reads, candles, actions by hand, and its settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trailing.core.account import PositionReport
from trailing.core.model import CallbackRange, Candle, Market, Percent, Position, Side, Tick
from trailing.errors import ExchangeUnreachable, NoSuchStop, NothingToReduce, StopRejected, UsageError
from trailing.exchanges.paper import open_paper
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest, StreamState, Update
from trailing.exchanges.updates import UpdateChannel

BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"
CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))
START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def position(symbol: str = BTC, side: Side = "long", price: str = "100") -> Position:
    return Position(symbol, side, D(2), D(price), START)


def stop(name: str, price: str = "98") -> StopRequest:
    return StopRequest(BTC, "long", D(2), D(price), name)


def received(channel: UpdateChannel) -> list[Update]:
    updates: list[Update] = []
    while True:
        try:
            updates.append(channel.receive_nowait())
        except trio.WouldBlock:
            return updates


async def test_ticks_are_pushed_for_subscribed_symbols_and_other_updates_always() -> None:
    async with open_paper() as exchange, exchange.updates() as updates:
        exchange.feed(Tick(BTC, D(100), 0.0))
        await exchange.set_subscriptions({ETH})
        exchange.feed(Tick(BTC, D(101), 0.0))
        eth = Tick(ETH, D(10), 0.0)
        exchange.feed(eth)
        assert received(updates) == [eth], "nothing was subscribed before, and a subscription pushes nothing"
        await exchange.enter(position())
        await exchange.set_subscriptions({BTC})
        await exchange.place_stop(stop("a"))
        exchange.feed(Tick(ETH, D(11), 0.0))
        btc = Tick(BTC, D(97), 0.0)
        exchange.feed(btc)
        kinds = [(type(update), getattr(update, "status", None)) for update in received(updates)]
        assert kinds == [
            (PositionUpdate, None),
            (OrderUpdate, "live"),
            (Tick, None),
            (OrderUpdate, "filled"),
            (PositionUpdate, None),
        ]


async def test_each_subscriber_gets_all_updates_from_its_subscription_to_the_end() -> None:
    async with open_paper() as exchange:
        await exchange.set_subscriptions({BTC})
        async with exchange.updates() as late:
            pass
        async with exchange.updates() as first:
            exchange.feed(Tick(BTC, D(100), 0.0))
            async with exchange.updates() as second:
                exchange.feed(Tick(BTC, D(101), 0.0))
                exchange.end()
                prices = [[update.price async for update in channel] for channel in (first, second)]  # type: ignore[union-attr]
        assert prices == [[D(100), D(101)], [D(101)]]
        with pytest.raises(trio.ClosedResourceError):
            await late.receive()


async def test_the_subscriptions_that_were_sent_last_count_even_if_they_arrive_first(autojump_clock: MockClock) -> None:
    latencies = iter([4.0, 1.0])
    async with open_paper(latency=lambda *_: next(latencies)) as exchange, exchange.updates() as updates:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.set_subscriptions, {BTC})
            await trio.sleep(0.1)
            nursery.start_soon(exchange.set_subscriptions, {ETH})
        exchange.feed(Tick(BTC, D(1), 0.0))
        eth = Tick(ETH, D(1), 0.0)
        exchange.feed(eth)
        assert received(updates) == [eth]


async def test_updates_are_lost_while_the_stream_is_down_and_its_state_is_pushed(autojump_clock: MockClock) -> None:
    async with open_paper() as exchange, exchange.updates() as updates:
        await exchange.enter(position())
        await exchange.set_subscriptions({BTC})
        received(updates)
        exchange.disconnect("pulled")
        exchange.disconnect("again")
        await trio.sleep(1.0)
        exchange.feed(Tick(BTC, D(105), 1.0))
        await exchange.place_stop(stop("a"))
        async with exchange.updates() as newcomer:
            assert received(newcomer) == [StreamState(False, 1.0, "pulled")]
        exchange.reconnect()
        tick = Tick(BTC, D(104), 1.0)
        exchange.feed(tick)
        assert received(updates) == [StreamState(False, 0.0, "pulled"), StreamState(True, 1.0), tick]
        assert len(await exchange.open_stops()) == 1, "requests went on"


async def test_the_price_is_the_last_one_of_its_source(autojump_clock: MockClock) -> None:
    async with open_paper(latency=1.0) as exchange:
        with pytest.raises(ExchangeUnreachable, match="no mark price"):
            await exchange.price(BTC, "mark")
        await exchange.enter(position())
        exchange.feed(Tick(BTC, D(103), 0.0, "mark"))
        assert await exchange.price(BTC, "mark") == Tick(BTC, D(103), 1.5, "mark")
        assert await exchange.price(BTC, "last") == Tick(BTC, D(100), 2.5, "last")


async def test_stops_and_positions_have_separate_read_lags(autojump_clock: MockClock) -> None:
    async with open_paper(orders_read_lag=0.3, positions_read_lag=0.7) as exchange:
        await trio.sleep(2.0)
        await exchange.enter(position())
        order = await exchange.place_stop(stop("a"))
        await trio.sleep(0.29)
        assert (await exchange.find_stop(BTC, "a"), await exchange.open_stops()) == (None, ())
        await trio.sleep(0.01)
        assert (await exchange.find_stop(BTC, "a"), await exchange.open_stops()) == (order, (order,))
        assert await exchange.positions() == ()
        await trio.sleep(0.41)
        assert await exchange.positions() == (PositionReport(BTC, "long", D(2), D(100)),)


async def test_candles_are_closed_minutes_of_utc_built_from_ticks(autojump_clock: MockClock) -> None:
    async with open_paper(utc_start=START) as exchange:
        for pause, price in ((0, 100), (10, 104), (10, 99), (9, 101), (1, 102), (60, 98), (30, 97)):
            await trio.sleep(pause)
            exchange.feed(Tick(BTC, D(price), 0.0, "mark"))
        minute = START.replace(second=0)
        first = Candle(BTC, minute, 60, D(100), D(104), D(99), D(101), "mark")
        second = Candle(BTC, minute + timedelta(minutes=1), 60, D(102), D(102), D(102), D(102), "mark")
        assert await exchange.candles(BTC, "mark", minute) == (first, second), "12:02 is not over"
        assert await exchange.candles(BTC, "mark", START) == (second,)
        await trio.sleep(30)
        third = Candle(BTC, minute + timedelta(minutes=2), 60, D(98), D(98), D(97), D(97), "mark")
        assert await exchange.candles(BTC, "mark", minute) == (first, second, third), "12:02 is over without a new tick"
        assert await exchange.candles(BTC, "last", minute) == ()


async def test_a_minute_without_a_tick_has_no_candle(autojump_clock: MockClock) -> None:
    async with open_paper(utc_start=START) as exchange:
        exchange.feed(Tick(BTC, D(100), 0.0))
        await trio.sleep(180)
        exchange.feed(Tick(BTC, D(101), 0.0))
        candles = await exchange.candles(BTC, "last", START - timedelta(hours=1))
        assert [candle.opened_at for candle in candles] == [START.replace(second=0)]


async def test_candles_use_the_wall_clock_by_default(autojump_clock: MockClock) -> None:
    before = datetime.now(UTC)
    async with open_paper() as exchange:
        exchange.feed(Tick(BTC, D(100), trio.current_time()))
        after = datetime.now(UTC)
        await trio.sleep(60)
        (candle,) = await exchange.candles(BTC, "last", before - timedelta(minutes=1))
        assert candle.opened_at in {moment.replace(second=0, microsecond=0) for moment in (before, after)}


async def test_actions_by_hand_take_effect_at_once() -> None:
    async with open_paper(latency=2.0) as exchange, exchange.updates() as updates:
        await exchange.enter(position())
        order = exchange.place_by_hand(stop("foreign"))
        assert order.client_order_id == "foreign"
        with pytest.raises(StopRejected):
            exchange.place_by_hand(stop("foreign"))
        exchange.cancel_by_hand("foreign")
        with pytest.raises(NoSuchStop, match="no live stop"):
            exchange.cancel_by_hand("foreign")
        assert exchange.reduce(BTC, "long", D("0.5")).quantity == D("0.5")
        assert exchange.reduce(BTC, "long", D(50)).quantity == D("1.5")
        with pytest.raises(NothingToReduce):
            exchange.reduce(BTC, "long", D(1))
        quantities = [update.quantity for update in received(updates) if isinstance(update, PositionUpdate)]
        assert quantities == [D(2), D("1.5"), D(0)]


async def test_order_ids_do_not_depend_on_the_order_in_which_symbols_run() -> None:
    symbols = [f"COIN{number}/USDT:USDT" for number in range(20)]
    async with open_paper() as exchange, trio.open_nursery() as nursery:
        for symbol in symbols:
            await exchange.enter(position(symbol))
            nursery.start_soon(exchange.place_stop, StopRequest(symbol, "long", D(1), D(98), symbol))
    orders = {order.symbol: order.order_id for symbol in symbols for order in exchange.actual(symbol)[0]}
    assert orders == {symbol: f"paper-{symbol}-1" for symbol in symbols}


async def test_leverage_and_partial_fills_apply_to_the_whole_exchange() -> None:
    async with open_paper(leverage=10, partial_fills=D("0.5")) as exchange:
        await exchange.enter(position())
        assert [report.liquidation_price for report in await exchange.positions()] == [D(90)]
        await exchange.place_stop(stop("a"))
        exchange.feed(Tick(BTC, D(97), 0.0))
        assert [order.quantity for order in await exchange.open_stops()] == [D(1)]
        exchange.feed(Tick(BTC, D(89), 0.0))
        assert await exchange.positions() == ()


async def test_a_triggered_stop_is_shown_as_such_until_the_delay_is_over(autojump_clock: MockClock) -> None:
    async with open_paper(trigger_delay=3.0) as exchange, exchange.updates() as updates:
        await exchange.enter(position())
        await exchange.place_stop(stop("a"))
        exchange.feed(Tick(BTC, D(90), 0.0))
        await trio.sleep(2.9)
        exchange.feed(Tick(BTC, D(90), 0.0))
        assert [order.triggered for order in await exchange.open_stops()] == [True]
        await trio.sleep(0.2)
        exchange.feed(Tick(BTC, D(91), 0.0))
        assert (await exchange.open_stops(), await exchange.positions()) == ((), ())
        statuses = [update.status for update in received(updates) if isinstance(update, OrderUpdate)]
        assert statuses == ["live", "triggered", "filled"]


@pytest.mark.parametrize("as_mapping", [True, False])
async def test_markets_are_given_as_values_or_by_symbol(as_mapping: bool) -> None:
    market = Market(BTC, price_tick=D("0.5"), can_amend=True, two_stops=False)
    async with open_paper(markets={BTC: market} if as_mapping else [market]) as exchange:
        assert exchange.market(BTC) is market
        assert exchange.market(ETH) == Market(ETH, native_callbacks=CALLBACKS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latency", -1),
        ("latency", float("nan")),
        ("latency", "2"),
        ("jitter", -0.1),
        ("orders_read_lag", -1),
        ("positions_read_lag", -1),
        ("request_validity", 0),
        ("trigger_delay", -1),
        ("markets", "BTC"),
        ("markets", 3),
        ("markets", [BTC]),
        ("markets", [Market(BTC), Market(BTC)]),
        ("markets", {ETH: Market(BTC)}),
        ("can_amend", 1),
        ("two_stops", None),
        ("hedged", "no"),
        ("cancel_on_flat", 0),
        ("record", "yes"),
        ("seed", 1.5),
        ("account", ""),
        ("rate_limit", 10),
        ("partial_fills", 0.5),
        ("partial_fills", D(0)),
        ("partial_fills", D("1.1")),
        ("partial_fills", D("nan")),
        ("leverage", D("0.5")),
        ("leverage", 2.5),
        ("leverage", D("inf")),
        ("leverage", True),
        ("utc_start", datetime(2026, 1, 1)),  # naive on purpose
    ],
)
async def test_an_invalid_argument_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        async with open_paper(**{field: value}):
            pytest.fail("it was opened")
