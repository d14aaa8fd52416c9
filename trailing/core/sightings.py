"""What was seen once and has to be seen again before it is believed, and which alarms were raised already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import msgspec

What: TypeAlias = tuple[str, ...]
"""What was seen: a word for the kind of thing, and which one."""

SECOND_LOOK = 0.25
"""Seconds between two readings at the least: two that a venue answers from one state would be one sighting."""


class Memory(msgspec.Struct, frozen=True):
    """What one reading leaves for the next.

    Args:
        seen: when each thing that isn't believed yet was seen first, on the running clock.
        raised: the alarms whose reason lasts; they are not raised again.
        again_at: when another reading could decide something, on the running clock; None: nothing is undecided.
    """

    seen: Mapping[What, float] = MappingProxyType({})
    raised: frozenset[What] = frozenset()
    again_at: float | None = None


class Sightings:
    """The sightings of one reading, on top of those before it.

    Args:
        asked_at, answered_at: of the reading.
        read_lag: the second sighting has to be asked for so many seconds after the first one was answered.
    """

    def __init__(self, before: Memory, asked_at: float, answered_at: float, read_lag: float) -> None:
        self._before, self._asked_at, self._answered_at, self._read_lag = before, asked_at, answered_at, read_lag
        self._seen: dict[What, float] = {}
        self._raised: set[What] = set()
        self._again_at = math.inf

    def is_proved(
        self, *what: str, unchanged_since: float = -math.inf, sure_from: float = -math.inf, apart: float = SECOND_LOOK
    ) -> bool:
        """Note that something is seen so. Whether it is proved by that, since it was seen so before.

        Args:
            unchanged_since: an earlier sighting than this counts for nothing.
            sure_from: so does a reading that was asked for before this.
            apart: so does one that was asked for less than so many seconds after the first one was answered.
        """
        first = self._before.seen.get(what, self._answered_at)
        if first < unchanged_since:
            first = self._answered_at
        self._seen[what] = first
        second = max(first + max(self._read_lag, apart), sure_from)
        if self._asked_at >= second:
            return True
        self.ask_again(second)
        return False

    def ask_again(self, at: float) -> None:
        """Note that a reading could decide something from this time on, on the running clock."""
        self._again_at = min(self._again_at, at)

    def is_new_alarm(self, *what: str) -> bool:
        """Note that there is reason for an alarm. Whether it was not raised yet."""
        self._raised.add(what)
        return what not in self._before.raised

    def memory(self) -> Memory:
        """What is left for the next reading."""
        return Memory(
            MappingProxyType(self._seen),
            frozenset(self._raised),
            None if self._again_at == math.inf else self._again_at,
        )
