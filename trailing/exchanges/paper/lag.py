"""What a read shows: the state of some seconds ago."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LaggedView(Generic[Key, Value]):
    """A mapping whose changes become visible only after a while.

    Args:
        lag: seconds from a change until it is visible, at least 0.
    """

    def __init__(self, lag: float) -> None:
        self._lag = lag
        self._visible: dict[Key, Value] = {}
        self._coming: deque[tuple[float, Key, Value | None]] = deque()

    def change(self, key: Key, value: Value | None, at: float) -> None:
        """Set a value, or with None take it out, as of a time that is not before the last one."""
        self._coming.append((at, key, value))
        self.at(at)

    def at(self, now: float) -> dict[Key, Value]:
        """What is visible at a time; belongs to the view and holds until its next call."""
        while self._coming and self._coming[0][0] + self._lag <= now:
            _, key, value = self._coming.popleft()
            if value is None:
                self._visible.pop(key, None)
            else:
                self._visible[key] = value
        return self._visible
