"""Write the parts of the texts of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trailing.core.account import Key
from trailing.protection.waves.outcomes import Unprotected

_NAMED: Final = 5
"""The most positions that the text of one alert names. It counts the others."""


def name_position(key: Key | None) -> str:
    """Return what an alert is about; None: the account."""
    return "The account" if key is None else f"{key[0]} {key[1]}"


def write_seconds(seconds: float) -> str:
    """Return a time in seconds, or in minutes if it is long."""
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"


def list_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def describe_error(error: BaseException) -> str:
    """Return the class and the text of an error."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def describe_unprotected(key: Key, listed: Unprotected, seconds: float) -> str:
    """Return the text of an alert about a position that has been unprotected for so many seconds."""
    position = listed.position
    size = f"{position.quantity:f} at {position.entry_price:f}"
    if listed.state == "trailing":
        problem = f"its stop is live, but the exchange has refused to reduce the position for {seconds:.0f} s"
    else:
        problem = f"no live stop for {seconds:.0f} s"
    error = f" Last error: {describe_error(listed.error)}." if listed.error is not None else ""
    advice = (
        "No task works on it: close it, or protect it again."
        if listed.state == "closed"
        else "The manager tries again."
    )
    return f"{name_position(key)} ({size}): {problem}, state {listed.state}.{error} {advice}"
