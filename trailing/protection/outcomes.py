"""The outcomes of the positions of a wave, and the attempt of one position that leads to an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from trailing.core.model import Fill, Position, Side, StopOrder
from trailing.core.position import PositionState
from trailing.core.refusals import trouble
from trailing.errors import ExchangeError, NothingToReduce, UsageError
from trailing.protection.position_task import PositionTask
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The fields of every outcome.

    Args:
        position: as it was handed in.
        elapsed: seconds from the claim until this outcome was known.
        uncovered: the quantity that no live stop covers: the rest of rounding down to the market's step, or all of it.
        unprotected_time: the unprotected seconds from `Position.opened_at` until a live stop was acknowledged, or else until
            this outcome, by cause.
    """

    position: Position
    elapsed: float
    uncovered: Decimal
    unprotected_time: UnprotectedTime

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
    """The position got no stop, and the attempt ended before the deadline: the exchange, the store or a check refused it, or a bug did."""

    error: Exception

    def __str__(self) -> str:
        return self._in_words(f"no stop was placed ({self.error})")


class Exited(_Outcome, frozen=True, kw_only=True):
    """The price was already beyond the stop, so the position was closed, reduce-only."""

    fill: Fill

    def __str__(self) -> str:
        return self._in_words(f"the price was beyond the stop, so it was closed at {self.fill.price}")


Outcome: TypeAlias = Protected | AlreadyProtected | TimedOut | Refused | Exited


class NotAdopted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No such position was found, so nothing was sent, and the position is in no list of the manager.

    Args:
        symbol, side: of the position.
        elapsed: seconds from the call until this outcome was known.
        error: a `UsageError` if two answers of the exchange do not list the position; otherwise the reason why it could not be
            read before the deadline.
    """

    symbol: str
    side: Side
    elapsed: float
    error: Exception

    def __str__(self) -> str:
        return f"{self.symbol} {self.side}: not adopted ({self.error}), after {self.elapsed:.1f} s"


class WouldAdopt(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What an adoption would do now, from a dry run. Nothing was sent.

    Args:
        position: as the exchange reports it.
        stop_price: where its stop would be: the first stop, or the adopted one if that is tighter.
        price: the exchange's own price of the plan's trigger source.
        on_would_trigger: the plan's policy, which would apply at once because the price is already at or beyond the stop;
            ``"exit"`` closes the position at market. None: the price is not there.
        adopted: a live stop of ours that would become the position's; None: there is none.
        foreign: the live stops behind it that are not ours, and that would stay as they are.
    """

    position: Position
    stop_price: Decimal
    price: Decimal
    on_would_trigger: Literal["exit", "keep"] | None
    adopted: StopOrder | None
    foreign: tuple[StopOrder, ...]

    @property
    def symbol(self) -> str:
        """The symbol of the position."""
        return self.position.symbol

    @property
    def side(self) -> Side:
        """The side of the position."""
        return self.position.side

    def __str__(self) -> str:
        ours, words = self.adopted, []
        if ours is not None:
            words.append(f"our stop at {ours.price} would be adopted")
        if self.on_would_trigger is not None:
            kept = "left without a stop" if ours is None else "left with it"
            end = "closed at market at once" if self.on_would_trigger == "exit" else kept
            words.append(
                f"the price {self.price} is already beyond the stop at {self.stop_price}, so the position would be {end}"
            )
        elif ours is None:
            words.append(f"a stop would be placed at {self.stop_price}")
        elif ours.price != self.stop_price:
            words.append(f"it would be moved to {self.stop_price}")
        if self.foreign:
            prices = ", ".join(str(order.price) for order in self.foreign)
            words.append(f"foreign stops would stay as they are: {prices}")
        return f"{self.symbol} {self.side}: {'; '.join(words)}"


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
        return tuple(outcome for outcome in self.outcomes if _stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[Outcome, ...]:
        """The outcomes whose position may be open without a stop."""
        return tuple(
            outcome for outcome in self.outcomes if _stop_of(outcome) is None and not isinstance(outcome, Exited)
        )

    @property
    def unprotected_seconds(self) -> float:
        """The unprotected seconds of all positions."""
        return self.unprotected_time.total

    @property
    def unprotected_time(self) -> UnprotectedTime:
        """The same by cause."""
        return sum((outcome.unprotected_time for outcome in self.outcomes), ALWAYS_PROTECTED)


class AdoptionReport(msgspec.Struct, frozen=True):
    """The outcomes and figures of an adoption.

    Args:
        outcomes: in the order of the positions that were named, or else in the order of the exchange's list. A dry run gives
            `WouldAdopt` for each position that would be adopted, and otherwise the outcome that the adoption would have.
        elapsed: seconds from the call to its end, clean-up included.
        opening_times: of the stops that it placed.
        is_complete: whether every entry of the account's lists could be read. Otherwise a position may be missing, or a stop
            of a `WouldAdopt`.
    """

    outcomes: tuple[Outcome | NotAdopted | WouldAdopt, ...]
    elapsed: float
    opening_times: OpeningTimes
    is_complete: bool

    @property
    def protected(self) -> tuple[Outcome | NotAdopted | WouldAdopt, ...]:
        """The outcomes with a live stop, a late one included."""
        return tuple(outcome for outcome in self.outcomes if _stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[Outcome | NotAdopted | WouldAdopt, ...]:
        """The outcomes whose position may be open without a stop of ours."""
        return tuple(
            outcome
            for outcome in self.outcomes
            if _stop_of(outcome) is None
            and not isinstance(outcome, Exited)
            and not (isinstance(outcome, NotAdopted) and isinstance(outcome.error, UsageError))
        )


def _stop_of(outcome: Outcome | NotAdopted | WouldAdopt) -> StopOrder | None:
    match outcome:
        case Protected(stop=stop) | AlreadyProtected(stop=stop) | TimedOut(stop=stop) | WouldAdopt(adopted=stop):
            return stop
        case _:
            return None


class Attempt:
    """One position on its way through a wave, and the outcome that it comes to.

    Attributes:
        task: the one that works on it, or waits for its key; None: there is none.
        standing: a stop of ours that was found live behind it, and that becomes its stop; or None.
        acknowledged_after: seconds from the claim to the acknowledgement of the stop; None: none was placed.
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
        """Its unprotected seconds until now, where no claim has measured them."""
        return UnprotectedTime(opening=max(0.0, self._supervision.seconds_since(self.position.opened_at)))

    @property
    def _unprotected_time(self) -> UnprotectedTime:
        if self.task is None:
            return self.unclaimed_time
        return self.task.state.unprotected_time_at(self._supervision.now())

    def opened(self) -> Outcome:
        """What an opening came to that ended by itself."""
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
