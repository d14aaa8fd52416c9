"""The seconds for which a position had no live stop, by cause."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from trailing.errors import AuthenticationFailed, StopRejected, UsageError

Cause: TypeAlias = Literal["opening", "move", "outage", "refused", "cancelled"]
"""Why a position has no live stop; see `UnprotectedTime`."""

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class UnprotectedTime(msgspec.Struct, frozen=True, gc=False):
    """Unprotected seconds by cause, each at least 0.

    A position is unprotected while it is open and the exchange has acknowledged no live stop for it. A new stop counts
    from its acknowledgement. A stop that trailing cancels counts until the exchange confirms the cancel. A position
    counts as open until fills have closed all of it or it is confirmed flat. If the cause changes meanwhile, the time
    before counts for the earlier cause.

    Args:
        opening: from `Position.opened_at` until the first stop is acknowledged or another cause applies. It includes
            the time before the position was handed in, and the wait for the rate limit unless the request is refused.
        move: between two stops of its own. A move cancels the old stop first if the exchange takes no second one. The
            time after a filled stop left a part of the position open counts here, too.
        outage: the exchange could not be reached, did not answer in time, or deferred the request (`RateLimited`). Or
            the store did not commit an entry that must be stored first. Or no process ran, counted from the position's
            last record.
        refused: the exchange, or a check of the library, refused the stop (`StopRejected`, `AuthenticationFailed`,
            `UsageError`).
        cancelled: the stop disappeared without a fill, and trailing did not cancel it. A person, another program or the
            exchange did. It is counted apart from `refused` because the remedy differs: find out who cancels.
    """

    opening: float = 0.0
    move: float = 0.0
    outage: float = 0.0
    refused: float = 0.0
    cancelled: float = 0.0

    def __post_init__(self) -> None:
        # Without a loop, because every position that is opened builds some of these.
        if not (
            0 <= self.opening < math.inf
            and 0 <= self.move < math.inf
            and 0 <= self.outage < math.inf
            and 0 <= self.refused < math.inf
            and 0 <= self.cancelled < math.inf
        ):
            cause, seconds = next((cause, s) for cause in CAUSES if not 0 <= (s := getattr(self, cause)) < math.inf)
            raise UsageError(f"UnprotectedTime.{cause} got {seconds!r}, wants seconds, a finite number of at least 0")

    @property
    def total(self) -> float:
        """Return the sum of all causes."""
        return self.opening + self.move + self.outage + self.refused + self.cancelled

    def __add__(self, other: UnprotectedTime) -> UnprotectedTime:
        return UnprotectedTime(
            self.opening + other.opening,
            self.move + other.move,
            self.outage + other.outage,
            self.refused + other.refused,
            self.cancelled + other.cancelled,
        )

    def plus(self, cause: Cause, seconds: float) -> UnprotectedTime:
        """Return these seconds and some more of one cause."""
        return msgspec.structs.replace(self, **{cause: getattr(self, cause) + seconds})

    def rounded(self, digits: int) -> UnprotectedTime:
        """Return these seconds, each rounded to so many decimal places."""
        return UnprotectedTime(*(round(getattr(self, cause), digits) for cause in CAUSES))

    def __str__(self) -> str:
        """List the causes above 0: ``"opening 2.000, outage 0.750"``, or ``"none"``."""
        causes = [f"{cause} {seconds:.3f}" for cause in CAUSES if (seconds := getattr(self, cause))]
        return ", ".join(causes) or "none"


ALWAYS_PROTECTED: Final = UnprotectedTime()


class UnprotectedSpan(msgspec.Struct, frozen=True, gc=False):
    """A span without a live stop that has not ended yet.

    Its times are seconds on the running clock.

    Args:
        since: when the span began.
        cause: the present cause; `cause_since`: when the present cause began.
        earlier: its seconds of earlier causes.
    """

    since: float
    cause: Cause
    cause_since: float
    earlier: UnprotectedTime = ALWAYS_PROTECTED

    def because(self, cause: Cause, at: float) -> UnprotectedSpan:
        """Return the same span with another cause from now on."""
        return self if cause == self.cause else UnprotectedSpan(self.since, cause, at, self.until(at))

    def until(self, at: float) -> UnprotectedTime:
        """Return its seconds until now."""
        return self.earlier.plus(self.cause, at - self.cause_since)


def cause_of(error: BaseException) -> Cause:
    """Return the cause that a request's error stands for.

    A cancelled request counts as not answered in time.
    """
    return "refused" if isinstance(error, (StopRejected, AuthenticationFailed, UsageError)) else "outage"


class UnprotectedStretch(msgspec.Struct, frozen=True, gc=False):
    """A time in which an open position had no live stop.

    Args:
        symbol, side: of the position.
        since, until: aware UTC.
    """

    symbol: str
    side: Literal["long", "short"]
    since: datetime
    until: datetime
