"""The hostile steps: what a person, the market, the exchange, the store and the bot do, each at its rate.

To add a step, write a function beside the others of its kind that draws what it needs from ``world.draw``, and add a line to
`STEPS`. It returns what it did, for the log, or None if it could do nothing. The exchange may refuse what a person does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from simulation.healing import bot_steps, fault_steps, hand_steps, market_steps
from simulation.healing.world import Done, World
from trailing.errors import TrailingError


class Step(msgspec.Struct, frozen=True):
    """A kind of step.

    Args:
        act: does one.
        rate: how often it is drawn, relative to the others.
    """

    act: Callable[[World], Awaitable[Done]]
    rate: float


STEPS: Final = (
    Step(market_steps.move_price, 3),
    Step(market_steps.jump, 1),
    Step(market_steps.wrong_tick, 0.5),
    Step(market_steps.wait, 1),
    Step(hand_steps.tighten_a_stop, 1.5),
    Step(hand_steps.loosen_a_stop, 0.5),
    Step(hand_steps.cancel_a_stop, 1),
    Step(hand_steps.reduce, 1),
    Step(hand_steps.close_by_hand, 0.4),
    Step(hand_steps.replace_by_hand, 0.4),
    Step(hand_steps.place_a_stop, 0.3),
    Step(hand_steps.add, 1),
    Step(fault_steps.flap, 1),
    Step(fault_steps.lose_the_stream, 0.5),
    Step(fault_steps.silence_the_stream, 1),
    Step(fault_steps.fail_calls, 3),
    Step(fault_steps.fail_the_store, 1),
    Step(bot_steps.protect, 2.5),
    Step(bot_steps.enter_at_market, 1.2),
    Step(bot_steps.enter_with_a_limit, 1.2),
    Step(bot_steps.update, 1),
    Step(bot_steps.close, 0.3),
    Step(bot_steps.release, 0.3),
    Step(bot_steps.adopt_released, 0.6),
    Step(bot_steps.adopt_unattended, 0.5),
    Step(bot_steps.cancel_a_call, 1),
)
"""Every kind of step."""


async def do_steps(world: World, count: int) -> None:
    """Do some steps, each at most a few seconds after the last one."""
    for step in world.draw.choices(STEPS, [each.rate for each in STEPS], k=count):
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
