"""The bot's own exit: it says that it wants a position closed, and waits; the position's own task closes it."""

from __future__ import annotations

from typing import Any, TypeVar

import trio

from trailing.errors import UsageError
from trailing.protection.clock import Clock
from trailing.protection.outcomes import Exited, Refused, TimedOut
from trailing.protection.protection import Protection

_O = TypeVar("_O", Exited, TimedOut, Refused)


async def close_position(clock: Clock, protection: Protection, deadline: float) -> Exited | TimedOut | Refused:
    """Have a position closed, and wait for it so many seconds; afterwards its task goes on with it."""
    started = clock.now()
    with trio.move_on_after(deadline) as scope:
        await protection.wait_opened()
        protection.exit_wanted = "closed by the bot"
        protection.hurry()
        while not protection.closed:
            await protection.wait_changed()
    if scope.cancelled_caught:
        return _outcome(TimedOut, clock, protection, started, stop=protection.live)
    if protection.last_fill is None:
        error = protection.error or UsageError("there was nothing to close")
        return _outcome(Refused, clock, protection, started, error=error)
    return _outcome(Exited, clock, protection, started, fill=protection.last_fill)


def _outcome(kind: type[_O], clock: Clock, protection: Protection, started: float, **fields: Any) -> _O:
    now = clock.now()
    return kind(
        position=protection.position,
        elapsed=now - started,
        uncovered=protection.stop.uncovered,
        exposure_by=protection.exposure_at(now),
        **fields,
    )
