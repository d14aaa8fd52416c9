"""What can't be read of what a venue sends: one entry, and never more than that."""

from __future__ import annotations

from typing import Final

import msgspec

from trailing.errors import TrailingError

UNREADABLE: Final = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, TrailingError)
"""What code that reads a venue's entry raises where the entry has another shape than is known."""


UNPARSED: Final = "unparsed"
"""The field of an entry of ccxt's that says why ccxt could not read it."""


class Unreadable(msgspec.Struct, frozen=True):
    """Something that was pushed, or is listed, and can't be read. `detail`: why, as the venue's values stood there."""

    detail: str


def reason(error: Exception) -> str:
    """Return why an entry can't be read, in one line, for what an `UNREADABLE` error says."""
    said = str(error)
    return said if isinstance(error, TrailingError) else f"{type(error).__name__}: {said}"
