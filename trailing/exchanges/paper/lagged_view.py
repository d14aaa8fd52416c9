"""A mapping that shows its changes late, as the reads of an exchange do."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LaggedView(Generic[Key, Value]):
    """A mapping whose changes become visible after a lag.

    Args:
        lag: seconds from a change until it is visible, at least 0.
    """

    def __init__(self, lag: float) -> None:
        self._lag = lag
        self._visible: dict[Key, Value] = {}
        self._coming: deque[tuple[float, Key, Value | None]] = deque()

    def change(self, key: Key, value: Value | None, at: float) -> None:
        """Set a value, or remove it with None. `at` is in seconds on the running clock, and never decreases."""
        self._coming.append((at, key, value))
        self.at(at)

    def at(self, now: float) -> dict[Key, Value]:
        """Return the visible mapping at a time. It belongs to the view, and is valid until the next call."""
        while self._coming and self._coming[0][0] + self._lag <= now:
            _, key, value = self._coming.popleft()
            if value is None:
                self._visible.pop(key, None)
            else:
                self._visible[key] = value
        return self._visible
