"""One position on its way through a wave, and the outcome that it comes to."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.model import Position, StopOrder
from trailing.core.position import PositionState
from trailing.errors import ExchangeError, NothingToReduce
from trailing.exposure import Exposure
from trailing.protection.outcomes import AlreadyProtected, Exited, Outcome, Protected, Refused, TimedOut
from trailing.protection.position_task import PositionTask
from trailing.protection.supervision import Supervision


class Attempt:
    """One position on its way through a wave, and the outcome that it comes to.

    Attributes:
        task: the one that works on it, or waits for its key; None: there is none.
        acknowledged_after: seconds from the claim to the acknowledgement of the stop; None: none was placed.
    """

    def __init__(self, position: Position, supervision: Supervision) -> None:
        self.position = position
        self.task: PositionTask | None = None
        self.acknowledged_after: float | None = None
        self._supervision, self._started = supervision, supervision.now()

    @property
    def _elapsed(self) -> float:
        return self._supervision.now() - self._started

    @property
    def unclaimed_exposure(self) -> Exposure:
        """Its unprotected seconds until now, where no claim has measured them."""
        return Exposure(opening=max(0.0, self._supervision.seconds_since(self.position.opened_at)))

    @property
    def _exposure(self) -> Exposure:
        if self.task is None:
            return self.unclaimed_exposure
        return self.task.state.exposure_at(self._supervision.now())

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
            exposure_by=self._exposure,
            stop=stop,
        )

    def already_protected(self, stop: StopOrder, held: PositionTask) -> AlreadyProtected:
        same = held.state.position.identity == self.position.identity
        return AlreadyProtected(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=max(Decimal(0), self.position.quantity - stop.quantity),
            exposure_by=held.state.exposure if same else self.unclaimed_exposure,
            stop=stop,
        )

    def _exited(self, state: PositionState) -> Exited:
        assert state.last_fill is not None
        return Exited(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - min(self.position.quantity, state.filled),
            exposure_by=self._exposure,
            fill=state.last_fill,
        )

    def refused(self, error: Exception) -> Refused:
        return Refused(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity,
            exposure_by=self._exposure,
            error=error,
        )

    def cut_short(self) -> TimedOut | Refused:
        """Return the outcome of an opening that the deadline ended. A position that was refused by then counts as refused."""
        late: StopOrder | None = None
        if self.task is not None:
            state = self.task.state
            if state.is_given_up and state.error is not None:
                return self.refused(state.error)
            late = state.stop
        return TimedOut(
            position=self.position,
            elapsed=self._elapsed,
            uncovered=self.position.quantity - (late.quantity if late is not None else Decimal(0)),
            exposure_by=self._exposure,
            stop=late,
        )
