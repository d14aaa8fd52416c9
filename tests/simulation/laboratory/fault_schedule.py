"""The faults between a process and its exchange: failing calls, outages, silent connections."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import trio

from simulation.laboratory.scenario import Scenario
from trailing.errors import EntryRejected, StopRejected
from trailing.stores.port import AddIntent, CloseStop, SaveStop, StoreWrite
from trailing.testing.faults import Fault, Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable

_REFUSED = {"place_stop", "amend_stop", "cancel_stop", "close_position"}
_REFUSED_ENTRY = {"place_entry", "cancel_entry"}
ENTRY_OPERATIONS = frozenset({"place_entry", "cancel_entry", "find_entry"})
"""The operations of entries, which have faults of their own."""


class FaultSchedule:
    """Draw the faults of ordinary worlds, and measure the time since the last disturbance.

    Attributes:
        outage: the number of outages that have begun so far.
        is_unreachable: whether the exchange can't be reached now.
        is_over: whether the calm time has begun, in which no fault occurs.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._draw = random.Random(f"{scenario.seed} weather")  # another text would draw other worlds
        self._entry_draw = random.Random(f"{scenario.seed} entry faults")
        self._latency = random.Random(f"{scenario.seed} latency")
        self._disturbed: dict[str | None, float] = {None: 0.0}
        self._explained: dict[str | None, float] = {None: 0.0}
        self.outage: int = 0
        self.is_unreachable: bool = False
        self.is_over: bool = False

    def disturb(self, symbol: str | None = None, *, until: float | None = None, explains: bool = True) -> None:
        """Note a disturbance of a symbol, or (None) of all symbols.

        Args:
            until: the end of the disturbance, in seconds of the world; None: now.
            explains: whether the disturbance explains an unprotected position.
        """
        at = trio.current_time() if until is None else until
        for times in (self._disturbed, self._explained) if explains else (self._disturbed,):
            times[symbol] = max(at, times.get(symbol, 0.0))

    def undisturbed_seconds(self, symbol: str) -> float:
        """Return the seconds since the last disturbance of a symbol; below 0 while one lasts."""
        return 0.0 if self.is_unreachable else _seconds_since(self._disturbed, symbol)

    def unexplained_seconds(self, symbol: str) -> float:
        """Return the seconds since the last disturbance that explains an unprotected position of a symbol."""
        return 0.0 if self.is_unreachable else _seconds_since(self._explained, symbol)

    def latency(self, _: str, symbol: str | None) -> float:
        """Return the seconds that a request takes, there and back."""
        seconds = self._latency.expovariate(1 / self._scenario.latency)
        if not self.is_over and self._latency.random() < self._scenario.spikes:
            self.disturb(symbol)
            return seconds + self._latency.uniform(2, 8)
        return min(seconds, 4 * self._scenario.latency)

    def fault(self, operation: str, symbol: str | None, _: int) -> Fault | None:
        """Return the fault of a call that is made now, or None."""
        if operation in ENTRY_OPERATIONS:
            return self._entry_fault(operation, symbol)
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
                fault = Refuses(StopRejected("refused by the simulation"))
            elif scenario.refusals < draw < 2 * scenario.refusals:
                fault = Throttles(2.0)
            elif 2 * scenario.refusals < draw < 3 * scenario.refusals:
                fault = Slow(self._draw.uniform(1, 5))
        if fault is not None:
            self.disturb(symbol)
        return fault

    def _entry_fault(self, operation: str, symbol: str | None) -> Fault | None:
        """Return the fault of a request for an entry, or None. These faults are more frequent, because entries are few."""
        draw, rates = self._entry_draw, self._scenario.entries
        drawn = draw.random()
        if self.is_over:
            return None
        if self.is_unreachable:
            return Unreachable() if drawn < 0.7 else Hangs(booked=drawn > 0.9)
        kinds: tuple[tuple[float, Fault], ...] = (
            (rates.lost_replies, ReplyLost()),
            (rates.hangs, Hangs(booked=draw.random() < 0.5)),
            (rates.unreachable, Unreachable()),
            (rates.throttles, Throttles(draw.uniform(1, 10))),
            (rates.slow, Slow(draw.uniform(1, 5))),
            (
                rates.refusals if operation in _REFUSED_ENTRY else 0.0,
                Refuses(EntryRejected("refused by the simulation")),
            ),
        )
        for rate, fault in kinds:
            if drawn < rate:
                self.disturb(symbol)
                return fault
            drawn -= rate
        return None

    def store_fails(self, entries: Sequence[StoreWrite]) -> bool:
        """Return whether a commit fails. It fails only with records of entries.

        It never fails with the intent of a stop or of an exit, because such an order is placed all the same, and not with
        the record of a position that has ended, because that is not saved again.
        """
        rate = self._scenario.entries.store_failures
        others = [
            one
            for one in entries
            if isinstance(one, CloseStop) or (isinstance(one, AddIntent) and one.intent.purpose != "entry")
        ]
        of_entry = [one for one in entries if isinstance(one, SaveStop) and one.record.entry is not None]
        if not rate or self.is_over or others or not of_entry or self._entry_draw.random() >= rate:
            return False
        for one in of_entry:
            self.disturb(one.record.position.symbol)
        return True

    async def play(self) -> None:
        """Begin and end the outages at their times."""
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
