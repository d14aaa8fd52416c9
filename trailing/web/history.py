"""Keep the recent prices, stops and unprotected stretches of each position, for its chart. The memory is bounded."""

from __future__ import annotations

from array import array
from collections import deque
from decimal import Decimal
from typing import Any, Final

MOST_PRICES: Final = 720
"""The most prices of one position. When there are more, every second one is dropped, and fewer are taken from then on."""

LEAST_GAP: Final = 0.9
"""The least seconds between two prices of one position."""

MOST_STOPS: Final = 500
MOST_STRETCHES: Final = 200
"""The most stops and unprotected stretches of one position. The oldest are dropped."""


class History:
    """What the chart of one position shows. All times are seconds since 1970, UTC.

    Args:
        entry: the entry price.
    """

    def __init__(self, entry: str) -> None:
        self.entry: str = entry
        self._times, self._prices = array("d"), array("d")
        self._next_at, self._least_gap = 0.0, LEAST_GAP
        self._stops: deque[tuple[float, float | None]] = deque(maxlen=MOST_STOPS)
        self._stretches: deque[tuple[float, float]] = deque(maxlen=MOST_STRETCHES)
        self._unprotected_since: float | None = None

    def add_price(self, at: float, price: Decimal | float) -> None:
        """Add a price, unless the last one is too near in time."""
        if at < self._next_at:
            return
        self._next_at = at + self._least_gap
        times, prices = self._times, self._prices
        times.append(at)
        prices.append(float(price))
        if len(times) > MOST_PRICES:
            self._times, self._prices = times[::2], prices[::2]
            self._least_gap = 1.5 * (times[-1] - times[0]) / MOST_PRICES

    def set_stop(self, at: float, price: float | None) -> None:
        """Note the stop from now on. None: no stop is live."""
        if not self._stops or self._stops[-1][1] != price:
            self._stops.append((at, price))

    def set_unprotected(self, at: float, since: float | None) -> None:
        """Note since when the position has been unprotected, or (None) that it is protected."""
        if since is None and self._unprotected_since is not None:
            self._stretches.append((self._unprotected_since, at))
        self._unprotected_since = since

    def add_stretch(self, since: float, until: float) -> None:
        """Add an unprotected stretch that has ended, as of a move that cancels the old stop first."""
        self._stretches.append((since, until))

    def as_json(self) -> dict[str, Any]:
        """Return what the chart shows."""
        running = () if self._unprotected_since is None else ((self._unprotected_since, None),)
        return {
            "entry": self.entry,
            "times": self._times.tolist(),
            "prices": self._prices.tolist(),
            "stops": list(self._stops),
            "unprotected": [*self._stretches, *running],
        }
