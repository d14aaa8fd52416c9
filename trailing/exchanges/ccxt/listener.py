"""What a connection reports to the part of the adapter that hands updates to subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trailing.exchanges.port import Update

if TYPE_CHECKING:
    from trailing.exchanges.ccxt.line import Line


class Listener(Protocol):
    """Who wants to know."""

    def hear(self, update: Update) -> None:
        """Something was pushed."""

    def skip(self, detail: str, *, of_account: bool) -> None:
        """Something was pushed that can't be read."""

    def look_overdue(self) -> None:
        """Called twice a second while the account's connection lives."""

    def up(self, line: Line, seconds: float) -> None:
        """It is there, and subscribed to what is wanted, so many seconds after it was dialled."""

    def lost(self, line: Line, why: str) -> None:
        """It is not there any more, or could not be dialled."""
