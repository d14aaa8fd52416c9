"""The table of states of a protected position: every event in every state.

A key that is missing is illegal; an empty tuple is ignored; otherwise the event leads to one of the states named, which
of them being decided by what is live. The docs draw their diagram from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a position stands. Which of its stops are live follows from it."""

    OPENING = "opening"
    WAITING = "waiting"
    TRAILING = "trailing"
    EXITING = "exiting"
    UNRESOLVED = "unresolved"
    UNPROTECTED = "unprotected"
    CLOSED = "closed"


OPENING, WAITING, TRAILING, EXITING, UNRESOLVED, UNPROTECTED, CLOSED = State
LIVE: Final = (WAITING, TRAILING)

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "acknowledged": "the exchange acknowledged, or a read found, one of our stops",
        "refused": "a stop was surely not placed or not moved",
        "unknown": "a request's outcome is unknown: what it asked for may exist",
        "absent": "a stop of unknown outcome is proved not to exist",
        "gone": "a stop that was live is not any more, and was not filled",
        "filled": "one of our orders was filled, wholly or in part",
        "resized": "the exchange reports another quantity",
        "replanned": "it goes on under another plan",
        "crossed": "a close at market begins",
        "exit_failed": "that close surely did not go through",
        "flat": "the position was read back as flat, and no order of ours is left",
        "released": "the position is no longer ours to protect",
    }
)


def _row(state: State, **leads_to: tuple[State, ...]) -> dict[tuple[State, str], tuple[State, ...]]:
    return {(state, event): states for event, states in leads_to.items()}


_IGNORED: Final = ()

TRANSITIONS: Final[Mapping[tuple[State, str], tuple[State, ...]]] = MappingProxyType(
    _row(
        OPENING,
        acknowledged=(WAITING, TRAILING, EXITING, UNPROTECTED),
        refused=(UNPROTECTED,),
        unknown=(UNRESOLVED,),
        absent=(UNPROTECTED,),
        gone=_IGNORED,
        filled=(OPENING,),
        resized=(OPENING,),
        replanned=(OPENING,),
        crossed=(EXITING,),
        flat=(CLOSED,),
    )
    | _row(
        WAITING,
        acknowledged=(WAITING, TRAILING, EXITING, UNPROTECTED),
        refused=(WAITING,),
        unknown=(UNRESOLVED,),
        absent=(WAITING, UNPROTECTED),
        gone=(WAITING, UNPROTECTED),
        filled=(WAITING, UNPROTECTED, EXITING),
        resized=(WAITING,),
        replanned=(WAITING,),
        crossed=(EXITING,),
        flat=(CLOSED,),
        released=(CLOSED,),
    )
    | _row(
        TRAILING,
        acknowledged=(TRAILING, EXITING, UNPROTECTED),
        refused=(TRAILING,),
        unknown=(UNRESOLVED,),
        absent=(TRAILING, UNPROTECTED),
        gone=(TRAILING, UNPROTECTED),
        filled=(TRAILING, UNPROTECTED, EXITING),
        resized=(TRAILING,),
        replanned=(TRAILING,),
        crossed=(EXITING,),
        flat=(CLOSED,),
        released=(CLOSED,),
    )
    | _row(
        EXITING,
        acknowledged=(EXITING,),
        refused=(EXITING,),
        unknown=(UNRESOLVED,),
        absent=(EXITING,),
        gone=(EXITING,),
        filled=(EXITING,),
        resized=(EXITING,),
        replanned=(EXITING,),
        crossed=_IGNORED,
        exit_failed=(WAITING, TRAILING, UNPROTECTED),
        flat=(CLOSED,),
    )
    | _row(
        UNRESOLVED,
        acknowledged=(WAITING, TRAILING, EXITING, UNPROTECTED),
        unknown=_IGNORED,
        absent=(WAITING, TRAILING, UNPROTECTED),
        gone=(UNRESOLVED,),
        filled=(UNRESOLVED,),
        resized=(UNRESOLVED,),
        replanned=(UNRESOLVED,),
        crossed=(EXITING,),
        flat=(CLOSED,),
    )
    | _row(
        UNPROTECTED,
        acknowledged=(WAITING, TRAILING, EXITING, UNPROTECTED),
        refused=(UNPROTECTED,),
        unknown=(UNRESOLVED,),
        absent=_IGNORED,
        gone=_IGNORED,
        filled=(UNPROTECTED, EXITING),
        resized=(UNPROTECTED,),
        replanned=(UNPROTECTED,),
        crossed=(EXITING,),
        flat=(CLOSED,),
        released=(CLOSED,),
    )
    | _row(
        CLOSED,
        absent=_IGNORED,
        gone=_IGNORED,
        filled=_IGNORED,
        resized=_IGNORED,
        flat=_IGNORED,
        released=_IGNORED,
    )
)
