"""Decide when the absence of a position, an order or another listed entry is confirmed.

Answers of an exchange are late, repeated, incomplete and sometimes wrong. Presence is believed at once. Two snapshots
without an entry confirm its absence:

1.  A list that was requested less than the read lag after the last known change proves nothing about it.
2.  The second snapshot is requested at least `CONFIRM_AFTER` seconds, and at least the read lag, after the first one
    was answered. It is not requested before the last moment at which a request of unknown outcome can be executed and
    become visible.
3.  An update, a fill or a refusal that says the same replaces the first snapshot.
4.  Without such a message a position counts as open for `UNANNOUNCED` seconds. In this time at least
    `CONFIRMING_SNAPSHOTS` snapshots do not list it, and none lists it. The reason is that lists stay empty, or lose an
    entry, for seconds, and again a minute later. If one of the snapshots lists a stop of ours, `CONTRADICTED` seconds
    and twice as many snapshots are needed, because most stops end with their position.
5.  A list that could not be read in full proves no absence. If fills have closed all of a position, or an update says
    so, such lists count as if no message said it.
"""

from __future__ import annotations

import math
from typing import Final, Literal, TypeAlias, get_args

import msgspec

CONFIRM_AFTER: Final = 0.25
"""Least seconds between two snapshots that confirm an absence, because both may show one state of the venue."""

EMPTY: Final = 2.0
"""The same if a fill or a refusal says that the position is flat, and no position at all is listed."""

UNANNOUNCED: Final = 60.0
"""The same if no message says that the position is flat. Venues were seen to return empty lists for up to 10 s."""

CONTRADICTED: Final = 120.0
"""The same if a stop of ours is listed meanwhile. Twice as many snapshots are needed."""

CONFIRMING_SNAPSHOTS: Final = 6
"""Least number of snapshots in that time without the position. Two of them a minute apart may both be wrong."""

RECHECK: Final = 10.0
"""Least seconds from the answer of one of these snapshots to the request of the next one that counts."""

LISTS_ALONE: Final = 30.0
"""Seconds after which a stop that no list shows counts as gone, if it can't be looked up by its id.

At least `CONFIRMING_SNAPSHOTS` snapshots in this time do not show it, because lists were wrong twice within 15 s.
"""

LIST_RECHECK: Final = 5.0
"""Least seconds between two of these snapshots that count."""

LISTS_ALONE_UNTOLD: Final = 10.0
"""The same for a stop that the exchange has never reported. Two snapshots suffice, so that another stop is not late."""

CHECK_FIRST: Final = 15.0
"""Seconds, beyond the read lag, for which an exit waits for a snapshot that shows the position, after something may
have been missed. Lists were seen to leave entries out for up to 10 s, and a snapshot takes its time after
an outage."""

INCOMPLETE_FOR: Final = 300.0
"""Seconds after which a stop that incomplete lists do not show is looked up, and again so long after. One that is empty by
mistake for two minutes has no position look its stop up."""

LOOKED_FOR_AT_ONCE: Final = 15.0
"""Seconds after its acknowledgement in which a first answer without a stop says that the answers are wrong.

An exchange that loses a stop in silence hardly does so at once. Lists were wrong for up to 10 s.
"""

MOST_MISSING: Final = 4
"""Number of lost stops after which the answers are wrong in any case, so that stops are not placed without end."""


class Timing(msgspec.Struct, frozen=True):
    """The delays and the position mode that an exchange states.

    Args:
        orders_read_lag: seconds after a write until lists and look-ups of stop orders show it, at least 0.
        positions_read_lag: the same for the list of positions.
        request_validity: seconds after sending in which the exchange may execute a request, at least 0.
        hedged: whether a long and a short of one symbol may be open at once.
    """

    orders_read_lag: float = 0.0
    positions_read_lag: float = 0.0
    request_validity: float = 0.0
    hedged: bool = False

    @property
    def read_lag(self) -> float:
        """The seconds after which a snapshot shows a write of any kind."""
        return max(self.orders_read_lag, self.positions_read_lag)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The result of weighing the evidence for an absence.

    Args:
        confirmed: whether the absence is confirmed.
        since: when the first snapshot without the entry was answered, or the message came; None: there is none.
        again_at: the time from which another snapshot can confirm it; infinite once it is confirmed.
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
    apart: float = CONFIRM_AFTER,
) -> Verdict:
    """Weigh an answer that does not show an entry. All times are in seconds on the running clock.

    Args:
        since: when an earlier answer without the entry came; None: there was none. An answer before `changed_at` does
            not count.
        asked_at, answered_at: when this answer was requested, and when it came.
        lag: the read lag of this kind of answer.
        changed_at: the last known change of the entry.
        executable_until: the last moment at which a request of unknown outcome can create the entry.
        apart: least seconds from the earlier answer to the request of this one. `CONFIRM_AFTER` and `lag` apply where
            they are longer.
    """
    if since is not None and since < changed_at:
        since = None
    if asked_at < changed_at + lag:
        return Verdict(False, since, changed_at + lag)
    first = answered_at if since is None else since
    second = max(first + max(lag, apart, CONFIRM_AFTER), executable_until + lag)
    if since is not None and asked_at >= second:
        return Verdict(True, first, math.inf)
    return Verdict(False, first, second)


def count_missed(missed_at: tuple[float, ...], since: float, at: float) -> tuple[float, ...]:
    """Count a snapshot that does not show a stop, unless it comes too soon after another one.

    All times are in seconds on the running clock.

    Args:
        missed_at: when the snapshots that count were answered.
        since: when the first of them was answered. Earlier ones do not count any more.
        at: when this one was answered.
    """
    counting = tuple(one for one in missed_at if one >= since) or (since,)
    return counting if at < counting[-1] + LIST_RECHECK else (*counting, at)


Word: TypeAlias = Literal["nothing to reduce", "refusal", "fill", "other side", "update"]
"""A message that a position is flat. The words are in the order of their weight, the lightest first.

``"nothing to reduce"``: a refusal because nothing can be reduced. It is no evidence, because other reduce-only orders
may cover the position. ``"refusal"``: a refusal because no such position exists, or a close that filled less than it
asked for. ``"fill"``: fills of the whole quantity. ``"other side"``: a snapshot lists a position of the other side,
where one side at a time can be open. ``"update"``: a pushed quantity of 0, or a pushed position of the other side.
"""

_WEIGHT: Final = {word: weight for weight, word in enumerate(get_args(Word))}


class FlatEvidence:
    """The evidence for and against a position being flat.

    Attributes:
        changed_at: the last known change of the position.
    """

    __slots__ = ("_counted_at", "_has_stop", "_is_contradicted", "_said", "_since", "_snapshots", "changed_at")

    def __init__(self, at: float) -> None:
        self.changed_at: float = at
        self._since: float | None = None
        self._snapshots: int = 0
        self._counted_at: float = -math.inf
        self._has_stop: bool = False
        self._said: Word | None = None
        self._is_contradicted: bool = False

    def shown_from(self, timing: Timing) -> float:
        """Return the time from which a requested list shows the last known change."""
        return self.changed_at + timing.positions_read_lag

    @property
    def is_said(self) -> bool:
        """Whether a message of the exchange says that the position is flat, or that nothing of it can be reduced."""
        return self._said is not None

    def note_changed(self, at: float) -> None:
        """Note that the position changed, or that an update says that it is open. Earlier evidence counts no more."""
        self.changed_at, self._since, self._said = at, None, None

    def note_flat(self, at: float, said: Word) -> None:
        """Note a message that the position is flat. It replaces the first snapshot without the position.

        An update and a fill are changes of the position, and end a contradiction by an earlier update.
        """
        if said in ("update", "fill"):  # no other message is a change, so that a repeated one postpones nothing
            self.changed_at = at
        if self._since is None or self._since < self.changed_at:
            self._begin(at)
        if self._said is None or _WEIGHT[said] > _WEIGHT[self._said]:
            self._said = said
        if said in ("update", "fill"):
            self._is_contradicted = False

    def note_contradicted(self) -> None:
        """Note that an update says that the position is open.

        Messages that it is flat count for nothing then, until another update or fill says so.
        """
        self._is_contradicted = True

    def note_shown(self) -> None:
        """Note that a snapshot shows the position."""
        self._since = self._said = None

    @property
    def is_doubted(self) -> bool:
        """Whether evidence that is not confirmed yet says that the position is flat."""
        return self._since is not None

    @property
    def is_told_by_update(self) -> bool:
        """Whether an update says that the position is flat. No later fill or refusal takes its place."""
        return self._said == "update"

    def judge(
        self,
        asked_at: float,
        answered_at: float,
        timing: Timing,
        *,
        is_empty: bool,
        has_stop: bool,
        is_closing: bool = False,
        is_partial: bool = False,
    ) -> Verdict:
        """Weigh a snapshot that does not list the position.

        Args:
            is_empty: whether it lists no position at all.
            has_stop: whether it lists a stop of ours for the position. It contradicts a refusal, and the list itself.
            is_closing: whether we close the position, so that its stop may be left over.
            is_partial: whether it could not be read in full. Fills or an update say that nothing is open then, and
                count as no message all the same.
        """
        is_evidence = self._said not in (None, "nothing to reduce")
        is_said = is_evidence and not (is_partial or self._is_contradicted or (self._said == "refusal" and has_stop))
        is_contradicted = (has_stop or self._has_stop) and not (is_evidence or is_closing)
        apart = CONTRADICTED if is_contradicted else UNANNOUNCED
        if is_said:
            apart = EMPTY if is_empty and self._said in ("refusal", "fill") else CONFIRM_AFTER
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
        self._has_stop |= has_stop
        if is_said or asked_at < self.shown_from(timing):
            return verdict
        if asked_at >= self._counted_at + RECHECK:
            self._snapshots, self._counted_at = self._snapshots + 1, answered_at
        confirming = CONFIRMING_SNAPSHOTS * (2 if is_contradicted else 1)
        confirmed = verdict.confirmed and self._snapshots >= confirming
        return Verdict(confirmed, verdict.since, min(verdict.again_at, self._counted_at + RECHECK))

    def _begin(self, since: float | None) -> None:
        """Restart the count of snapshots. `since`: as in `Verdict`."""
        self._since, self._snapshots, self._counted_at, self._has_stop = since, 0, -math.inf, False
