"""The paper exchange's trailing orders follow the best price from their activation on, and trigger behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio

from trailing.core.model import CallbackRange, Market, Percent, Position, Side, Tick
from trailing.errors import NothingToReduce, StopRejected, UsageError, WouldTrigger
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.port import OrderUpdate, StopRequest

BTC = "BTC/USDT:USDT"
START = datetime(2026, 1, 1, tzinfo=UTC)


def request(side: Side = "long", price: str = "101", own_id: str = "t", **changes: Any) -> StopRequest:
    """Return a trailing order for the whole position, active at 101, with a callback of 1 %."""
    fields: dict[str, Any] = {"quantity": D(2), "callback": Percent(1)} | changes
    return StopRequest(BTC, side, price=D(price), client_order_id=own_id, **fields)


async def enter(exchange: PaperExchange, side: Side = "long") -> None:
    await exchange.enter(Position(BTC, side, D(2), D(100), START))


def feed(exchange: PaperExchange, *prices: str) -> None:
    for price in prices:
        exchange.feed(Tick(BTC, D(price), trio.current_time()))


@pytest.mark.parametrize(
    ("side", "activation", "prices", "last"),
    [
        ("long", "101", ("100.9", "98", "101", "103", "102.5"), "101.97"),
        ("short", "99", ("99.1", "102", "99", "97", "97.5"), "97.97"),
    ],
)
async def test_a_trailing_order_triggers_behind_the_best_price_since_its_activation(
    side: Side, activation: str, prices: Sequence[str], last: str
) -> None:
    async with open_paper(markets=[Market(BTC, price_tick=D("0.01"), native_callbacks=ONE)]) as exchange:
        await enter(exchange, side)
        order = await exchange.place_stop(request(side, activation))
        assert (order.price, order.callback) == (D(activation), Percent(1))
        feed(exchange, *prices)
        assert await exchange.open_stops() == (order,)
        feed(exchange, last)
        assert await exchange.open_stops() == ()
        assert await exchange.positions() == ()


ONE = CallbackRange(Percent(1), Percent(1), Percent(1))


async def test_its_trigger_price_is_rounded_to_the_tick_as_plans_round() -> None:
    async with open_paper(markets=[Market(BTC, price_tick=D("0.5"), native_callbacks=ONE)]) as exchange:
        await enter(exchange)
        await exchange.place_stop(request())
        feed(exchange, "101.5")  # 1 % behind it is 100.485
        feed(exchange, "100.5")
        assert await exchange.positions() == ()


async def test_a_trailing_order_ignores_prices_of_another_source() -> None:
    async with open_paper() as exchange:
        await enter(exchange)
        order = await exchange.place_stop(request(source="mark"))
        feed(exchange, "110", "100")
        assert await exchange.open_stops() == (order,)


async def test_the_tighter_of_two_orders_that_one_tick_crosses_is_filled_first() -> None:
    async with open_paper(cancel_on_flat=True) as exchange:
        await enter(exchange)
        await exchange.place_stop(request())
        await exchange.place_stop(StopRequest(BTC, "long", D(2), D(98), "plain"))
        async with exchange.updates() as updates:
            feed(exchange, "103", "97")
            pushed = [update for update in updates.receive_waiting(9) if isinstance(update, OrderUpdate)]
        assert [(update.client_order_id, update.status) for update in pushed] == [
            ("t", "filled"),
            ("plain", "cancelled"),
        ]


async def test_the_rest_of_a_triggered_trailing_order_fills_at_the_next_ticks() -> None:
    async with open_paper(partial_fills=D("0.5")) as exchange:
        await enter(exchange)
        await exchange.place_stop(request())
        feed(exchange, "102", "100.9")
        assert [order.quantity for order in await exchange.open_stops()] == [1]
        feed(exchange, "105")
        assert await exchange.positions() == ()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"price": "100"}, WouldTrigger, "the last price 100 is at or beyond 100"),
        ({"price": "99"}, WouldTrigger, "at or beyond 99"),
        ({"quantity": D(3)}, StopRejected, "quantity 3 is larger than the position"),
        ({"price": "101.000000001"}, StopRejected, "no multiple of the tick"),
        ({"side": "short", "price": "99"}, NothingToReduce, "there is no short position"),
        ({"callback": Percent("0.05")}, UsageError, "StopRequest.callback got '0.05%', wants a Percent that BTC"),
        ({"callback": D(1)}, UsageError, "StopRequest.callback got '1', wants a Percent"),
    ],
)
async def test_an_invalid_trailing_order_is_rejected(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with open_paper() as exchange:
        await enter(exchange)
        with pytest.raises(error, match=says):
            await exchange.place_stop(request(**changes))
        assert await exchange.open_stops() == ()


async def test_a_market_without_trailing_orders_refuses_one_and_no_market_amends_one() -> None:
    async with open_paper(native_callbacks=None) as exchange:
        await enter(exchange)
        with pytest.raises(UsageError, match="no trailing orders are supported"):
            await exchange.place_stop(request())
    async with open_paper(can_amend=True) as exchange:
        await enter(exchange)
        order = await exchange.place_stop(request())
        with pytest.raises(UsageError, match="can't amend a trailing order"):
            await exchange.amend_stop(order, price=D(102), quantity=D(2))
    with pytest.raises(UsageError, match="native_callbacks got 3, wants a CallbackRange or None"):
        async with open_paper(native_callbacks=3):  # type: ignore[arg-type]
            pass


async def test_a_restored_trailing_order_continues_from_its_best_price() -> None:
    async with open_paper() as exchange:
        await enter(exchange)
        await exchange.place_stop(request())
        feed(exchange, "105", "104.5")
        saved = exchange.save(BTC)
    again = msgspec.json.decode(msgspec.json.encode(saved), type=SavedMarketBook)
    assert again == saved
    async with open_paper() as exchange:
        exchange.restore([again])
        feed(exchange, "103.96")
        assert len(await exchange.open_stops()) == 1
        feed(exchange, "103.95")
        assert await exchange.positions() == ()
