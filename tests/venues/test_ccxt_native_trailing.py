"""Trailing orders of Binance with the real ccxt client: requests, lists and the life of a position."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from real_exchange import BTC, Desk, open_desk, stop_request
from venue_faults import Fault, json_reply

from trailing import Callback, Percent, Position, Protected, StopOrder, TrailPlan, UsageError, open_manager, open_store
from trailing.core.model import Side
from trailing.errors import StopRejected, WouldTrigger
from trailing.events import Event, NativeTrailingBegan, NativeTrailingEnded, PositionClosed
from trailing.exchanges.port import StopRequest

KEY: tuple[str, Side] = (BTC, "long")
PLAN = TrailPlan(
    initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), trigger="mark", native=True
)


def a_request(side: Side = "long", **changes: Any) -> StopRequest:
    """Return a trailing order for the position that `Desk.enter` opens, active at 1010 (or 990), with 1.5 %."""
    fields: dict[str, Any] = {"price": D(1010) if side == "long" else D(990), "callback": Percent("1.5")} | changes
    return StopRequest(BTC, side, D("0.8"), client_order_id="trabcd0123456789abcd77", source="mark", **fields)


def on_the_venue(desk: Desk) -> dict[str, D]:
    """Return the live orders on the server: a price for each kind."""
    stops = [order.wanted.trigger for order in desk.server.market.live_stops()]
    return {"plain" if trigger.callback is None else "trailing": trigger.price for trigger in stops if trigger}


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(15):
        while not holds():
            await trio.sleep(0.02)


async def until_told(events: trio.MemoryReceiveChannel[Event], kind: type[Event]) -> None:
    with trio.fail_after(15):
        while not isinstance(await events.receive(), kind):
            pass


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("hedged", [False, True])
async def test_a_trailing_order_is_sent_listed_and_found_in_both_modes(side: Side, hedged: bool) -> None:
    async with open_desk("binanceusdm", hedged=hedged) as desk:
        await desk.enter(side)
        plain = await desk.exchange.place_stop(
            stop_request(side=side, price="980" if side == "long" else "1020", source="mark")
        )
        request = a_request(side)
        placed = await desk.exchange.place_stop(request)
        assert placed == StopOrder(
            BTC, side, D("0.8"), request.price, request.client_order_id, placed.order_id, "mark", Percent("1.5")
        )
        best = D(1040) if side == "long" else D(960)
        await desk.server.move_price(
            BTC, best, "mark"
        )  # the list also shows the present trigger price, which is not the activation price
        assert {order.order_id: order for order in await desk.exchange.open_stops()} == {
            plain.order_id: plain,
            placed.order_id: placed,
        }
        assert await desk.exchange.find_stop(BTC, request.client_order_id) == placed
        await desk.exchange.cancel_stop(placed)
        assert await desk.exchange.find_stop(BTC, request.client_order_id) is None
        assert await desk.exchange.open_stops() == [plain]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"callback": Percent("0.05")}, UsageError, r"StopRequest.callback got '0.05%', wants a Percent that BTC"),
        ({"price": D("1010.05")}, UsageError, r"StopRequest.price got .*, wants a multiple of BTC/USDT:USDT's tick"),
        ({"price": D(990)}, WouldTrigger, "-2021"),
    ],
)
async def test_an_invalid_trailing_order_is_refused_and_leaves_nothing(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with open_desk("binanceusdm") as desk:
        await desk.enter()
        with pytest.raises(error, match=says):
            await desk.exchange.place_stop(a_request(**changes))
        assert desk.stops_there() == set()


async def test_an_activation_price_that_the_venue_refuses_is_a_rejection() -> None:
    async with open_desk("binanceusdm") as desk:
        await desk.enter()
        reply = json_reply({"code": -4135, "msg": "Invalid activation price"}, 400)
        desk.server.faults.add(Fault(on="place_stop", reply=reply))
        with pytest.raises(StopRejected, match="-4135"):
            await desk.exchange.place_stop(a_request())


async def test_a_trailing_order_on_bybit_is_refused_before_anything_is_sent() -> None:
    async with (
        open_desk("bybit") as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
    ):
        await desk.enter()
        position = Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC))
        with pytest.raises(UsageError, match="TrailPlan.native got True, wants False: BTC/USDT:USDT has no trailing"):
            await manager.protect(position, deadline=10)
        with pytest.raises(UsageError, match="no trailing orders are supported"):
            await desk.exchange.place_stop(a_request())
        assert desk.stops_there() == set()


@pytest.mark.parametrize("settings", [{}, {"positions_first": True, "fills_first": True, "executions_named": True}])
async def test_a_position_trailed_by_the_venue_closes_without_leftovers(settings: dict[str, Any]) -> None:
    position = Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC))
    async with (
        open_desk("binanceusdm", **settings) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
        manager.subscribe() as events,
    ):
        await desk.server.enter(position)
        assert isinstance(await manager.protect(position, deadline=10), Protected)
        await until_told(events, NativeTrailingBegan)  # before that, a price beyond its activation would withdraw it
        await desk.until_subscribed(BTC)
        ticks = manager.statistics().ticks
        for price in (1020, 1050, 1045):
            await desk.server.move_price(BTC, D(price), "mark")
        await until(lambda: manager.statistics().ticks >= ticks + 3)
        await trio.sleep(0.3)
        assert on_the_venue(desk) == {"plain": 980, "trailing": 1010}
        await desk.server.move_price(BTC, D(1039), "last")
        await desk.server.move_price(BTC, D(1039), "mark")
        with trio.fail_after(10):
            await manager.wait_closed()
        assert on_the_venue(desk) == {}
        told = [events.receive_nowait() for _ in range(events.statistics().current_buffer_used)]
        assert not any(isinstance(event, NativeTrailingBegan | NativeTrailingEnded) for event in told)
        assert [event.profit for event in told if isinstance(event, PositionClosed)] == [D("31.2")]


async def test_a_trailing_order_cancelled_on_the_venue_is_replaced_by_moves_of_the_plain_stop() -> None:
    position = Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC))
    async with (
        open_desk("binanceusdm") as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
        manager.subscribe() as events,
    ):
        await desk.server.enter(position)
        await manager.protect(position, deadline=10)
        await until_told(events, NativeTrailingBegan)
        await desk.until_subscribed(BTC)
        await desk.server.move_price(BTC, D(1050), "mark")
        await trio.sleep(0.2)
        for order in desk.server.market.live_stops():
            if order.wanted.trigger is not None and order.wanted.trigger.callback is not None:
                desk.server.market.cancel(order)
        await until(lambda: on_the_venue(desk) == {"plain": D("1039.5")})
        await until(lambda: manager.stops()[KEY].price == D("1039.5"))
