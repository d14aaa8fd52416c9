"""The outcomes of positions, the attempt that leads to one, and the list entries of unprotected positions."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from trailing.core.entries import Entry
from trailing.core.model import Fill, Position, Side, StopOrder
from trailing.core.position import PositionState
from trailing.core.refusals import trouble
from trailing.errors import ExchangeError, NothingToReduce
from trailing.protection.position_task import PositionTask
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision

UNTRACKED: Final = "not ours"
"""The id of an open position that took the place of one of ours and was never handed in begins with it."""


def is_untracked(position: Position) -> bool:
    """Return whether a listed position was never handed in."""
    return position.id is not None and position.id.startswith(UNTRACKED)


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The fields of every outcome.

    Args:
        position: as it was handed in. For an entry it is what has come of it: the filled quantity, the average price, the time of
            the first fill by the exchange's clock. If it is not known yet whether anything was filled, it is the whole entry.
        elapsed: seconds from the claim until this outcome was known.
        uncovered: the quantity that no live stop covers: the rest of rounding down to the market's step, or all of it.
        unprotected_time: the unprotected seconds from `Position.opened_at` until a live stop was acknowledged, or else until
            this outcome, by cause.
        entry: as it was handed in to `enter_wave`; None: the position was open already.
        unfilled: the quantity of the entry that was not filled, in base units.
        slippage: how much worse its average price is than its limit, or than the market price before it was sent, in percent;
            below 0: it is better. None: there was no entry, or nothing is known to be filled.
    """

    position: Position
    elapsed: float
    uncovered: Decimal
    unprotected_time: UnprotectedTime
    entry: Entry | None = None
    unfilled: Decimal = Decimal(0)
    slippage: Decimal | None = None

    @property
    def symbol(self) -> str:
        """The symbol of the position."""
        return self.position.symbol

    @property
    def side(self) -> Side:
        """The side of the position."""
        return self.position.side

    @property
    def unprotected_seconds(self) -> float:
        """The unprotected seconds of all causes."""
        return self.unprotected_time.total

    def _in_words(self, what: str) -> str:
        return f"{self.symbol} {self.side}: {what}, after {self.elapsed:.1f} s"


class Protected(_Outcome, frozen=True, kw_only=True):
    """The exchange has acknowledged a live stop."""

    stop: StopOrder

    def __str__(self) -> str:
        return self._in_words(f"protected by a stop at {self.stop.price}")


class AlreadyProtected(_Outcome, frozen=True, kw_only=True):
    """Another call has protected the position: the live stop covers its whole quantity."""

    stop: StopOrder

    def __str__(self) -> str:
        return self._in_words(f"was protected already, by a stop at {self.stop.price}")


class TimedOut(_Outcome, frozen=True, kw_only=True):
    """The deadline passed.

    Args:
        stop: a live stop that the clean-up found and kept by the plan, or None.
        error: the last error, or None: no request has failed.
    """

    stop: StopOrder | None
    error: Exception | None = None

    def __str__(self) -> str:
        return self._in_words(
            "timed out without a stop" if self.stop is None else f"timed out, with a live stop at {self.stop.price}"
        )


class Refused(_Outcome, frozen=True, kw_only=True):
    """The attempt ended without a stop: the exchange, the store or a check refused it, or a bug ended it.

    Args:
        error: the refusal or the bug.
    """

    error: Exception

    def __str__(self) -> str:
        return self._in_words(f"no stop was placed ({self.error})")


class Exited(_Outcome, frozen=True, kw_only=True):
    """The position is closed: at market, reduce-only, or by its stop.

    An opening ends so if the price was already beyond the stop. `Manager.close` returns it, too.

    Args:
        fill: the last fill that closed it.
        reason: why it was closed, in words.
    """

    fill: Fill
    reason: str

    def __str__(self) -> str:
        return self._in_words(f"closed at {self.fill.price} ({self.reason})")


Outcome: TypeAlias = Protected | AlreadyProtected | TimedOut | Refused | Exited


class OpeningTimes(msgspec.Struct, frozen=True):
    """Seconds from the claim to the exchange's acknowledgement, over the acknowledged stops.

    Args:
        count: the number of stops; 0: the other figures are 0, too.
        minimum, mean, maximum: in seconds.
    """

    count: int = 0
    minimum: float = 0.0
    mean: float = 0.0
    maximum: float = 0.0

    @classmethod
    def over(cls, seconds: Sequence[float]) -> OpeningTimes:
        """Return the figures of some times in seconds; all 0 if there are none."""
        if not seconds:
            return cls()
        return cls(len(seconds), min(seconds), sum(seconds) / len(seconds), max(seconds))

    def joined(self, other: OpeningTimes) -> OpeningTimes:
        """Return the figures over both."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        mean = (self.mean * self.count + other.mean * other.count) / count
        return OpeningTimes(count, min(self.minimum, other.minimum), mean, max(self.maximum, other.maximum))


class WaveReport(msgspec.Struct, frozen=True):
    """The outcomes and figures of a wave.

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
        return tuple(outcome for outcome in self.outcomes if stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[Outcome, ...]:
        """The outcomes whose position may be open without a stop."""
        return tuple(
            outcome for outcome in self.outcomes if stop_of(outcome) is None and not isinstance(outcome, Exited)
        )

    @property
    def unprotected_seconds(self) -> float:
        """The unprotected seconds of all positions."""
        return self.unprotected_time.total

    @property
    def unprotected_time(self) -> UnprotectedTime:
        """The unprotected seconds of all positions by cause."""
        return sum((outcome.unprotected_time for outcome in self.outcomes), ALWAYS_PROTECTED)


def stop_of(outcome: object) -> StopOrder | None:
    """Return the live stop of an outcome; None: it has none."""
    match outcome:
        case Protected(stop=stop) | AlreadyProtected(stop=stop) | TimedOut(stop=stop):
            return stop
        case _:
            return None


class Unprotected(msgspec.Struct, frozen=True):
    """A position without a live stop, one that the exchange refuses to reduce, or one whose stop it does not show.

    Args:
        position: as it was handed in, or as the exchange reports an untracked one.
        state: a value of `State`; ``"closed"``: no task works on the position any more.
        error: why it is listed; None: no error is known.
    """

    position: Position
    state: str
    error: Exception | None


class Attempt:
    """The attempt of a wave to protect one position. Its methods return the outcome.

    Attributes:
        task: the task that works on the position or waits for its key; None: there is none.
        standing: our live stop that was found behind the position and becomes its stop; None: there is none.
        acknowledged_after: seconds from the claim to the acknowledgement of the stop; None: no stop was placed.
    """

    def __init__(self, position: Position, supervision: Supervision, standing: StopOrder | None = None) -> None:
        self.position = position
        self.standing = standing
        self.task: PositionTask | None = None
        self.acknowledged_after: float | None = None
        self._supervision, self._started = supervision, supervision.now()

    @property
    def _elapsed(self) -> float:
        return self._supervision.now() - self._started

    @property
    def unclaimed_time(self) -> UnprotectedTime:
        """The seconds from `Position.opened_at` until now, for a position whose claim has measured none."""
        return UnprotectedTime(opening=max(0.0, self._supervision.seconds_since(self.position.opened_at)))

    @property
    def _unprotected_time(self) -> UnprotectedTime:
        if self.task is None:
            return self.unclaimed_time
        return self.task.state.unprotected_time_at(self._supervision.now())

    def opened(self) -> Outcome:
        """Return the outcome of an opening that ended by itself."""
        assert self.task is not None
        state = self.task.state
        if state.is_given_up:
            return self.refused(state.error or ExchangeError("it was given up"))
        if state.stop is not None:
            return self.protected(state.stop)
        if state.last_fill is not None and not state.quantity:
            return self._exited(state)
        return self.refused(state.error or NothingToReduce("there is nothing to protect"))

    def protected(self, stop: StopOrder) -> Protected:
        return Protected(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - stop.quantity,
            unprotected_time=self._unprotected_time,
            stop=stop,
        )

    def already_protected(self, stop: StopOrder, held: PositionTask) -> AlreadyProtected:
        same = held.state.position.identity == self.position.identity
        return AlreadyProtected(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=max(Decimal(0), self.position.quantity - stop.quantity),
            unprotected_time=held.state.unprotected_time if same else self.unclaimed_time,
            stop=stop,
        )

    def _exited(self, state: PositionState) -> Exited:
        assert state.last_fill is not None
        return Exited(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - min(self.position.quantity, state.filled),
            unprotected_time=self._unprotected_time,
            fill=state.last_fill,
            reason=state.exit_reason,
        )

    def refused(self, error: Exception) -> Refused:
        return Refused(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity,
            unprotected_time=self._unprotected_time,
            error=error,
        )

    def cut_short(self) -> TimedOut | Refused:
        """Return the outcome of an opening that the deadline ended. A position that was refused by then counts as refused."""
        late: StopOrder | None = None
        error: Exception | None = None
        if self.task is not None:
            state = self.task.state
            if state.is_given_up and state.error is not None:
                return self.refused(state.error)
            late, error = state.stop, trouble(state)
        return TimedOut(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - (late.quantity if late is not None else Decimal(0)),
            unprotected_time=self._unprotected_time,
            stop=late,
            error=error,
        )
