"""Amendments on Bybit: one without a change succeeds, and one that fails leaves the stop unchanged."""

from __future__ import annotations

from decimal import Decimal

import pytest
from real_exchange import BTC, Desk, open_desk, stop_request
from venue_faults import Fault, json_reply

from trailing import ExchangeUnreachable, NothingToReduce, OutcomeUnknown, StopRejected
from trailing.core.model import StopOrder

BYBIT = "bybit"


async def placed(desk: Desk) -> StopOrder:
    await desk.enter()
    return await desk.exchange.place_stop(stop_request())


def price_there(desk: Desk) -> Decimal:
    (order,) = desk.server.market.live_stops()
    assert order.wanted.trigger is not None
    return order.wanted.trigger.price


async def test_an_amendment_that_changes_nothing_succeeds() -> None:
    async with open_desk(BYBIT) as desk:
        order = await placed(desk)
        assert await desk.exchange.amend_stop(order, price=order.price, quantity=order.quantity) == order
        assert [seen.booked for seen in desk.server.seen("amend_stop")] == [False]
        assert price_there(desk) == order.price


async def test_a_repeated_amendment_succeeds_after_its_reply_was_lost() -> None:
    async with open_desk(BYBIT) as desk:
        order = await placed(desk)
        desk.server.faults.add(Fault(on="amend_stop", drop="after"))
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.amend_stop(order, price=Decimal(985), quantity=order.quantity)
        desk.server.faults.clear()
        amended = await desk.exchange.amend_stop(order, price=Decimal(985), quantity=order.quantity)
        assert amended == await desk.exchange.find_stop(BTC, order.client_order_id)
        assert amended.price == price_there(desk) == 985
        assert [seen.booked for seen in desk.server.seen("amend_stop")] == [True, False]


async def test_a_wrong_parameter_with_the_same_code_is_a_rejection() -> None:
    async with open_desk(BYBIT) as desk:
        order = await placed(desk)
        reply = json_reply({"retCode": 10001, "retMsg": "params error: TriggerPrice invalid", "result": {}})
        desk.server.faults.add(Fault(on="amend_stop", reply=reply))
        with pytest.raises(StopRejected):
            await desk.exchange.amend_stop(order, price=Decimal(985), quantity=order.quantity)
        assert price_there(desk) == order.price


async def test_a_request_to_a_busy_order_may_be_sent_again() -> None:
    reply = json_reply({"retCode": 110079, "retMsg": "The order is processing and can not be operated", "result": {}})
    async with open_desk(BYBIT) as desk:
        order = await placed(desk)
        for operation in ("amend_stop", "cancel_stop"):
            desk.server.faults.add(Fault(on=operation, reply=reply))
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.amend_stop(order, price=Decimal(985), quantity=order.quantity)
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.cancel_stop(order)
        assert price_there(desk) == order.price
        desk.server.faults.clear()
        await desk.exchange.cancel_stop(order)
        assert desk.stops_there() == set()


@pytest.mark.parametrize("code", [110017, 110034])
async def test_either_code_of_a_missing_position_is_nothing_to_reduce(code: int) -> None:
    async with open_desk(BYBIT) as desk:
        reply = json_reply({"retCode": code, "retMsg": "There is no net position", "result": {}})
        for operation in ("place_stop", "close_position"):
            desk.server.faults.add(Fault(on=operation, reply=reply))
        with pytest.raises(NothingToReduce):
            await desk.exchange.place_stop(stop_request())
        with pytest.raises(NothingToReduce):
            await desk.exchange.close_position(BTC, "long", Decimal("0.8"), "closing")
