"""The hostile steps: what a person, the market, the exchange, the store and the bot do, each at its rate.

To add a step, write a function here that draws what it needs from ``world.draw``, and add a line to `STEPS`. It returns what it
did, for the log, or None if it could do nothing. The exchange may refuse what a person does; that is noted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
import trio
from inspection.paper import add_by_hand, amend_by_hand, push_update, working_entries

from simulation.healing.bot import QUANTITY, named
from simulation.healing.scenario import ADDS_TO_RESTING_ENTRIES, SYMBOLS, a_plan
from simulation.healing.world import World, rounded
from trailing.core.entries import Entry
from trailing.core.model import Tick
from trailing.errors import TrailingError

Done: TypeAlias = str | None

# The market.


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


# A person.


async def tighten_a_stop(world: World) -> Done:
    """Amend a stop by hand, halfway to the price."""
    stop = world.draw_stop()
    if stop is None:
        return None
    price = rounded((stop.price + world.price(stop.symbol)) / 2)
    amend_by_hand(world.exchange, stop, price)
    return f"{named((stop.symbol, stop.side))} {stop.client_order_id} from {stop.price} to {price}"


async def loosen_a_stop(world: World) -> Done:
    """Amend a stop by hand, 1 % away from the price."""
    stop = world.draw_stop()
    if stop is None:
        return None
    price = rounded(stop.price * (Decimal("0.99") if stop.side == "long" else Decimal("1.01")))
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


async def add(world: World) -> Done:
    """Add to a position by hand."""
    key = world.draw_open()
    if key is None or any(entry.side == key[1] for entry in working_entries(world.exchange, key[0])):
        return None
    add_by_hand(world.exchange, world.position(key, Decimal("0.5")))
    return named(key)


async def add_beside_an_entry(world: World) -> Done:
    """Add to a position by hand, or open it, while an entry of it rests."""
    keys = [(symbol, entry.side) for symbol in SYMBOLS for entry in working_entries(world.exchange, symbol)]
    if not keys:
        return None
    key = world.draw.choice(keys)
    add_by_hand(world.exchange, world.position(key, Decimal("0.5")))
    return named(key)


# The stream, the exchange and the store.


async def flap(world: World) -> Done:
    """Report that the stream is lost, although it is not, and that it is back."""
    seconds = world.draw.choice((0.1, 3.0))
    await world.stream.report_loss(seconds)
    return f"{seconds:g} s"


async def lose_the_stream(world: World) -> Done:
    """Lose the stream for a while."""
    seconds = world.draw.choice((0.5, 5.0, 30.0))
    await world.stream.lose(seconds)
    return f"{seconds:g} s"


async def silence_the_stream(world: World) -> Done:
    """Let the stream be silent, until this step is drawn again or everything heals."""
    if world.stream.is_silent:
        world.stream.end_silence()
        return "it ends"
    world.stream.silence()
    return "it begins"


async def fail_calls(world: World) -> Done:
    """Let some operations of the exchange fail for a while."""
    return world.calls.begin()


async def fail_the_store(world: World) -> Done:
    """Let the store fail for a while."""
    return world.calls.begin_of_store()


# The bot.


async def protect(world: World) -> Done:
    """Open a position and hand it in."""
    key = world.draw_free()
    if key is None:
        return None
    position = world.position(key, QUANTITY)
    world.bot.open(position)
    world.start_call(world.bot.protect, position, a_plan(world.draw))
    return f"{named(key)} at {position.entry_price}"


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


class Step(msgspec.Struct, frozen=True):
    """A kind of step.

    Args:
        act: does one.
        rate: how often it is drawn, relative to the others.
        known: the ingredient of `KNOWN` without which it is not drawn; None: it always is.
    """

    act: Callable[[World], Awaitable[Done]]
    rate: float
    known: str | None = None


STEPS: Final = (
    Step(move_price, 3),
    Step(jump, 1),
    Step(wrong_tick, 0.5),
    Step(wait, 1),
    Step(tighten_a_stop, 1.5),
    Step(loosen_a_stop, 0.5),
    Step(cancel_a_stop, 1),
    Step(reduce, 1),
    Step(close_by_hand, 0.4),
    Step(add, 1),
    Step(add_beside_an_entry, 1, ADDS_TO_RESTING_ENTRIES),
    Step(flap, 1),
    Step(lose_the_stream, 0.5),
    Step(silence_the_stream, 1),
    Step(fail_calls, 3),
    Step(fail_the_store, 1),
    Step(protect, 2.5),
    Step(enter_at_market, 1.2),
    Step(enter_with_a_limit, 1.2),
    Step(update, 1),
    Step(close, 0.3),
    Step(release, 0.3),
    Step(adopt_released, 0.6),
)
"""Every kind of step."""


async def do_steps(world: World, count: int) -> None:
    """Do some steps, each at most a few seconds after the last one."""
    drawn = [step for step in STEPS if step.known is None or step.known in world.scenario.known]
    for step in world.draw.choices(drawn, [each.rate for each in drawn], k=count):
        name = step.act.__name__
        try:
            done = await step.act(world)
        except TrailingError as error:
            world.note(f"{name}: refused, {error!r}")
        else:
            if done is not None:
                world.steps[name] += 1
                world.note(f"{name}: {done}")
        await trio.sleep(world.draw.choice((0.0, 0.05, 0.3, 1.0, 2.0)))
