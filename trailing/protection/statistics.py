"""The figures of all that a manager has done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from trailing.core.position import PositionState
from trailing.protection.waves.entry_outcomes import EntryReport, NotEntered
from trailing.protection.waves.outcomes import Exited, OpeningTimes, Protected, TimedOut, WaveReport
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

if TYPE_CHECKING:
    from trailing.protection.waves.adoption import AdoptionReport


class Slippage(msgspec.Struct, frozen=True):
    """How much worse than their reference price entries were filled, in percent, as in `EntryEnded`.

    Args:
        count: the number of entries; 0: the other figures are 0, too.
        mean, maximum: in percent; below 0: better than the reference.
    """

    count: int = 0
    mean: Decimal = Decimal(0)
    maximum: Decimal = Decimal(0)

    def plus(self, worse: Decimal) -> Slippage:
        """Return the figures with another entry."""
        count = self.count + 1
        mean = (self.mean * self.count + worse) / count
        return Slippage(count, mean, worse if not self.count else max(self.maximum, worse))


class Statistics(msgspec.Struct, frozen=True):
    """A snapshot of a manager's figures.

    Args:
        waves: calls of `protect_wave`, `protect`, `adopt`, `enter_wave` and `enter` that came to outcomes.
        outcomes: the number of outcomes of each kind, by the name of the kind.
        opening_times: seconds from claim to acknowledgement, over the stops that waves placed.
        not_entered: the number of entries of which nothing was filled, by the reason in `NotEntered`.
        slippage: over the entries that were filled.
        protected: claimed positions with a live stop now.
        unprotected: positions in `Manager.unprotected` now.
        moves: acknowledged moves.
        closed: positions that ended flat. Released and abandoned positions are not counted.
        unprotected_time: the unprotected seconds of all ended and claimed positions by cause. For resumed positions it includes
            the seconds before the restart.
        since_confirmed: seconds since the exchange last confirmed anything; None: never.
        ticks: ticks that the feed took.
        foreign_ticks: ticks that a position ignored because they are of another source than its plan's.
        commits: commits of the journal.
        dropped: events that were not stored, and events that a subscriber's full channel did not take.
    """

    waves: int
    outcomes: dict[str, int]
    opening_times: OpeningTimes
    not_entered: dict[str, int]
    slippage: Slippage
    protected: int
    unprotected: int
    moves: int
    closed: int
    unprotected_time: UnprotectedTime
    since_confirmed: float | None
    ticks: int
    foreign_ticks: int
    commits: int
    dropped: int

    @property
    def unprotected_seconds(self) -> float:
        """The unprotected seconds of all positions, of all causes."""
        return self.unprotected_time.total


class Tally:
    """Count the positions and waves that have ended. `totals` adds the present positions."""

    def __init__(self) -> None:
        self.waves: int = 0
        self.outcomes: Counter[str] = Counter()
        self.opening_times: OpeningTimes = OpeningTimes()
        self.not_entered: Counter[str] = Counter()
        self.slippage: Slippage = Slippage()
        self.closed: int = 0
        self.moves: int = 0
        self.unprotected_time: UnprotectedTime = ALWAYS_PROTECTED
        self.foreign_ticks: int = 0
        self.confirmed_at: float | None = None

    def count_ended(self, state: PositionState, at: float) -> None:
        """Add a position that has ended. `at`: now, in seconds on the running clock."""
        self.closed += not state.is_given_up and not state.quantity
        self.moves += state.moves
        self.unprotected_time += state.unprotected_time_at(at)
        self.foreign_ticks += state.ratchet.foreign_ticks
        if state.confirmed_at is not None:
            self.confirmed_at = max(state.confirmed_at, self.confirmed_at or state.confirmed_at)

    def count_wave(self, report: WaveReport | AdoptionReport | EntryReport) -> None:
        """Add a wave that has ended."""
        self.waves += 1
        self.outcomes.update(type(outcome).__name__ for outcome in report.outcomes)
        self.opening_times = self.opening_times.joined(report.opening_times)
        for outcome in report.outcomes:
            if isinstance(outcome, NotEntered):
                self.not_entered[outcome.reason] += 1
            elif isinstance(outcome, (Protected, Exited, TimedOut)) and outcome.slippage is not None:
                self.slippage = self.slippage.plus(outcome.slippage)

    def totals(
        self, states: Collection[PositionState], at: float, *, unprotected: int, ticks: int, commits: int, dropped: int
    ) -> Statistics:
        """Return the figures of the ended and the present positions.

        Args:
            states: the present positions.
            at: now, in seconds on the running clock.
            unprotected, ticks, commits, dropped: as in `Statistics`.
        """
        confirmed = [
            seen for seen in (self.confirmed_at, *(state.confirmed_at for state in states)) if seen is not None
        ]
        return Statistics(
            waves=self.waves,
            outcomes=dict(self.outcomes),
            opening_times=self.opening_times,
            not_entered=dict(self.not_entered),
            slippage=self.slippage,
            protected=sum(state.live is not None for state in states),
            unprotected=unprotected,
            moves=self.moves + sum(state.moves for state in states),
            closed=self.closed,
            unprotected_time=sum((state.unprotected_time_at(at) for state in states), self.unprotected_time),
            since_confirmed=at - max(confirmed) if confirmed else None,
            ticks=ticks,
            foreign_ticks=self.foreign_ticks + sum(state.ratchet.foreign_ticks for state in states),
            commits=commits,
            dropped=dropped,
        )
