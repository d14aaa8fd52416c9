"""Updates of a real exchange, published to all subscribers."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from trailing.core.model import Source, Tick
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import StreamProtocol
from trailing.exchanges.ccxt.websocket import ReconnectingWebSocket
from trailing.exchanges.port import StreamState, Update, escaped
from trailing.exchanges.updates import UpdateChannel

_PROMPT = 1.0
"""Seconds that a first connection may take. After a longer time, updates may have been missed, so a snapshot is needed.

So long the account waits for prices that were lost with it, so that one snapshot is enough.
"""


PAUSE_SECONDS: Final = 10.0
"""Seconds between two log lines, or two requests for a snapshot, about entries that can't be parsed."""

_log = logging.getLogger(__name__)


class UpdateBroadcast:
    """Sends updates to all subscribers.

    Attributes:
        subscriptions: the symbols whose prices are wanted, each with the time of its subscription.
        last_ticks: the tick that was pushed last, by symbol and source; of subscribed symbols only.
        unreadable: how many prices and other entries were skipped because they could not be parsed.
    """

    def __init__(self) -> None:
        self._channels: list[UpdateChannel] = []
        self.unreadable: int = 0
        self.subscriptions: dict[str, float] = {}
        self._next_log_at = -math.inf
        self.last_ticks: dict[tuple[str, Source], Tick] = {}

    @property
    def dropped(self) -> int:
        """Ticks that were dropped because the present subscribers did not keep up."""
        return sum(channel.dropped for channel in self._channels)

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose prices are wanted. Returns before they are subscribed."""
        now = trio.current_time()
        self.subscriptions = {symbol: self.subscriptions.get(symbol, now) for symbol in sorted(symbols)}
        self.last_ticks = {key: tick for key, tick in self.last_ticks.items() if key[0] in symbols}
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[UpdateChannel]:
        """Open a channel of all updates from now on. If some updates can't arrive, the first one says so."""
        channel = UpdateChannel()
        state = self.state()
        if not state.connected:
            channel.push(state)
        self._channels.append(channel)
        try:
            yield channel
        finally:
            self._channels.remove(channel)
            channel.close()

    def state(self) -> StreamState:
        """Return whether all wanted updates arrive."""
        raise NotImplementedError

    def expects_prices(self, symbol: str) -> bool:  # noqa: ARG002
        """Return whether a symbol's prices should arrive now, and have a subscriber."""
        return bool(self._channels)

    def on_update(self, update: Update) -> None:
        """Publish an update. A price of a symbol that is not subscribed is dropped."""
        if type(update) is Tick:
            if update.symbol not in self.subscriptions:
                return
            self.last_ticks[update.symbol, update.source] = update
        self.publish(update)

    def on_unreadable(self, detail: str, *, of_account: bool = False) -> None:  # noqa: ARG002
        """Count an entry that can't be parsed, and log it, at most one line in `PAUSE_SECONDS`."""
        self.unreadable += 1
        now = trio.current_time()
        if now >= self._next_log_at:
            self._next_log_at = now + PAUSE_SECONDS
            _log.warning("skipped an entry that can't be parsed (%d so far): %s", self.unreadable, escaped(detail))

    def publish(self, update: Update) -> None:
        """Push an update to all subscribers."""
        for channel in self._channels:
            channel.push(update)

    def end(self) -> None:
        """End the channels: each subscriber receives what is queued, then `trio.EndOfChannel`."""
        for channel in self._channels:
            channel.end()


class Streams(UpdateBroadcast):
    """Updates over websockets: one connection for the account (two on OKX), and as many for prices as their symbols need.

    The connections open with the first subscriber, and stay open until the exchange is closed.

    Args:
        session: runs the connections.
        protocol: the venue's messages.
    """

    def __init__(self, session: Session, protocol: StreamProtocol) -> None:
        super().__init__()
        self._session, self._protocol = session, protocol
        self._account = [
            ReconnectingWebSocket(session, protocol, self, partial(protocol.account_url, topics), account_topics=topics)
            for topics in protocol.account_topics
        ]
        self._prices: list[ReconnectingWebSocket] = []
        self._connection_of: dict[str, ReconnectingWebSocket] = {}
        self._down: dict[ReconnectingWebSocket, str] = dict.fromkeys(self._account, "not connected yet")
        self._started = False
        self._snapshot_wanted = ""  # why; "": none is wanted
        self._snapshot_due_at = -math.inf

    def __repr__(self) -> str:
        connections = [*self._account, *self._prices]
        up = sum(connection.is_subscribed for connection in connections)
        return (
            f"<Streams: {up} of {len(connections)} connections subscribed, {len(self.subscriptions)} symbols, "
            f"{self.dropped} ticks dropped, {self.unreadable} entries unreadable>"
        )

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose prices are wanted. Returns before they are subscribed."""
        carried: dict[ReconnectingWebSocket, list[str]] = {connection: [] for connection in self._prices}
        for symbol, connection in self._connection_of.items():
            if symbol in symbols:
                carried[connection].append(symbol)
        most = self._protocol.symbols_per_connection
        room = [connection for connection, its in carried.items() for _ in range(most - len(its))][::-1]
        for symbol in sorted(symbols - self._connection_of.keys()):
            if not room:
                connection = self._new_connection()
                carried[connection] = []
                room = [connection] * most
            carried[room.pop()].append(symbol)
        self._connection_of = {symbol: connection for connection, its in carried.items() for symbol in its}
        for connection, its in carried.items():
            connection.set_topics(frozenset(topic for symbol in its for topic in self._protocol.topics(symbol)))
        await super().set_subscriptions(symbols)

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[UpdateChannel]:
        """Open a channel of all updates from now on. If a connection is not up yet, the first update says so."""
        if not self._started:
            self._started = True
            for connection in (*self._account, *self._prices):
                self._start(connection)
        async with super().updates() as channel:
            yield channel

    def expects_prices(self, symbol: str) -> bool:
        """Return whether a symbol's prices are subscribed now, and have a subscriber."""
        return bool(self._channels) and self._connection_of[symbol].is_subscribed

    def reconnect(self, symbol: str, reason: str) -> None:
        """Reconnect the connection of a symbol's prices."""
        self._connection_of[symbol].reconnect(reason)

    def on_connected(self, connection: ReconnectingWebSocket, seconds: float) -> None:
        """Publish that the stream is up once all connections are. The manager then reads what was missed.

        If only prices stay missing, `request_due_snapshot` requests a snapshot of what the account has missed.
        """
        was_down = self._down.pop(connection, None) is not None
        if not (was_down or seconds > _PROMPT):
            return
        if not self._down:
            self._snapshot_wanted = ""  # the snapshot that follows shows it
            self.publish(self.state())
        elif connection in self._account:
            self._snapshot_wanted = "the account's updates arrive again"
            self._snapshot_due_at = trio.current_time() + _PROMPT

    def on_unreadable(self, detail: str, *, of_account: bool = False) -> None:
        """Count an entry that can't be parsed. For one of the account, `request_due_snapshot` requests a snapshot."""
        super().on_unreadable(detail)
        if of_account:
            self._snapshot_wanted = f"an update can't be parsed: {escaped(detail)}"

    def request_due_snapshot(self) -> None:
        """Request a snapshot if the account has missed an update, or one could not be parsed, once in `PAUSE_SECONDS`.

        The state that the stream is up requests it. If prices are missing, the state that the stream is down follows at once.
        """
        now = trio.current_time()
        is_account_down = any(connection in self._down for connection in self._account)
        if self._snapshot_wanted and not is_account_down and now >= self._snapshot_due_at:
            self._snapshot_due_at = now + PAUSE_SECONDS
            self.publish(StreamState(True, now, self._snapshot_wanted))
            self._snapshot_wanted = ""
            if self._down:
                self.publish(self.state())

    def on_disconnected(self, connection: ReconnectingWebSocket, reason: str) -> None:
        """Publish that the stream is down, with the first connection that is lost."""
        were_up = not self._down
        self._down[connection] = reason
        if were_up:
            self.publish(self.state())

    def state(self) -> StreamState:
        """Return whether all connections are up, with the reasons of those that are not."""
        return StreamState(not self._down, trio.current_time(), "; ".join(sorted(set(self._down.values()))))

    def _new_connection(self) -> ReconnectingWebSocket:
        connection = ReconnectingWebSocket(self._session, self._protocol, self, self._protocol.price_url)
        self._prices.append(connection)
        if self._started:
            self._start(connection)
        return connection

    def _start(self, connection: ReconnectingWebSocket) -> None:
        self._session.start_service(connection.run, name=repr(connection))
