"""Log the harsh faults: their number, the symbols they disturb, and for how long."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import trio

from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.harsh_rates import HarshRates


class FaultLog:
    """The state that all kinds of harsh faults share. A fault strikes when it changes a call or an update.

    Args:
        seed: the seed of the world. Each kind draws from a generator of its own, so that it changes no other draw.
        rates: the rates of the kinds.
        fault_schedule: records the symbols that a strike disturbs.

    Attributes:
        strikes: how often each kind struck.
        struck_at: the time at which a kind last struck a symbol, or (None) the whole account, in seconds of the world.
    """

    def __init__(self, seed: int, rates: HarshRates, fault_schedule: FaultSchedule) -> None:
        self._seed, self._fault_schedule = seed, fault_schedule
        self.rates: HarshRates = rates
        self.strikes: Counter[str] = Counter()
        self.struck_at: dict[tuple[str, str | None], float] = {}

    @property
    def is_over(self) -> bool:
        """Whether no fault strikes any more."""
        return self._fault_schedule.is_over

    def draw(self, kind: str) -> random.Random:
        """The generator of a kind, at its beginning."""
        return random.Random(f"{self._seed} harsh {kind}")

    def note(self, kind: str, symbol: str | None = None, *, until: float | None = None, explains: bool = False) -> None:
        """Count a strike.

        Args:
            symbol: the symbol that it disturbs; None: the whole account.
            until: when it ends, in seconds of the world; None: now.
            explains: whether it explains that a position stands without a stop.
        """
        self.strikes[kind] += 1
        self.struck_at[kind, symbol] = trio.current_time()
        self._fault_schedule.disturb(symbol, until=until, explains=explains)


def moments(draw: random.Random, per_hour: float, until: float) -> Iterator[float]:
    """Moments at a rate, in seconds of the world, with gaps that are drawn."""
    at = 0.0
    while per_hour and (at := at + draw.expovariate(per_hour / 3600.0)) < until:
        yield at
