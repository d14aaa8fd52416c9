"""Measure how long positions were open, and how long of that they were unprotected."""

from __future__ import annotations

from typing import Final

import trio

from simulation.healing.world import KEYS, World

_EVERY: Final = 1.0


class Measurements:
    """The figures of one world, from a look at the exchange each second.

    Attributes:
        open_seconds: summed over all positions that were not released.
        unprotected_seconds: the part of it without a live stop, by the time: while the world was hostile, and after it had healed.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.open_seconds: float = 0.0
        self.unprotected_seconds: dict[str, float] = {"hostile": 0.0, "healed": 0.0}

    async def run(self) -> None:
        """Measure until the world ends."""
        while True:
            await trio.sleep(_EVERY)
            when = "hostile" if self._world.healed_at is None else "healed"
            for key in KEYS:
                if self._world.held(key) and key not in self._world.bot.released:
                    self.open_seconds += _EVERY
                    self.unprotected_seconds[when] += 0.0 if self._world.stops(key) else _EVERY
