"""Times as options: a duration back from now, or a UTC time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from trailing.core.model import refuse

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str | None, option: str = "--since") -> datetime | None:
    """Return the time that a text such as ``30m``, ``24h``, ``7d`` or ``2018-01-10`` means.

    Args:
        text: a duration back from now or an ISO 8601 time; None: no limit.
        option: the option that has the text, for the error.

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


def parse_duration(text: str, option: str) -> float:
    """Return the seconds that a text such as ``30m``, ``4h`` or ``1d`` means.

    Raises:
        UsageError: it is no duration above 0. The message begins with the option.
    """
    duration = _DURATION.fullmatch(text)
    try:
        seconds = timedelta(**{_UNITS[duration[2]]: int(duration[1])}).total_seconds() if duration else 0.0
    except OverflowError:
        seconds = 0.0
    if not seconds:
        raise refuse(option, text, "a duration above 0 such as '30m', '4h' or '1d'")
    return seconds
