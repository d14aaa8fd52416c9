"""The back-off of a failed kind of request."""

from __future__ import annotations

from typing import Final

import msgspec

from trailing.errors import RateLimited, StopRejected

FIRST: Final = 0.2
"""Seconds until the first retry."""

MOST: Final = 30.0
"""Most seconds between two tries."""

MOST_FINDING: Final = 5.0
"""The same between two look-ups of an order of unknown outcome, because other requests wait for it, and between two
reads of the account."""

TOLD_AFTER: Final = 4
"""Consecutive failures of one kind after which an alarm is raised, or a look-up counts as impossible. The waits between
them are at most 1.4 s in all, unless the exchange asks for more."""


class BackOff(msgspec.Struct, frozen=True, gc=False):
    """The back-off of one kind of request.

    Args:
        failures: the number of consecutive failures.
        until: when it may be tried again, in seconds on the running clock.
        is_refusal: whether the exchange refused the last request for its figures.
    """

    failures: int
    until: float
    is_refusal: bool = False


def back_off(
    before: BackOff | None, error: Exception | None, at: float, spread: float, *, most: float = MOST
) -> BackOff:
    """Return the back-off after another failure.

    The wait doubles with each failure, and is at least as long as the exchange asks for.

    Args:
        before: the back-off so far; None: there was no failure.
        error: the failure.
        at: now, in seconds on the running clock.
        spread: from 0.5 to 1, by which the wait is multiplied, so that many positions don't try at the same moment.
        most: the most seconds to wait, unless the exchange asks for more.
    """
    failures = 0 if before is None else before.failures
    wait = min(most, FIRST * 2.0 ** min(failures, 16)) * spread
    if isinstance(error, RateLimited):
        wait = max(wait, error.retry_after)
    return BackOff(failures + 1, at + wait, isinstance(error, StopRejected))
