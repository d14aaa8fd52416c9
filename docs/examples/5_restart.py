"""The bot ends and is started again: it continues with the same stops."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Callback, Percent, Position, Tick, TrailPlan
from trailing.exchanges.paper import PaperExchange

PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))
SYMBOL = "BTC/USDT:USDT"


async def move_price(exchange: PaperExchange, price: str) -> None:
    exchange.feed(Tick(SYMBOL, Decimal(price), trio.current_time()))
    await trio.sleep(0.5)


async def first_run(exchange: PaperExchange) -> str:
    async with (
        trailing.open_store("sqlite:///bot.db") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        position = Position(SYMBOL, "long", Decimal(1), Decimal(100), datetime.now(UTC))
        await exchange.enter(position)
        await manager.protect(position, deadline=10.0)
        await move_price(exchange, "103")
        stop = manager.stops()[SYMBOL, "long"]
        print("first run: the stop was trailed to", stop.price)
        return stop.client_order_id


async def second_run(exchange: PaperExchange, left_id: str) -> None:
    async with (
        trailing.open_store("sqlite:///bot.db") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        stop = manager.stops()[SYMBOL, "long"]
        print("second run: the stop is at", stop.price, "and is the same order:", stop.client_order_id == left_id)
        await trio.sleep(0.5)  # until the prices are subscribed
        await move_price(exchange, "105")
        print("second run: the stop was trailed to", manager.stops()[SYMBOL, "long"].price)
        exchange.feed(Tick(SYMBOL, Decimal("103.5"), trio.current_time()))
        await manager.wait_closed()
        print("second run: closed,", len(await exchange.open_stops()), "stops left on the exchange")


async def main() -> None:
    trailing.configure_logging("error")
    async with trailing.open_paper(latency=0.05) as exchange:  # an exchange outlives its bots
        left_id = await first_run(exchange)
        for order in await exchange.open_stops():
            print("no bot runs, and on the exchange a stop is live at", order.price)
        await second_run(exchange, left_id)


trio.run(main)
