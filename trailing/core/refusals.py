"""Refusals to reduce a position that the exchange reports as open.

Another order may cover the whole position, such as a take-profit of the bot's own. Then the exchange refuses every
further order that would reduce the position, until that order is filled or cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trailing.core.goals import Close
from trailing.core.requests import Kind, ReplaceStop, Request
from trailing.core.shown import has_unseen_stop
from trailing.errors import NothingToReduce, OutcomeUnknown

if TYPE_CHECKING:
    from trailing.core.position import PositionState


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Consecutive refusals of one kind of request.

    Args:
        kind: the kind of the refused requests.
        error: the last refusal, with the exchange's words.
        since: when the first one came, in seconds on the running clock.
        is_told: a snapshot has shown the position since, and an alarm was raised.
    """

    kind: Kind
    error: NothingToReduce
    since: float
    is_told: bool = False


def note_refusal(p: PositionState, kind: Kind, error: NothingToReduce, at: float) -> None:
    """Remember a refusal.

    The refusal of an exit replaces one of another kind, because it says more. No other kind replaces the remembered
    one.
    """
    before = p.refusal
    if before is None or (before.kind != "close" and kind == "close"):
        p.refusal = Refusal(kind, error, at)
    elif before.kind == kind:
        p.refusal = replace(before, error=error)


def note_accepted(p: PositionState, request: Request) -> None:
    """Forget the refusals of a kind of request, because the exchange has accepted one.

    A move that places another stop disproves those of placing one, too.
    """
    if p.refusal is None:
        return
    if p.refusal.kind == request.kind or (p.refusal.kind == "place" and isinstance(request, ReplaceStop)):
        p.refusal = None


def tell_refusal(p: PositionState) -> None:
    """Raise one alarm about consecutive refusals, once a snapshot shows the position.

    The snapshot must have been requested after the first refusal, plus the read lag.
    """
    refusal = p.refusal
    if refusal is None or refusal.is_told or p.shown_at < refusal.since + p.timing.positions_read_lag:
        return
    p.refusal = replace(refusal, is_told=True)
    p.alarm("the exchange refuses to reduce an open position", str(refusal.error), names_orders=True)


def is_irreducible(p: PositionState) -> bool:
    """Return whether the exchange reports the position and refuses to reduce it.

    It would refuse a stop, too.
    """
    refusal = _present(p)
    return refusal is not None and refusal.is_told and p.may_be_open


def is_doubtful(p: PositionState) -> bool:
    """Return whether a position can't rely on its stop: it can't be reduced, or nothing shows the stop."""
    return is_irreducible(p) or has_unseen_stop(p)


def trouble(p: PositionState) -> Exception | None:
    """Return why a position has no stop, can't be closed, or has a stop that the exchange does not show.

    The reason is the refusal to reduce it, or else the last error. None: there is no error.
    """
    refusal = _present(p)
    if refusal is not None:
        return refusal.error
    if p.error is None and has_unseen_stop(p):
        return OutcomeUnknown("the exchange acknowledged its stop, and neither lists nor look-ups show it")
    return p.error


def _present(p: PositionState) -> Refusal | None:
    """Return the refusal, if the refused request is still wanted.

    The refusal of an exit counts as long as the position is to be closed.
    """
    refusal = p.refusal
    return None if refusal is None or (refusal.kind == "close" and not isinstance(p.goal, Close)) else refusal
