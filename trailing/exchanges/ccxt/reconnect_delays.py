"""Delays between attempts to reconnect a lost websocket."""

from __future__ import annotations

import random
from collections.abc import Iterator


def reconnect_delays() -> Iterator[float]:
    """Yield the seconds to wait before each attempt to reconnect.

    The bound of the first delay is 0.2 s. It doubles with each attempt, up to 30 s. Each delay is drawn evenly between 0
    and its bound, so that several clients do not reconnect at the same moment.
    """
    longest = 0.2
    while True:
        yield random.uniform(0, longest)
        longest = min(30.0, 2 * longest)
