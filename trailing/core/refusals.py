"""A refusal that says that nothing can be reduced, although the exchange reports the position.

Another order may cover the whole position, such as a take-profit of the bot's own. Then every further order that would reduce
it is refused, until that one is filled or cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trailing.core.goals import Close
from trailing.core.requests import Kind
from trailing.errors import NothingToReduce

if TYPE_CHECKING:
    from trailing.core.position import PositionState


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The present refusals of one kind of request, in a row.

    Args:
        kind: of the requests that were refused.
        error: the last refusal, with the exchange's words.
        since: when the first one came, in seconds on the running clock.
        is_told: a snapshot has shown the position since, and an alarm was raised.
    """

    kind: Kind
    error: NothingToReduce
    since: float
    is_told: bool = False


def note_refusal(p: PositionState, kind: Kind, error: NothingToReduce, at: float) -> None:
    """Remember a refusal. That of an exit says more than that of a stop, and stays."""
    before = p.refusal
    if before is None or (before.kind != "close" and kind == "close"):
        p.refusal = Refusal(kind, error, at)
    elif before.kind == kind:
        p.refusal = replace(before, error=error)


def note_accepted(p: PositionState, kind: Kind) -> None:
    """Forget the refusals of a kind of request, because the exchange has accepted one."""
    if p.refusal is not None and p.refusal.kind == kind:
        p.refusal = None


def tell_refusal(p: PositionState) -> None:
    """Raise the alarm about refusals, once for those in a row, when a snapshot shows the position after the first one."""
    refusal = p.refusal
    if refusal is None or refusal.is_told or p.shown_at < refusal.since + p.timing.positions_read_lag:
        return
    p.refusal = replace(refusal, is_told=True)
    p.alarm("the exchange refuses to reduce an open position", str(refusal.error), names_orders=True)


def is_irreducible(p: PositionState) -> bool:
    """Whether the exchange reports the position, and refuses to reduce it: its stop would be refused, too."""
    refusal = _present(p)
    return refusal is not None and refusal.is_told and p.may_be_open


def trouble(p: PositionState) -> Exception | None:
    """Return why a position has no stop, or can't be closed: the refusal to reduce it, or else the last error; None: no error."""
    refusal = _present(p)
    return p.error if refusal is None else refusal.error


def _present(p: PositionState) -> Refusal | None:
    """Return the refusal of what is still wanted: that of an exit counts as long as the position is to be closed."""
    refusal = p.refusal
    return None if refusal is None or (refusal.kind == "close" and not isinstance(p.goal, Close)) else refusal
