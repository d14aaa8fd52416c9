"""Entries of a venue's replies and frames that cannot be parsed. One such entry never costs the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from trailing.core.model import refuse
from trailing.errors import TrailingError

UNREADABLE: Final = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, TrailingError)
"""Errors that parsing code raises for an entry of an unexpected shape."""


UNPARSED: Final = "unparsed"
"""Field of an entry of ccxt's that says why ccxt could not parse it."""


class Unreadable(msgspec.Struct, frozen=True):
    """An entry of a frame or a list that cannot be parsed.

    Args:
        detail: why, with the venue's values as they were sent. Escape it before it is shown.
    """

    detail: str


def as_text(name: str, value: Any) -> str:
    """Return an id or a word that the venue may have sent as a number; "" if it is missing. Raises UsageError for other types."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise refuse(name, value, "a text or a number")
    return str(value)


def reason(error: Exception) -> str:
    """Return why an entry cannot be parsed, from an `UNREADABLE` error, in one line."""
    message = str(error)
    return message if isinstance(error, TrailingError) else f"{type(error).__name__}: {message}"
