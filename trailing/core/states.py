"""The state of a position, as reports, records and the store name it."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a position, as reports name it. No decision depends on it."""

    OPENING = "opening"
    WAITING = "waiting"
    TRAILING = "trailing"
    EXITING = "exiting"
    UNRESOLVED = "unresolved"
    UNPROTECTED = "unprotected"
    CLOSED = "closed"
