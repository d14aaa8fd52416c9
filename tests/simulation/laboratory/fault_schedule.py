"""What goes wrong between a process and its exchange: calls that are struck, outages, lines that fall silent."""

from __future__ import annotations

import random
from collections.abc import Mapping

import trio

from simulation.laboratory.scenario import Scenario
from trailing.errors import StopRejected
from trailing.testing.faults import Fault, Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable

_REFUSED = {"place_stop", "amend_stop", "cancel_stop", "close_position"}


class FaultSchedule:
    """Draws faults, and knows when it is calm.

    Attributes:
        outage: the number of outages that have begun so far.
        is_out: whether the exchange can't be reached now.
        is_over: from then on nothing goes wrong any more.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._draw = random.Random(f"{scenario.seed} weather")
        self._latency = random.Random(f"{scenario.seed} latency")
        self._disturbed: dict[str | None, float] = {None: 0.0}
        self._explained: dict[str | None, float] = {None: 0.0}
        self.outage: int = 0
        self.is_unreachable: bool = False
        self.is_over: bool = False

    def disturb(self, symbol: str | None = None, *, until: float | None = None, explains: bool = True) -> None:
        """Something happened to a symbol, or (None) to all.

        Args:
            until: when it ends, in seconds of the world; None: now.
            explains: whether it explains that a position stands without a stop.
        """
        at = trio.current_time() if until is None else until
        for times in (self._disturbed, self._explained) if explains else (self._disturbed,):
            times[symbol] = max(at, times.get(symbol, 0.0))

    def undisturbed_seconds(self, symbol: str) -> float:
        """Seconds in which nothing has happened to a symbol; below 0 where something goes on for some time."""
        return 0.0 if self.is_unreachable else _seconds_since(self._disturbed, symbol)

    def unexplained_seconds(self, symbol: str) -> float:
        """Seconds in which nothing has happened that explains that a position of a symbol stands without a stop."""
        return 0.0 if self.is_unreachable else _seconds_since(self._explained, symbol)

    def latency(self, _: str, symbol: str | None) -> float:
        """How long a request takes, there and back."""
        seconds = self._latency.expovariate(1 / self._scenario.latency)
        if not self.is_over and self._latency.random() < self._scenario.spikes:
            self.disturb(symbol)
            return seconds + self._latency.uniform(2, 8)
        return min(seconds, 4 * self._scenario.latency)

    def fault(self, operation: str, symbol: str | None, _: int) -> Fault | None:
        """What strikes a call that is made now."""
        draw, scenario = self._draw.random(), self._scenario
        if self.is_over:
            return None
        if self.is_unreachable:
            return Unreachable() if draw < 0.7 else Hangs()
        fault: Fault | None = None
        if draw < scenario.lost_replies:
            fault = ReplyLost()
        elif draw < scenario.lost_replies + scenario.unreachable:
            fault = Unreachable()
        else:
            draw -= scenario.lost_replies + scenario.unreachable
            if draw < scenario.refusals and operation in _REFUSED:
                fault = Refuses(StopRejected("the venue is in a bad mood"))
            elif scenario.refusals < draw < 2 * scenario.refusals:
                fault = Throttles(2.0)
            elif 2 * scenario.refusals < draw < 3 * scenario.refusals:
                fault = Slow(self._draw.uniform(1, 5))
        if fault is not None:
            self.disturb(symbol)
        return fault

    async def play(self) -> None:
        """Let the outages come and go."""
        for at in self._scenario.outages:
            await trio.sleep_until(at)
            self.disturb()
            self.outage += 1
            self.is_unreachable = True
            await trio.sleep(self._scenario.outage_seconds)
            self.is_unreachable = False
            self.disturb()


def _seconds_since(times: Mapping[str | None, float], symbol: str) -> float:
    return trio.current_time() - max(times[None], times.get(symbol, 0.0))
