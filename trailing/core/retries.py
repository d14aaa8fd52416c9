"""When a kind of request that failed may be tried again."""

from __future__ import annotations

from typing import Final

import msgspec

from trailing.errors import RateLimited

FIRST: Final = 0.2
"""Seconds until the first retry."""

MOST: Final = 30.0
"""Seconds between two tries at the most."""

MOST_FINDING: Final = 5.0
"""The same between two looks for what became of an order: what is unknown holds everything else up."""

TOLD_AFTER: Final = 4
"""So many failures of one kind in a row raise an alarm: with the waits between them, about 3 s."""


class BackOff(msgspec.Struct, frozen=True, gc=False):
    """A kind of request that failed. `failures`: so many in a row; `until`: not tried again before, on the running clock."""

    failures: int
    until: float


def back_off(
    before: BackOff | None, error: Exception | None, at: float, spread: float, *, most: float = MOST
) -> BackOff:
    """Return the back-off after another failure: doubling, and no shorter than the exchange asks for.

    Args:
        spread: from 0.5 to 1, by which the wait is multiplied, so that many positions don't try at the same moment.
        most: seconds that are waited at the most.
    """
    failures = 0 if before is None else before.failures
    wait = min(most, FIRST * 2.0 ** min(failures, 16)) * spread
    if isinstance(error, RateLimited):
        wait = max(wait, error.retry_after)
    return BackOff(failures + 1, at + wait)
