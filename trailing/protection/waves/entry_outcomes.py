"""The outcomes of entries, and the report of an entered wave."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from trailing.core.entries import Entry
from trailing.core.model import Side
from trailing.core.position import PositionState
from trailing.protection.waves.outcomes import Exited, OpeningTimes, Protected, TimedOut, stop_of
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

NotEnteredReason: TypeAlias = Literal[
    "unfilled", "rejected", "unreachable", "invalid", "claimed", "limit", "paused", "store", "bug"
]
"""Why an entry did not become a position; see `NotEntered`."""


class NotEntered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing of an entry was filled, and nothing of it is left on the exchange.

    Args:
        entry: as it was handed in.
        elapsed: seconds from the call until this outcome was known.
        reason: ``"unfilled"``: it was not filled in time, or the exchange ended it. ``"rejected"``: the exchange rejected it.
            ``"unreachable"``: the exchange could not be reached in time. Nothing was sent for the others. ``"invalid"``: a figure
            is impossible. ``"claimed"``: the symbol is protected, entered, or still ending; or another position of it is open.
            ``"limit"``: a limit of `EntryLimits`. ``"paused"``: entries are paused. ``"store"``: the store did not take its
            intent. ``"bug"``: an error of the library.
        error: why, in words.
    """

    entry: Entry
    elapsed: float
    reason: NotEnteredReason
    error: Exception

    @property
    def symbol(self) -> str:
        """The symbol of the entry."""
        return self.entry.symbol

    @property
    def side(self) -> Side:
        """The side of the entry."""
        return self.entry.side

    @property
    def unprotected_time(self) -> UnprotectedTime:
        """No time, because there was no position."""
        return ALWAYS_PROTECTED

    def __str__(self) -> str:
        return f"{self.symbol} {self.side}: not entered, {self.reason} ({self.error}), after {self.elapsed:.1f} s"


EntryOutcome: TypeAlias = Protected | Exited | TimedOut | NotEntered
"""The outcome of an entry."""


class EntryReport(msgspec.Struct, frozen=True):
    """The outcomes and figures of a wave that was entered.

    Args:
        outcomes: in the order of the entries.
        elapsed: seconds from the wave's start to its end, clean-up included.
        opening_times: seconds from the first fill, by the exchange's clock, to the acknowledgement of the stop. 0 if the entry
            carried its stop.
    """

    outcomes: tuple[EntryOutcome, ...]
    elapsed: float
    opening_times: OpeningTimes

    @property
    def protected(self) -> tuple[EntryOutcome, ...]:
        """The outcomes with a live stop."""
        return tuple(outcome for outcome in self.outcomes if stop_of(outcome) is not None)

    @property
    def unprotected(self) -> tuple[EntryOutcome, ...]:
        """The outcomes whose position may be open without a stop, or whose entry may still be filled."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, TimedOut) and stop_of(outcome) is None)

    @property
    def not_entered(self) -> tuple[NotEntered, ...]:
        """The entries of which nothing was filled."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, NotEntered))

    @property
    def unprotected_time(self) -> UnprotectedTime:
        """The unprotected seconds of all positions by cause."""
        return sum((outcome.unprotected_time for outcome in self.outcomes), ALWAYS_PROTECTED)


class WorkingEntry(msgspec.Struct, frozen=True):
    """An entry of which more may be filled, as far as is known.

    Args:
        symbol, side: of the position.
        quantity: as requested, in base units; `filled`: the part of it that is filled.
        limit: the worst price to accept; None: at market.
        client_order_id: of the order.
        is_acknowledged: whether the exchange has shown the order. Otherwise it is being sent, or its outcome is unknown.
        is_ending: whether the rest is being cancelled.
    """

    symbol: str
    side: Side
    quantity: Decimal
    filled: Decimal
    limit: Decimal | None
    client_order_id: str
    is_acknowledged: bool
    is_ending: bool


def working_entry(state: PositionState) -> WorkingEntry:
    """Return the working entry of a position that is being entered."""
    entry, row = state.entry, state.entry_row
    assert entry is not None
    return WorkingEntry(
        state.position.symbol,
        state.position.side,
        entry.quantity,
        entry.filled,
        entry.limit,
        entry.id,
        is_acknowledged=row is not None and row.exists,
        is_ending=entry.is_over,
    )
