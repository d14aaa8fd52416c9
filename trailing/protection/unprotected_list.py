"""The entries of the list of positions without a live stop."""

from __future__ import annotations

from typing import Final

import msgspec

from trailing.core.model import Position

UNTRACKED: Final = "not ours"
"""The id of an open position that took the place of one of ours and was never handed in."""


class Unprotected(msgspec.Struct, frozen=True):
    """A position without a live stop, or one that the exchange refuses to reduce.

    Args:
        position: as it was handed in, or as the exchange reports an untracked one.
        state: a value of `State`; ``"closed"``: no task works on the position any more.
        error: why it is listed; None: no error is known.
    """

    position: Position
    state: str
    error: Exception | None
