"""What a websocket connection reports to the object that publishes its updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trailing.exchanges.port import Update

if TYPE_CHECKING:
    from trailing.exchanges.ccxt.websocket import ReconnectingWebSocket


class ConnectionHandler(Protocol):
    """Receives the events of one or more connections. Each method returns at once."""

    def on_update(self, update: Update) -> None:
        """Handle a price or an update of the account."""

    def on_unreadable(self, detail: str, *, of_account: bool) -> None:
        """Handle an entry that could not be parsed. `detail` says why."""

    def request_due_snapshot(self) -> None:
        """Request a snapshot if one is due. Called twice a second by each open connection of the account."""

    def on_connected(self, connection: ReconnectingWebSocket, seconds: float) -> None:
        """Handle a connection that is open and subscribed, `seconds` after it began to connect."""

    def on_disconnected(self, connection: ReconnectingWebSocket, reason: str) -> None:
        """Handle a connection that was lost or could not be opened."""
