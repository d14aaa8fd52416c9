"""Features of the Bybit server only: amendments in place, pages, and replies without the result of the order."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from ccxt import BadRequest, InvalidOrder, OrderNotFound
from ccxt_client import BTC, Trader, ask, open_trader
from venue_market import Trigger, Wanted

BYBIT = "bybit"


async def amend(trader: Trader, order_id: str, price: str, **params: str) -> str:
    wanted = {"triggerPrice": price, **params}
    amended = await ask(trader.client.edit_order, order_id, BTC, "market", "sell", "0.8", None, wanted)
    return str(amended["id"])


async def test_a_stop_is_amended_in_place() -> None:
    async with open_trader(BYBIT) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine", source="mark")
        assert await amend(trader, placed["id"], "985", triggerBy="MarkPrice") == placed["id"]
        (order,) = await trader.open_stops()
        assert (order["triggerPrice"], order["clientOrderId"], order["info"]["triggerBy"]) == (985, "mine", "MarkPrice")
        with pytest.raises(InvalidOrder, match="110093"):
            await amend(trader, placed["id"], "1000", triggerBy="MarkPrice")
        with pytest.raises(BadRequest, match="unchanged"):
            await amend(trader, placed["id"], "985", triggerBy="MarkPrice")
        await trader.cancel_stop(placed["id"])
        with pytest.raises(OrderNotFound, match="110001"):
            await amend(trader, placed["id"], "986")


async def test_ccxt_resets_the_trigger_source_to_the_last_price_by_default() -> None:
    async with open_trader(BYBIT) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine", source="mark")
        await amend(trader, placed["id"], "985")
        assert [order["info"]["triggerBy"] for order in await trader.open_stops()] == ["LastPrice"]


async def test_a_short_s_stop_that_would_trigger_has_another_code() -> None:
    async with open_trader(BYBIT) as trader:
        await trader.enter("short")
        with pytest.raises(InvalidOrder, match="110092"):
            await trader.place_stop("mine", "1000", side="buy")


async def test_the_index_price_triggers_too() -> None:
    async with open_trader(BYBIT) as trader:
        await trader.enter()
        await trader.place_stop("mine", source="index")
        await trader.server.move_price(BTC, Decimal("900"), "mark")
        assert len(await trader.open_stops()) == 1
        await trader.server.move_price(BTC, Decimal("980"), "index")
        assert await trader.positions() == []


async def test_orders_come_in_pages_of_twenty() -> None:
    async with open_trader(BYBIT, most_stops=30) as trader:
        await trader.enter()
        trigger = Trigger(Decimal(980), "last", rising=False)
        stop = Wanted(symbol=BTC, side="sell", quantity=Decimal("0.8"), client_order_id="", trigger=trigger)
        for number in range(25):
            trader.server.market.place(msgspec.structs.replace(stop, client_order_id=f"stop{number}"))
        assert len(await trader.open_stops()) == 20
        params = {"trigger": True, "paginate": True}
        assert len(await ask(trader.client.fetch_open_orders, None, None, None, params)) == 25


async def test_the_client_order_id_of_an_ended_order_stays_used() -> None:
    async with open_trader(BYBIT) as trader:
        await trader.enter()
        await trader.cancel_stop((await trader.place_stop("mine"))["id"])
        with pytest.raises(InvalidOrder, match="110072"):
            await trader.place_stop("mine")
