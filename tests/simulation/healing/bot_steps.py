"""Steps of the bot: each starts a call of the manager, which goes on beside the next steps."""

from __future__ import annotations

from decimal import Decimal

from simulation.healing.bot import QUANTITY, named
from simulation.healing.scenario import a_plan
from simulation.healing.world import Done, World, rounded
from trailing.core.entries import Entry


async def protect(world: World) -> Done:
    """Open up to three positions and hand them in as one wave."""
    positions = []
    for _ in range(world.draw.choice((1, 1, 2, 3))):
        key = world.draw_free()
        if key is not None:
            positions.append(world.position(key, QUANTITY))
            world.bot.open(positions[-1])
    if not positions:
        return None
    world.start_call(world.bot.protect, positions, a_plan(world.draw))
    return ", ".join(f"{named((one.symbol, one.side))} at {one.entry_price}" for one in positions)


async def enter_at_market(world: World) -> Done:
    """Enter at market."""
    key = world.draw_free()
    if key is None:
        return None
    world.start_call(world.bot.enter, Entry(*key, QUANTITY), 10.0)
    return named(key)


async def enter_with_a_limit(world: World) -> Done:
    """Enter at a price that rests for its deadline, unless the market comes to it."""
    key = world.draw_free()
    if key is None:
        return None
    better = Decimal("0.996") if key[1] == "long" else Decimal("1.004")
    limit, deadline = rounded(world.price(key[0]) * better), world.draw.choice((10.0, 60.0))
    world.start_call(world.bot.enter, Entry(*key, QUANTITY, limit), deadline)
    return f"{named(key)} at {limit} for {deadline:g} s"


async def adopt_released(world: World) -> Done:
    """Adopt a released position, or clean up after it."""
    released = list(world.bot.released)
    if not released:
        return None
    key = world.draw.choice(released)
    world.start_call(world.bot.take_back, key)
    return named(key)


async def adopt_unattended(world: World) -> Done:
    """Adopt the positions on which no task works."""
    world.start_call(world.bot.hand_in_unattended)
    return "those that no task works on"


async def cancel_a_call(world: World) -> Done:
    """Cancel a call of the bot from outside."""
    running = list(world.running_calls)
    if not running:
        return None
    scope = world.draw.choice(running)
    scope.cancel()
    return world.running_calls[scope]


async def update(world: World) -> Done:
    """Replace the plan of a position."""
    key = world.draw_open()
    if key is None:
        return None
    world.start_call(world.bot.update, key, a_plan(world.draw))
    return named(key)


async def close(world: World) -> Done:
    """Close a position."""
    key = world.draw_open()
    if key is None or key in world.bot.released:
        return None
    world.start_call(world.bot.close, key, world.draw.choice((1.0, 20.0)))
    return named(key)


async def release(world: World) -> Done:
    """Release a position, and cancel its stop or leave it."""
    key = world.draw_open()
    if key is None or key in world.bot.released:
        return None
    cancel_stop = world.draw.random() < 0.5
    world.start_call(world.bot.release, key, cancel_stop)
    return f"{named(key)}, {'its stop is cancelled' if cancel_stop else 'its stop is left'}"
