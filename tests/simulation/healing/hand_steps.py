"""Steps of a person who changes the account by hand, at once and on the exchange."""

from __future__ import annotations

from decimal import Decimal

import trio
from inspection import Key
from inspection.paper import add_by_hand, amend_by_hand, working_entries

from simulation.healing.bot import named
from simulation.healing.world import Done, World, rounded
from trailing.core.model import Side, StopOrder
from trailing.exchanges.port import StopRequest


async def tighten_a_stop(world: World) -> Done:
    """Amend a stop by hand, halfway to the price."""
    stop = world.draw_stop()
    if stop is None:
        return None
    price = rounded((stop.price + world.price(stop.symbol)) / 2)
    return _amend(world, stop, price)


async def loosen_a_stop(world: World) -> Done:
    """Amend a stop by hand, 1 % away from the price."""
    stop = world.draw_stop()
    if stop is None:
        return None
    price = rounded(stop.price * (Decimal("0.99") if stop.side == "long" else Decimal("1.01")))
    return _amend(world, stop, price)


def _amend(world: World, stop: StopOrder, price: Decimal) -> str:
    amend_by_hand(world.exchange, stop, price)
    return f"{named((stop.symbol, stop.side))} {stop.client_order_id} from {stop.price} to {price}"


async def cancel_a_stop(world: World) -> Done:
    """Cancel a stop by hand."""
    stop = world.draw_stop()
    if stop is None:
        return None
    world.exchange.cancel_by_hand(stop.client_order_id)
    return f"{named((stop.symbol, stop.side))} {stop.client_order_id}"


async def reduce(world: World) -> Done:
    """Close half of a position by hand."""
    key = world.draw_open()
    if key is None:
        return None
    quantity = (world.held(key) / 2).quantize(Decimal("0.001")) or world.held(key)
    world.exchange.reduce(*key, quantity)
    return f"{named(key)} by {quantity}"


async def close_by_hand(world: World) -> Done:
    """Close a position by hand."""
    key = world.draw_open()
    if key is None:
        return None
    world.exchange.reduce(*key, world.held(key))
    return named(key)


async def replace_by_hand(world: World) -> Done:
    """Close a position by hand, and open another one in its place, of the same side or of the other one."""
    key = world.draw_open()
    if key is None:
        return None
    world.exchange.reduce(*key, world.held(key))
    other: Side = "short" if key[1] == "long" else "long"
    is_free = not world.exchange.hedged and not working_entries(world.exchange, key[0])
    new: Key = (key[0], other) if is_free and world.draw.random() < 0.5 else key
    world.bot.open(world.position(new, Decimal(1)))
    return f"{named(key)} by {named(new)}"


async def place_a_stop(world: World) -> Done:
    """Place a stop by hand, far away. A market that takes one stop only would leave no room for ours."""
    key = world.draw_open()
    if key is None or not world.exchange.market(key[0]).two_stops or world.scenario.venue["most_stops"]:
        return None
    price = rounded(world.price(key[0]) * (Decimal("0.8") if key[1] == "long" else Decimal("1.2")))
    world.exchange.place_by_hand(
        StopRequest(*key, world.held(key), price, f"by hand {trio.current_time():.3f}", "last")
    )
    return f"{named(key)} at {price}"


async def add(world: World) -> Done:
    """Add to a position by hand. Beside an entry of which nothing is filled, it would be no position of ours."""
    key = world.draw_open()
    if key is None:
        return None
    working = [entry for entry in working_entries(world.exchange, key[0]) if entry.side == key[1]]
    if any(not entry.filled for entry in working):
        return None
    add_by_hand(world.exchange, world.position(key, Decimal("0.5")))
    return named(key)
