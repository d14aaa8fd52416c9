"""The alerts that wait for one channel: the newest state of each, within a bound."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import Final, TypeAlias

from trailing.alerts.rules import Alert

MOST_WAITING: Final = 10_000
"""The most alerts that wait for one channel. They take a few megabytes."""

Batch: TypeAlias = tuple[Alert, ...]


class Outbox:
    """Keep the newest state of each alert until a channel has sent it.

    A channel that is slow, fails or hangs loses no newest state. It only skips states that are no longer true. If too many
    alerts wait, the oldest that recovered are dropped first, and counted.

    Args:
        most: the most alerts that wait, above 0.

    Attributes:
        left_out: the number of dropped alerts since the last message was sent.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[tuple[str, str], Alert] = {}
        self.left_out: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, alerts: Iterable[Alert]) -> None:
        """Add alerts. Each replaces the earlier state of its key."""
        for alert in alerts:
            key = alert.account, alert.key
            self._waiting.pop(key, None)  # the new state goes to the end
            self._waiting[key] = alert
        excess = len(self._waiting) - self._most
        if excess > 0:
            recovered = (key for key, alert in self._waiting.items() if not alert.is_firing)
            firing = (key for key, alert in self._waiting.items() if alert.is_firing)
            for key in tuple(islice(chain(recovered, firing), excess)):
                del self._waiting[key]
            self.left_out += excess

    def batch(self) -> Batch:
        """Return all that waits, the oldest first. It stays here until `note_sent`."""
        return tuple(self._waiting.values())

    def note_sent(self, batch: Batch) -> None:
        """Remove the alerts of a batch, except those whose state is newer by now."""
        for alert in batch:
            key = alert.account, alert.key
            if self._waiting.get(key) is alert:
                del self._waiting[key]
        self.left_out = 0
