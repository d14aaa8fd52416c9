"""Stops that follow the price, and the events that report it."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Breakeven, Callback, Market, Percent, Position, Tick, TrailPlan
from trailing.events import Event, PositionClosed, StopFilled, StopMoved, StopOpened
from trailing.exchanges.paper import PaperExchange

BTC = Market("BTC/USDT:USDT", price_tick=Decimal("0.01"))
PRICES = ("100.0", "99.4", "100.3", "100.9", "100.6", "101.2", "101.8", "102.6", "102.3", "103.4", "103.1", "102.7")
PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(Percent("0.5"), activation=Percent("1.5")),
    ),
)


async def move_market(exchange: PaperExchange) -> None:
    for price in PRICES:
        await trio.sleep(0.2)
        print("price", price)
        exchange.feed(Tick(BTC.symbol, Decimal(price), trio.current_time()))


def tell(event: Event) -> None:
    match event:
        case StopOpened(price=price):
            print(f"    a stop is live at {price:.2f}")
        case StopMoved(previous=previous, price=price):
            print(f"    the stop moved from {previous:.2f} to {price:.2f}")
        case StopFilled(price=price):
            print(f"    the stop was filled at {price:.2f}")
        case PositionClosed(profit=profit, moves=moves) if profit is not None:  # None: not every fill was reported
            print(f"    closed with {profit:+.2f} USDT after {moves} moves")


async def main() -> None:
    trailing.configure_logging("error")
    async with (
        trailing.open_paper(latency=0.02, markets=[BTC]) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
        manager.subscribe() as events,
        trio.open_nursery() as nursery,
    ):
        position = Position(BTC.symbol, "long", Decimal(1), Decimal(100), datetime.now(UTC))
        await exchange.enter(position)
        await manager.protect(position, deadline=10.0)
        nursery.start_soon(move_market, exchange)
        async for event in events:
            tell(event)
            if isinstance(event, PositionClosed):
                break
        await manager.wait_closed()
        nursery.cancel_scope.cancel()


trio.run(main)
