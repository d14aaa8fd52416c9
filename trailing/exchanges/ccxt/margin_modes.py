"""The margin mode of each open position, on venues where an order must state it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from trailing.core.model import Side

PositionKey: TypeAlias = tuple[str, Side]
"""Symbol and side of a position."""


class MarginModes:
    """The margin modes of the positions that the venue listed or pushed last.

    A position that is closed and opened again may have another mode. So a mode is dropped when its position is flat.
    """

    def __init__(self) -> None:
        self._modes: dict[PositionKey, str] = {}

    def get(self, symbol: str, side: Side) -> str | None:
        """Return the mode in the venue's word; None: no such position was listed or pushed."""
        return self._modes.get((symbol, side))

    def set(self, symbol: str, side: Side, mode: str | None) -> None:
        """Store the mode of a position; None: the position is flat."""
        if mode is None:
            self._modes.pop((symbol, side), None)
        else:
            self._modes[symbol, side] = mode

    def replace(self, modes: Mapping[PositionKey, str]) -> None:
        """Store the modes of all open positions of the account."""
        self._modes = dict(modes)
