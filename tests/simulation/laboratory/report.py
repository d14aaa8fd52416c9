"""What became of a simulated world."""

from __future__ import annotations

import msgspec


class WorldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a world.

    Args:
        broken: what was wrong, each as ``"at 12.345: what: where"``; empty: nothing.
        deaths: of its process.
        steps: looks that the witness took.
        open_seconds: of all positions; `bare_seconds`: those without a live stop, by why.
        objects: how many objects of protection were alive every so often, for who looks whether that grows.
        events: everything that the exchange booked, where it was to be kept.
        strikes: how often each kind of harsh fault struck; empty in an ordinary world.
    """

    seed: int
    broken: tuple[str, ...]
    deaths: int
    steps: int
    open_seconds: float
    unprotected_seconds: dict[str, float]
    objects: tuple[int, ...]
    events: tuple[tuple[object, ...], ...] = ()
    strikes: dict[str, int] = {}

    @property
    def coverage(self) -> float:
        """The share of the position-seconds with a live stop."""
        return 1.0 - sum(self.unprotected_seconds.values()) / self.open_seconds if self.open_seconds else 1.0

    @property
    def classes(self) -> frozenset[str]:
        """The classes of what was wrong: the texts without time and place."""
        return frozenset(one.split(": ", 2)[1] for one in self.broken)
