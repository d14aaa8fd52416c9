"""For how long a position stood bare, without a live stop, and why."""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from trailing.errors import AuthenticationFailed, StopRejected, UsageError

Cause: TypeAlias = Literal["opening", "move", "outage", "refused", "cancelled"]
"""Why a position stands bare; see `Exposure`."""

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """Bare seconds by cause, each at least 0.

    A position is bare while the exchange has acknowledged no live stop of it, as far as is known: a stop that is placed
    counts from its acknowledgement on, one that we cancel until the exchange says that it is gone, and a position counts
    as open until it is known to be flat. The cause may change while it is bare; the time before counts for the earlier
    one.

    Args:
        opening: from `Position.opened_at` on, until its first stop is acknowledged or something of the below is in the
            way. What comes before the manager is told of it is in here, and so is the wait for a turn within a rate
            limit, as long as the request is not turned away.
        move: from one of its stops to the next: inside a move where the market allows one stop only, which cancels
            first; and where a stop was filled and a rest is left.
        outage: the exchange was not reached, did not answer in time or did not let the request pass yet
            (`RateLimited`), or the store did not take what has to be written first; the process not running is one too,
            from the last record of the position on.
        refused: the exchange said no, or our own checks did (`StopRejected`, `AuthenticationFailed`, `UsageError`).
        cancelled: the stop is gone, and neither a fill nor we took it: somebody's hand, another program, the exchange
            itself. It is apart from `refused` because the remedy is: find who does it.
    """

    opening: float = 0.0
    move: float = 0.0
    outage: float = 0.0
    refused: float = 0.0
    cancelled: float = 0.0

    def __post_init__(self) -> None:
        # Without a loop, for every position that is opened builds some of these.
        if not (
            0 <= self.opening < math.inf
            and 0 <= self.move < math.inf
            and 0 <= self.outage < math.inf
            and 0 <= self.refused < math.inf
            and 0 <= self.cancelled < math.inf
        ):
            cause, seconds = next((cause, s) for cause in CAUSES if not 0 <= (s := getattr(self, cause)) < math.inf)
            raise UsageError(f"Exposure.{cause} got {seconds!r}, wants seconds, a finite number of at least 0")

    @property
    def total(self) -> float:
        """All of them."""
        return self.opening + self.move + self.outage + self.refused + self.cancelled

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(
            self.opening + other.opening,
            self.move + other.move,
            self.outage + other.outage,
            self.refused + other.refused,
            self.cancelled + other.cancelled,
        )

    def plus(self, cause: Cause, seconds: float) -> Exposure:
        """These, and so many seconds more of one cause."""
        return msgspec.structs.replace(self, **{cause: getattr(self, cause) + seconds})

    def rounded(self, digits: int) -> Exposure:
        """These, each to so many digits behind the point."""
        return Exposure(*(round(getattr(self, cause), digits) for cause in CAUSES))

    def __str__(self) -> str:
        """The causes that there were: ``"opening 2.000, outage 0.750"``, or ``"none"``."""
        told = [f"{cause} {seconds:.3f}" for cause in CAUSES if (seconds := getattr(self, cause))]
        return ", ".join(told) or "none"


UNEXPOSED: Final = Exposure()


class Bare(msgspec.Struct, frozen=True, gc=False):
    """A time without a live stop that lasts.

    Args:
        since: when it began, in seconds on the running clock, as every time here.
        cause: why it lasts, and `cause_since`: for how long it has been that.
        earlier: its seconds before that.
    """

    since: float
    cause: Cause
    cause_since: float
    earlier: Exposure = UNEXPOSED

    def because(self, cause: Cause, at: float) -> Bare:
        """The same time, with another cause from now on."""
        return self if cause == self.cause else Bare(self.since, cause, at, self.until(at))

    def until(self, at: float) -> Exposure:
        """Its seconds until now."""
        return self.earlier.plus(self.cause, at - self.cause_since)


def cause_of(error: BaseException) -> Cause:
    """Why a position stays bare whose last request failed with this. A cancelled one was not answered in time."""
    return "refused" if isinstance(error, (StopRejected, AuthenticationFailed, UsageError)) else "outage"
