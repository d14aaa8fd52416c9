"""Since when: a duration back from now, or a time of day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from trailing.core.model import refuse
from trailing.errors import UsageError

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str | None, option: str = "--since") -> datetime | None:
    """The time that a text such as ``30m``, ``24h``, ``7d`` or ``2018-01-10`` means; None: since ever.

    Args:
        option: where it stands, for the error.

    Returns:
        An aware UTC datetime, or None for None.

    Raises:
        UsageError: it is neither a duration nor an ISO 8601 time.
    """
    if text is None:
        return None
    wants = "a duration such as '30m', '24h' or '7d', or a UTC time such as '2018-01-10T05:10'"
    duration = _DURATION.fullmatch(text)
    try:
        if duration:
            return datetime.now(UTC) - timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise refuse(option, text, wants) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_speed(text: str) -> float | None:
    """How many seconds of the data pass in one: a number above 0; None for ``max``.

    Raises:
        UsageError: it is neither.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UsageError(f"--speed got {text!r}, wants a number above 0, or 'max'")
    return speed
