"""How long to wait before a lost connection is dialled again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoffs() -> Iterator[float]:
    """Seconds to wait before one dialling after another: at once, then twice as long each time, up to 30; with jitter."""
    longest = 0.2
    while True:
        yield random.uniform(0, longest)
        longest = min(30.0, 2 * longest)
