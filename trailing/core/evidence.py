"""When an absence is believed: of a position, of one of its orders, of anything that a list should show.

Answers of an exchange are late, repeated, incomplete and sometimes wrong. Presence is believed at once. An absence is
believed on its second sighting, and later where something contradicts it:

1.  A list that was asked for less than the read lag after the last known change shows nothing about it.
2.  The second sighting is asked for at least `SECOND_SIGHTING` seconds, and the read lag, after the first was answered; and
    not before the last moment at which a request of unknown outcome can still be executed and become visible.
3.  An update, a fill or a refusal that says the same counts as the first sighting.
4.  Without such a word a position counts as open for `CONTRADICTED` seconds, in which at least `SIGHTINGS` snapshots don't
    list it and none does: lists stay empty, or lose an entry, for seconds, and again a minute later.
5.  A list that could not be read in full proves no absence.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

import msgspec

SECOND_SIGHTING: Final = 0.25
"""Seconds between two sightings at the least: two answers from one state of a venue would be one sighting."""

EMPTY: Final = 2.0
"""The same where a fill or a refusal says that the position is flat and no position at all is listed."""

CONTRADICTED: Final = 60.0
"""The same where no word of the exchange says that the position is flat. Lists were seen empty for up to 10 s."""

SIGHTINGS: Final = 6
"""So many snapshots in that time don't list the position: two of them a minute apart may both be empty by mistake."""

RECHECK: Final = 10.0
"""Seconds between these snapshots."""

LISTS_ALONE: Final = 10.0
"""Seconds for which lists don't show a stop that can't be looked up by its id, until it is believed that the stop is gone."""


class Timing(msgspec.Struct, frozen=True):
    """What an exchange promises.

    Args:
        orders_read_lag: seconds after which lists and look-ups of stop orders show an earlier write.
        positions_read_lag: the same for the list of positions.
        request_validity: seconds for which a request that was sent may still be executed.
        hedged: whether a long and a short of one symbol may be open at once.
    """

    orders_read_lag: float = 0.0
    positions_read_lag: float = 0.0
    request_validity: float = 0.0
    hedged: bool = False

    @property
    def read_lag(self) -> float:
        """Seconds after which a snapshot shows an earlier write, of whatever kind."""
        return max(self.orders_read_lag, self.positions_read_lag)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What the evidence for an absence comes to.

    Args:
        confirmed: whether it is believed.
        since: when the first sighting that counts was answered; None: there is none.
        again_at: from when on another sighting can decide; infinite once it is believed.
    """

    confirmed: bool
    since: float | None
    again_at: float


def judge_absence(
    since: float | None,
    *,
    asked_at: float,
    answered_at: float,
    lag: float,
    changed_at: float,
    executable_until: float = -math.inf,
    apart: float = SECOND_SIGHTING,
) -> Verdict:
    """Judge an answer that does not show something. All times are in seconds on the running clock.

    Args:
        since: when an earlier sighting was answered; None: there was none.
        asked_at, answered_at: of the answer.
        lag: the read lag of the kind of answer.
        changed_at: the last known change of what is absent.
        executable_until: until when a request of unknown outcome can still bring it about.
        apart: seconds between the two sightings at the least.
    """
    if since is not None and since < changed_at:
        since = None
    if asked_at < changed_at + lag:
        return Verdict(False, since, changed_at + lag)
    first = answered_at if since is None else since
    second = max(first + max(lag, apart, SECOND_SIGHTING), executable_until + lag)
    if since is not None and asked_at >= second:
        return Verdict(True, first, math.inf)
    return Verdict(False, first, second)


Word: TypeAlias = Literal["refusal", "fill", "other side", "update"]
"""What of the exchange says that a position is flat: a refusal because nothing can be reduced; fills of its whole quantity; a
position of the other side where one side at a time can be open; a pushed quantity of 0. The later weigh more."""

_WEIGHT: Final = {word: weight for weight, word in enumerate(get_args(Word))}


class FlatEvidence:
    """What speaks for, and against, a position being flat.

    Attributes:
        changed_at: when the position last changed, as far as is known.
    """

    __slots__ = ("_counted_at", "_is_contradicted", "_said", "_sightings", "_since", "changed_at")

    def __init__(self, at: float) -> None:
        self.changed_at: float = at
        self._since: float | None = None
        self._sightings: int = 0
        self._counted_at: float = -math.inf
        self._said: Word | None = None
        self._is_contradicted: bool = False

    @property
    def is_said(self) -> bool:
        """Whether a word of the exchange says that the position is flat."""
        return self._said is not None

    def note_changed(self, at: float) -> None:
        """Note that the position changed, or that an update says that it is open."""
        self.changed_at, self._since, self._said = at, None, None

    def note_flat(self, at: float, said: Word) -> None:
        """Note a word of the exchange that the position is flat: the first sighting."""
        if said in ("update", "fill"):  # the others change nothing: else each further one would postpone the belief
            self.changed_at = at
        if self._since is None or self._since < self.changed_at:
            self._begin(at)
        if self._said is None or _WEIGHT[said] > _WEIGHT[self._said]:
            self._said = said
        if said in ("update", "fill"):
            self._is_contradicted = False

    def note_contradicted(self) -> None:
        """Note that an update says that the position is open again, or still: what was said before is no first sighting."""
        self._is_contradicted = True

    def note_shown(self) -> None:
        """Note that a snapshot shows the position."""
        self._since = self._said = None

    @property
    def is_doubted(self) -> bool:
        """Whether something says that the position is flat, and is not confirmed yet."""
        return self._since is not None

    @property
    def is_told_by_update(self) -> bool:
        """Whether the last word of the exchange is an update that says that the position is flat."""
        return self._said == "update"

    def judge(self, asked_at: float, answered_at: float, timing: Timing, *, is_empty: bool, has_stop: bool) -> Verdict:
        """Judge a snapshot that does not list the position.

        Args:
            is_empty: no position at all is listed.
            has_stop: a stop of ours for it is listed. It contradicts a mere refusal.
        """
        is_said = self._said is not None and not (self._is_contradicted or (self._said == "refusal" and has_stop))
        apart = CONTRADICTED
        if is_said:
            apart = EMPTY if is_empty and self._said in ("refusal", "fill") else SECOND_SIGHTING
        verdict = judge_absence(
            self._since,
            asked_at=asked_at,
            answered_at=answered_at,
            lag=timing.positions_read_lag,
            changed_at=self.changed_at,
            apart=apart,
        )
        if self._since != verdict.since:
            self._begin(verdict.since)
        if is_said or asked_at < self.changed_at + timing.positions_read_lag:
            return verdict
        if asked_at >= self._counted_at + RECHECK:
            self._sightings, self._counted_at = self._sightings + 1, answered_at
        confirmed = verdict.confirmed and self._sightings >= SIGHTINGS
        return Verdict(confirmed, verdict.since, min(verdict.again_at, self._counted_at + RECHECK))

    def _begin(self, since: float | None) -> None:
        """Begin another doubt: sightings of an earlier one count for nothing. None: there is none any more."""
        self._since, self._sightings, self._counted_at = since, 0, -math.inf
