"""Where a position stands, in the words of reports, records and the store."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a position stands, in the words of reports. No decision depends on it."""

    OPENING = "opening"
    WAITING = "waiting"
    TRAILING = "trailing"
    EXITING = "exiting"
    UNRESOLVED = "unresolved"
    UNPROTECTED = "unprotected"
    CLOSED = "closed"
