"""The result of a simulated world."""

from __future__ import annotations

import msgspec


class WorldReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a world.

    Args:
        broken: the violations, each as ``"at 12.345: class: details"``.
        deaths: the number of killed processes.
        steps: the number of checks by the invariant monitor.
        open_seconds: summed over all positions.
        unprotected_seconds: the part of `open_seconds` without a live stop, by cause.
        objects: the number of live objects of `trailing.protection` every two hours, to find leaks.
        events: all bookings of the exchange, if the world kept them.
        strikes: the number of strikes of each kind of harsh fault; empty in an ordinary world.
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
        """The classes of the violations: their texts without time and details."""
        return frozenset(one.split(": ", 2)[1] for one in self.broken)
