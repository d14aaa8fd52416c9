"""Stops that follow the price, and the events that tell of it."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Breakeven, Callback, Percent, Position, TrailPlan
from trailing.events import Event, PositionClosed, StopFilled, StopMoved, StopOpened
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.prices import generate_prices

PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(Percent("0.5"), activation=Percent("1.5")),
    ),
)


async def move_market(exchange: PaperExchange) -> None:
    for tick in generate_prices(
        "BTC/USDT:USDT",
        seed=11,
        start_price=Decimal(100),
        tick=Decimal("0.01"),
        step_seconds=0.02,
        count=500,
        volatility=Percent("0.2"),
        start_at=trio.current_time(),
    ):
        await trio.sleep_until(tick.at)
        exchange.feed(tick)


def tell(event: Event) -> None:
    match event:
        case StopOpened(price=price):
            print("a stop stands at", price)
        case StopMoved(previous=previous, price=price):
            print("moved from", previous, "to", price)
        case StopFilled(price=price):
            print("filled at", price)
        case PositionClosed(profit=profit, moves=moves):
            print(f"closed with {profit:+} USDT after {moves} moves")


async def main() -> None:
    async with (
        trailing.open_paper(latency=0.05) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
        trio.open_nursery() as nursery,
        manager.subscribe() as events,
    ):
        position = Position("BTC/USDT:USDT", "long", Decimal(1), Decimal(100), datetime.now(UTC))
        await exchange.enter(position)
        await manager.protect(position, deadline=10.0)
        nursery.start_soon(move_market, exchange)
        await manager.wait_closed()
        nursery.cancel_scope.cancel()
        while events.statistics().current_buffer_used:
            tell(events.receive_nowait())


trio.run(main)
