"""What only OKX does: refusals inside a success, amendments, two account connections, and orders that OKX cancels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from okx_server import OkxServer
from okx_shapes import algo_order
from real_exchange import BTC, Desk, open_desk, stop_request
from venue_faults import Fault, json_reply

from trailing import (
    ExchangeUnreachable,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    WouldTrigger,
)
from trailing.core.model import StopOrder
from trailing.errors import TooManyStops, TrailingError
from trailing.exchanges.port import OrderUpdate, StreamState, Update

OKX = "okx"


def server_of(desk: Desk) -> OkxServer:
    assert isinstance(desk.server, OkxServer)
    return desk.server


async def placed(desk: Desk) -> StopOrder:
    await desk.enter()
    return await desk.exchange.place_stop(stop_request())


def price_there(desk: Desk) -> D:
    (order,) = desk.server.market.live_stops()
    assert order.wanted.trigger is not None
    return order.wanted.trigger.price


@pytest.mark.parametrize("within_success", [False, True])
async def test_a_refusal_is_found_under_any_code_of_the_reply(within_success: bool) -> None:
    async with open_desk(OKX, most_stops=1) as desk:
        server_of(desk).okx.refusals_within_success = within_success
        await desk.enter()
        with pytest.raises(WouldTrigger):
            await desk.exchange.place_stop(stop_request(price="1001"))
        order = await desk.exchange.place_stop(stop_request())
        with pytest.raises(StopRejected, match="51261"):
            await desk.exchange.place_stop(stop_request("second"))
        await desk.exchange.cancel_stop(order)
        with pytest.raises(NoSuchStop):
            await desk.exchange.cancel_stop(order)
        with pytest.raises(NoSuchStop):
            await desk.exchange.amend_stop(order, price=D(981), quantity=order.quantity)
        assert await desk.exchange.find_stop(BTC, order.client_order_id) is None


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("51280", WouldTrigger),
        ("51169", NothingToReduce),
        ("51023", NothingToReduce),
        ("51008", StopRejected),
        ("51261", TooManyStops),
        ("50013", ExchangeUnreachable),
        ("50011", RateLimited),
        ("50004", OutcomeUnknown),
        ("51149", OutcomeUnknown),
        ("99999", StopRejected),
    ],
)
async def test_the_class_of_an_error_follows_the_code_of_the_order(code: str, error: type[TrailingError]) -> None:
    reply = json_reply({"code": "1", "data": [{"algoId": "", "sCode": code, "sMsg": "no"}], "msg": ""})
    async with open_desk(OKX) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", reply=reply))
        with pytest.raises(TrailingError) as caught:
            await desk.exchange.place_stop(stop_request())
        assert type(caught.value) is error
        assert code in str(caught.value)


async def test_an_amendment_moves_the_stop_in_place_and_may_be_repeated() -> None:
    async with open_desk(OKX) as desk:
        order = await placed(desk)
        desk.server.faults.add(Fault(on="amend_stop", drop="after"))
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.amend_stop(order, price=D(985), quantity=order.quantity)
        desk.server.faults.clear()
        amended = await desk.exchange.amend_stop(order, price=D(985), quantity=D("0.4"))
        assert amended == await desk.exchange.find_stop(BTC, order.client_order_id)
        assert (amended.order_id, amended.price, amended.quantity) == (order.order_id, D(985), D("0.4"))
        assert price_there(desk) == 985


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("margin_mode", ["cross", "isolated"])
async def test_orders_have_the_margin_mode_and_side_of_the_position(hedged: bool, margin_mode: str) -> None:
    async with open_desk(OKX, hedged=hedged, margin_mode=margin_mode) as desk:
        await placed(desk)
        closed = await desk.exchange.close_position(BTC, "long", D("0.3"), "closing")
        assert closed.quantity == D("0.3")
        for operation in ("place_stop", "close_position"):
            (sent,) = desk.server.seen(operation)
            assert sent.params["tdMode"] == margin_mode
            assert sent.params.get("posSide", "net") == ("long" if hedged else "net")


async def test_a_close_of_more_than_the_position_closes_all_of_it_in_long_short_mode() -> None:
    async with open_desk(OKX, hedged=True) as desk:
        await desk.enter()
        closed = await desk.exchange.close_position(BTC, "long", D(2), "closing")
        assert closed.quantity == D("0.8")
        assert [*await desk.exchange.positions()] == []


async def test_the_test_network_s_header_is_on_each_request() -> None:
    async with open_desk(
        OKX, demo=True, configure=lambda client: client.headers.update({"x-simulated-trading": "1"})
    ) as desk:
        await placed(desk)
        assert desk.stops_there() == {stop_request().client_order_id}


async def test_a_stop_that_the_lists_show_late_is_found_after_the_lag() -> None:
    async with open_desk(OKX) as desk:
        server_of(desk).okx.reads.read_lag_ms = 500
        order = await placed(desk)
        assert [*await desk.exchange.open_stops()] == []
        await trio.sleep(desk.exchange.venue.delays.orders_read_lag)
        assert [*await desk.exchange.open_stops()] == [order]


async def test_more_stops_than_a_page_has_are_all_listed() -> None:
    async with open_desk(OKX, most_stops=500) as desk:
        await placed(desk)
        server = server_of(desk)
        (order,) = server.market.live_stops()
        row = algo_order(order, server.okx_market)
        foreign = [{**row, "algoId": str(number), "algoClOrdId": f"theirs{number}"} for number in range(1, 251)]
        server.okx.reads.foreign_algo_orders += foreign
        stops = await desk.exchange.open_stops()
        assert len(stops) == 251
        assert len({stop.client_order_id for stop in stops}) == 251


class Heard:
    """Records the updates of an exchange while a block runs."""

    def __init__(self) -> None:
        self.updates: list[Update] = []

    async def listen(self, desk: Desk, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with desk.exchange.updates() as updates:
            task_status.started()
            async for update in updates:
                self.updates.append(update)

    def states(self) -> list[bool]:
        return [each.connected for each in self.updates if isinstance(each, StreamState)]

    def orders(self) -> list[OrderUpdate]:
        return [each for each in self.updates if isinstance(each, OrderUpdate)]


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not holds():
            await trio.sleep(0.01)


@asynccontextmanager
async def hearing() -> AsyncIterator[tuple[Desk, Heard]]:
    """Open an exchange with connected streams."""
    heard = Heard()
    async with open_desk(OKX) as desk, trio.open_nursery() as nursery:
        await nursery.start(heard.listen, desk)
        await until(lambda: heard.states()[-1:] == [True])
        yield desk, heard
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fails_triggered": "51008"}, "order_failed 51008"),
        ({"cancels_triggered": True}, "cancelSource 27 price limit"),
    ],
)
async def test_a_triggered_stop_that_does_not_fill_is_gone_with_the_reason(change: dict[str, Any], reason: str) -> None:
    async with hearing() as (desk, heard):
        await placed(desk)
        for name, value in change.items():
            setattr(server_of(desk).okx_market, name, value)
        await desk.server.move_price(BTC, D(979), "last")
        await until(lambda: heard.orders()[-1].status == "cancelled")
        assert [each.reason for each in heard.orders() if each.status == "cancelled"] == [reason]


async def test_the_connections_are_replaced_after_the_notice_of_an_upgrade() -> None:
    async with hearing() as (desk, heard):
        opened, states = desk.server.sockets.opened, len(heard.states())
        server_of(desk).stream.announce_upgrade()
        await until(lambda: heard.states()[states:] == [False, True])
        assert (
            desk.server.sockets.opened == opened + 1
        )  # the business address has no notice, and no price is subscribed
        await placed(desk)
        await until(heard.orders)


@pytest.mark.parametrize("path", ["private", "business"])
async def test_each_of_the_two_account_connections_counts_as_down(path: str) -> None:
    async with hearing() as (desk, heard):
        states = len(heard.states())
        (socket,) = (each for each in desk.server.sockets.open if path in each.path)
        socket.kill()
        await until(lambda: heard.states()[states:] == [False, True])
        await placed(desk)
        await until(heard.orders)


async def test_fills_are_the_stop_s_also_in_the_form_of_the_recorded_frames() -> None:
    async with hearing() as (desk, heard):
        server_of(desk).okx_market.as_recorded = True
        order = await placed(desk)
        await until(heard.orders)
        await desk.server.move_price(BTC, D(979), "last")
        await until(lambda: heard.orders()[-1].status == "filled")
        (fill,) = (each.fill for each in heard.orders() if each.fill is not None)
        assert (fill.client_order_id, fill.order_id) == (order.client_order_id, order.order_id)
        assert fill.quantity == D("0.8")
