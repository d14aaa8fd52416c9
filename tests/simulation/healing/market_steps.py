"""Steps of the market: prices, and times in which nothing happens."""

from __future__ import annotations

from decimal import Decimal

import trio
from inspection.paper import push_update

from simulation.healing.world import Done, World, rounded
from trailing.core.model import Tick


async def move_price(world: World) -> Done:
    """Move a price by up to 1.7 %."""
    symbol = world.draw_symbol()
    return world.feed(symbol, world.price(symbol) * (1 + Decimal(world.draw.randint(-170, 170)) / 10_000))


async def jump(world: World) -> Done:
    """Move a price by 2 %."""
    symbol = world.draw_symbol()
    return world.feed(symbol, world.price(symbol) * world.draw.choice((Decimal("0.98"), Decimal("1.02"))))


async def wrong_tick(world: World) -> Done:
    """Push a price of 10 times or a tenth of the market's, which the market does not have."""
    symbol = world.draw_symbol()
    if symbol not in world.exchange.subscriptions or world.stream.is_silent:
        return None
    price = rounded(world.price(symbol) * world.draw.choice((Decimal("0.1"), Decimal(10))))
    push_update(world.exchange, Tick(symbol, price, trio.current_time()))
    return f"{symbol} {price}"


async def wait(world: World) -> Done:
    """Do nothing for a while."""
    seconds = world.draw.choice((5.0, 15.0, 70.0))
    await trio.sleep(seconds)
    return f"{seconds:g} s"
