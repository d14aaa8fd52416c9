"""Failure mode 50 with the real ccxt client: a bot's own take-profit covers the position, and the venue refuses every exit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from okx_server import OkxServer
from real_exchange import BTC, VENUES, Desk, open_desk, stop_request

from trailing import Callback, Manager, Percent, Position, Protected, TimedOut, TrailPlan, open_manager, open_store
from trailing.core.model import Side
from trailing.errors import NoSuchStop
from trailing.events import Alarm, Event, ExitFailed, PositionClosed, StopGone

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), exit_grace=0.5)
ALARM = "the exchange refuses to reduce an open position"
WORDS = {
    "binanceusdm": "Please check your existing position and open orders.",
    "bybit": "orderQty will be truncated to zero",
    "okx": "Close order size exceeds available size for this position.",
}
CODES = {"binanceusdm": "-4118", "bybit": "110017", "okx": "51112"}
REASONS = {"binanceusdm": "Reduce Only reject", "okx": "order_failed 51112"}
LIMIT = {"binanceusdm": "LIMIT", "bybit": "Limit", "okx": "limit"}
STOP = {"binanceusdm": "STOP_MARKET", "bybit": "Stop Market", "okx": "conditional"}
COVERED: Mapping[str, Mapping[str, Any]] = {"okx": {"hedged": True}}
"""The account in which a take-profit covers a position. In net mode OKX cancels it instead."""


async def protect(desk: Desk, manager: Manager, side: Side) -> Position:
    """Open and protect a position, and rest the bot's own take-profit for all of it."""
    await desk.enter(side)
    position = Position(BTC, side, D("0.8"), D(1000), datetime.now(UTC))
    assert isinstance(await manager.protect(position, deadline=10), Protected)
    await desk.until_subscribed(BTC)
    desk.server.rest_take_profit(position, D(1100) if side == "long" else D(900))
    return position


def error_of(manager: Manager, side: Side) -> str:
    found = manager.unprotected().get((BTC, side))
    return "" if found is None else str(found.error)


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not holds():
            await trio.sleep(0.02)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("side", ["long", "short"])
async def test_fm50_stop_rejected_and_exit_refused_the_alarm_names_the_take_profit_and_cancelling_it_lets_the_exit_through(
    venue: str, side: Side
) -> None:
    published: tuple[Event, ...] = ()
    async with (
        open_desk(venue, **COVERED.get(venue, {})) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
        manager.subscribe() as events,
        trio.open_nursery() as nursery,
    ):

        async def listen() -> None:
            nonlocal published
            async for event in events:
                published += (event,)

        nursery.start_soon(listen)
        await protect(desk, manager, side)
        for source in ("mark", "last"):
            await desk.server.move_price(BTC, D(975) if side == "long" else D(1025), source)
        await until(lambda: any(isinstance(event, StopGone) for event in published))
        (gone,) = [event for event in published if isinstance(event, StopGone)]
        assert gone.reason == REASONS.get(venue, gone.reason)
        await until(lambda: WORDS[venue] in error_of(manager, side))
        await until(lambda: any(isinstance(event, Alarm) and event.what == ALARM for event in published))
        assert any(CODES[venue] in event.error for event in published if isinstance(event, ExitFailed))
        (alarm,) = [event for event in published if isinstance(event, Alarm) and event.what == ALARM]
        limit = "sell 0.8 at 1100" if side == "long" else "buy 0.8 at 900"
        assert f"{limit} (bot-take-profit)" in alarm.detail
        assert CODES[venue] in alarm.detail
        for _ in range(20):  # at each moment, whatever is tried meanwhile
            assert WORDS[venue] in error_of(manager, side)
            await trio.sleep(0.05)
        outcome = await manager.close(BTC, side, deadline=1.0)
        assert isinstance(outcome, TimedOut)
        assert CODES[venue] in str(outcome.error)
        (order,) = desk.server.market.resting(BTC)
        desk.server.market.cancel(order)
        await until(lambda: any(isinstance(event, PositionClosed) for event in published))
        (closed,) = [event for event in published if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit) == (D("0.8"), D("-20"))
        assert len([event for event in published if isinstance(event, Alarm) and event.what == ALARM]) == 1
        nursery.cancel_scope.cancel()
    assert desk.server.market.live_stops() == ()


@pytest.mark.parametrize("side", ["long", "short"])
async def test_in_net_mode_okx_cancels_the_take_profit_and_the_stop_fills(side: Side) -> None:
    async with (
        open_desk("okx") as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
    ):
        await protect(desk, manager, side)
        for source in ("mark", "last"):
            await desk.server.move_price(BTC, D(975) if side == "long" else D(1025), source)
        with trio.fail_after(5):
            await manager.wait_closed()
        assert desk.server.market.resting(BTC) == ()
        assert isinstance(desk.server, OkxServer)
        assert list(desk.server.okx_market.cancel_sources.values()) == ["23"]
        assert desk.server.seen("close_position") == []


@pytest.mark.parametrize("venue", VENUES)
async def test_open_orders_are_read_by_symbol_plain_and_conditional(venue: str) -> None:
    async with (
        open_desk(venue) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
    ):
        await protect(desk, manager, "long")
        orders = {order.client_order_id: order for order in await desk.exchange.open_orders(BTC)}
        stop = manager.stops()[BTC, "long"]
        profit = orders.pop("bot-take-profit")
        assert (profit.order_side, profit.side, profit.quantity, profit.price) == ("sell", "long", D("0.8"), D(1100))
        assert (profit.kind, profit.trigger_price) == (LIMIT[venue], None)
        (ours,) = orders.values()
        assert (ours.client_order_id, ours.trigger_price, ours.side) == (stop.client_order_id, stop.price, "long")
        assert ours.kind == STOP[venue]
        assert await desk.exchange.open_orders("ETH/USDT:USDT") == []


@pytest.mark.parametrize("venue", VENUES)
async def test_a_foreign_take_profit_and_a_foreign_stop_can_be_cancelled_as_they_are_listed(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request("foreign-stop" if venue != "okx" else "foreignstop"))
        desk.server.rest_take_profit(Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC)), D(1100))
        orders = await desk.exchange.open_orders(BTC)
        assert {order.is_conditional: order.covers_position for order in orders} == {True: False, False: True}
        for order in orders:
            await desk.exchange.cancel_order(order)
        assert await desk.exchange.open_orders(BTC) == []
        assert (desk.server.market.live_stops(), desk.server.market.resting(BTC)) == ((), ())
        for order in orders:
            with pytest.raises(NoSuchStop):
                await desk.exchange.cancel_order(order)
