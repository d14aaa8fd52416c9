"""The entries of the list of positions without a live stop."""

from __future__ import annotations

from typing import Final

import msgspec

from trailing.core.model import Position

UNTRACKED: Final = "not ours"
"""The id of an open position that took the place of one of ours and was never handed in."""


class Unprotected(msgspec.Struct, frozen=True):
    """A position without a live stop.

    Args:
        state: its state, in the words of `State`; ``"closed"`` where no task works on it any more.
        error: why, as far as is known.
    """

    position: Position
    state: str
    error: Exception | None
