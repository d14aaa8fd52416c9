"""A person opens a position by hand: the bot adopts it, and later trails it more closely."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Callback, Percent, Position, Tick, TrailPlan
from trailing.events import PlanChanged, StopMoved, StopOpened
from trailing.exchanges.paper import PaperExchange

SYMBOL = "BTC/USDT:USDT"
WIDE = TrailPlan(initial_stop=Percent("5"), rules=(Callback(Percent("3")),))
CLOSE = TrailPlan(initial_stop=Percent("5"), rules=(Callback(Percent("1")),))


async def move_price(exchange: PaperExchange, price: str) -> None:
    print("price", price)
    exchange.feed(Tick(SYMBOL, Decimal(price), trio.current_time()))
    await trio.sleep(0.5)


async def tell(events: trio.MemoryReceiveChannel[trailing.events.Event]) -> None:
    async for event in events:
        match event:
            case StopOpened(price=price):
                print("    a stop is live at", price.normalize())
            case StopMoved(previous=previous, price=price):
                print("    the stop moved from", previous.normalize(), "to", price.normalize())
            case PlanChanged():
                print("    another plan")


async def main() -> None:
    trailing.configure_logging("error")
    async with (
        trailing.open_paper(latency=0.05) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, WIDE) as manager,
        manager.subscribe() as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(tell, events)
        # A person buys at 100 on the exchange's own page; the price is at 105 when the bot adopts the position.
        await exchange.enter(Position(SYMBOL, "long", Decimal(1), Decimal(100), datetime.now(UTC)))
        await move_price(exchange, "105")

        outcome = await manager.adopt(SYMBOL, "long", deadline=10.0, stop_price=Decimal(102))
        print(type(outcome).__name__, outcome.position.quantity, "entered at", outcome.position.entry_price)
        await trio.sleep(0.5)  # until the prices are subscribed
        await move_price(exchange, "106")

        await manager.update(SYMBOL, "long", CLOSE)
        await trio.sleep(0.5)
        await move_price(exchange, "104.5")
        await manager.wait_closed()
        print("closed,", len(await exchange.open_stops()), "stops left on the exchange")
        nursery.cancel_scope.cancel()


trio.run(main)
