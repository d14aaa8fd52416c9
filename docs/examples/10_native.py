"""The exchange trails by itself: while no bot runs, and until its order is cancelled by hand."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Callback, Percent, Position, Tick, TrailPlan
from trailing.exchanges.paper import PaperExchange

PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(Callback(Percent("1"), activation=Percent("1.5")),),
    native=True,
)
SYMBOL = "BTC/USDT:USDT"


async def move_price(exchange: PaperExchange, price: str) -> None:
    exchange.feed(Tick(SYMBOL, Decimal(price), trio.current_time()))
    await trio.sleep(0.5)


async def show(exchange: PaperExchange, when: str) -> None:
    for order in sorted(await exchange.open_stops(), key=lambda order: order.callback is not None):
        kind = "a stop at" if order.callback is None else f"a trailing order, {order.callback} behind, from"
        print(f"{when}: {kind} {order.price.normalize():f}")


async def main() -> None:
    trailing.configure_logging("error")
    async with trailing.open_paper(latency=0.05) as exchange, trailing.open_store("memory:") as store:
        async with trailing.open_manager(exchange, store, PLAN) as manager:
            position = Position(SYMBOL, "long", Decimal(1), Decimal(100), datetime.now(UTC))
            await exchange.enter(position)
            await manager.protect(position, deadline=10.0)
            await trio.sleep(0.5)
            await show(exchange, "protected")

        await move_price(exchange, "104")  # the exchange trails while no bot runs

        async with trailing.open_manager(exchange, store, PLAN) as manager:
            await show(exchange, "started again")
            await move_price(exchange, "103.5")  # the manager's own best price; the exchange has seen 104
            for order in await exchange.open_stops():
                if order.callback is not None:
                    exchange.cancel_by_hand(order.client_order_id)
            await trio.sleep(0.5)
            await show(exchange, "cancelled by hand, so that the manager trails")


trio.run(main)
