"""What became of the positions of a wave."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeAlias

import msgspec

from trailing.core.model import Fill, Position, StopOrder
from trailing.exposure import UNEXPOSED, Exposure


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What every outcome tells.

    Args:
        position: as it was handed in.
        elapsed: seconds from the claim until this outcome was known.
        uncovered: the quantity that the live stop does not cover: what rounding down to the step left bare, or all.
        exposure_by: the bare seconds from `Position.opened_at` until a live stop stood behind it, or else until this
            outcome, by cause.
    """

    position: Position
    elapsed: float
    uncovered: Decimal
    exposure_by: Exposure

    @property
    def exposure(self) -> float:
        """These bare seconds, whatever the cause."""
        return self.exposure_by.total


class Protected(_Outcome, frozen=True, kw_only=True):
    """The exchange has acknowledged a live stop."""

    stop: StopOrder


class AlreadyProtected(_Outcome, frozen=True, kw_only=True):
    """Somebody else's call had protected it: the live stop covers the position's whole quantity."""

    stop: StopOrder


class TimedOut(_Outcome, frozen=True, kw_only=True):
    """The deadline struck. `stop` is one that was found live, as planned, while cleaning up, or None."""

    stop: StopOrder | None


class Refused(_Outcome, frozen=True, kw_only=True):
    """It ended without a stop before the deadline, whoever said no: the exchange, the store, our checks, a bug."""

    error: Exception


class Exited(_Outcome, frozen=True, kw_only=True):
    """The price was already beyond the stop, so the position was closed, reduce-only."""

    fill: Fill


Outcome: TypeAlias = Protected | AlreadyProtected | TimedOut | Refused | Exited


class OpeningTimes(msgspec.Struct, frozen=True):
    """Seconds from the claim to the exchange's acknowledgement, over the stops that were acknowledged."""

    count: int = 0
    minimum: float = 0.0
    mean: float = 0.0
    maximum: float = 0.0

    @classmethod
    def over(cls, seconds: Sequence[float]) -> OpeningTimes:
        """These figures of some times; all 0 where there are none."""
        if not seconds:
            return cls()
        return cls(len(seconds), min(seconds), sum(seconds) / len(seconds), max(seconds))

    def joined(self, other: OpeningTimes) -> OpeningTimes:
        """These figures over both."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        mean = (self.mean * self.count + other.mean * other.count) / count
        return OpeningTimes(count, min(self.minimum, other.minimum), mean, max(self.maximum, other.maximum))


class WaveReport(msgspec.Struct, frozen=True):
    """What became of a wave.

    Args:
        outcomes: in the order of the positions.
        elapsed: seconds from the wave's start to its end, clean-up included.
        opening_times: of the stops that this wave placed.
    """

    outcomes: tuple[Outcome, ...]
    elapsed: float
    opening_times: OpeningTimes

    @property
    def protected(self) -> tuple[Outcome, ...]:
        """The outcomes with a live stop, a late one included."""
        return tuple(outcome for outcome in self.outcomes if _stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[Outcome, ...]:
        """The outcomes whose position may be open without a stop."""
        return tuple(
            outcome for outcome in self.outcomes if _stop_of(outcome) is None and not isinstance(outcome, Exited)
        )

    @property
    def exposure(self) -> float:
        """The bare seconds of all positions together."""
        return self.exposure_by.total

    @property
    def exposure_by(self) -> Exposure:
        """The same by cause."""
        return sum((outcome.exposure_by for outcome in self.outcomes), UNEXPOSED)


def _stop_of(outcome: Outcome) -> StopOrder | None:
    match outcome:
        case Protected(stop=stop) | AlreadyProtected(stop=stop) | TimedOut(stop=stop):
            return stop
        case _:
            return None
