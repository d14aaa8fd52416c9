"""A websocket connection that reconnects when it is lost, and subscribes to a set of topics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set
from typing import Final, TypeAlias

import aiohttp
import msgspec
import trio

from trailing.errors import TrailingError
from trailing.exchanges.ccxt.connection_handler import ConnectionHandler
from trailing.exchanges.ccxt.errors import without_queries
from trailing.exchanges.ccxt.reconnect_delays import reconnect_delays
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import (
    ConnectionExpired,
    Message,
    RequestReply,
    StreamProtocol,
    parse_frame,
)
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import escaped

SILENCE_SECONDS: Final = 10.0
"""Seconds without any frame, pongs included, after which a connection counts as lost. A ping is sent after half of it."""

CONNECT_SECONDS: Final = 5.0
"""Seconds within which a connection must be open."""

_CLOSE_SECONDS = 0.5
"""Seconds to wait for the venue's close frame."""

_BURST = 100
"""Frames to read before other tasks run, where that many are waiting."""

_SPACING = 0.15
"""Seconds between two requests over a connection. Binance takes 10 frames a second, and closes a connection for more."""

_OVERDUE_SECONDS = 0.5
"""Seconds between two checks for messages that were held back long enough."""

_LATE_SECONDS = 1.0
"""If the check for silence runs later than this, our own loop was blocked, so the connection is not to blame."""

_STEADY_SECONDS = 60.0
"""Seconds that a connection must have been open before the delays to reconnect begin anew."""

FRAME_BYTES: Final = 2**20
"""The most bytes of a frame. A larger one costs its connection. The largest of a venue, with 500 orders that were cancelled
at once, has half of it."""

_BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError, TrailingError, trio.TooSlowError)

Socket: TypeAlias = aiohttp.ClientWebSocketResponse

_log = logging.getLogger(__name__)


class ConnectionLost(Exception):
    """The connection can't be used any more. The message says why."""


class ReconnectingWebSocket:
    """A connection to one of a venue's websocket servers. `run` keeps it open.

    Args:
        session: runs the asyncio side.
        protocol: the venue's messages.
        handler: receives updates and the state of the connection.
        get_url: returns the URL to connect to. Called before each attempt.
        account_topics: the topics of a connection of the account, which logs in and is renewed; None: it is for prices.

    Attributes:
        topics: the topics to subscribe to. Without any, nothing is connected, except for the account.
        is_subscribed: whether it is open and subscribed to the topics of the moment when it connected.
    """

    def __init__(
        self,
        session: Session,
        protocol: StreamProtocol,
        handler: ConnectionHandler,
        get_url: Callable[[], Awaitable[str]],
        *,
        account_topics: Sequence[str] | None = None,
    ) -> None:
        self._session, self._protocol, self._handler = session, protocol, handler
        self._get_url = get_url
        self._account = account_topics is not None
        self.topics: Set[str] = frozenset(account_topics or ())
        self.is_subscribed: bool = False
        self._silence = SILENCE_SECONDS
        self._topics_changed, self._replied = trio.Event(), trio.Event()
        self._connect_began_at = self._last_frame_at = 0.0
        self._request_number = 0
        self._reply: RequestReply | None = None
        self._unconfirmed: set[str] = set()  # topics of the present request
        self._refused_topics: set[str] = set()
        self._scope: trio.CancelScope | None = None
        self._lost_reason = ""

    def __repr__(self) -> str:
        kind, state = "account" if self._account else "prices", "subscribed" if self.is_subscribed else "down"
        return f"<ReconnectingWebSocket for {kind}: {state}, {len(self.topics)} topics>"

    def set_topics(self, topics: Set[str]) -> None:
        """Replace the topics to subscribe to."""
        if topics != self.topics:
            self.topics = topics
            self._refused_topics.clear()
            self._topics_changed.set()
            self._topics_changed = trio.Event()

    def reconnect(self, reason: str) -> None:
        """Close the present connection, so that `run` opens another one."""
        self._lost_reason = self._lost_reason or reason
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Keep the connection open, for ever. Cancellation: closes it."""
        delays = reconnect_delays()
        while True:
            if not self._is_needed:
                self._handler.on_connected(self, 0.0)  # no topic is wanted, so none is missing
                await self._topics_changed.wait()
                continue
            self._connect_began_at = trio.current_time()
            reason = await self._serve_connection()
            self.is_subscribed = False
            if not self._is_needed:
                continue
            self._handler.on_disconnected(self, reason)
            if trio.current_time() - self._connect_began_at > _STEADY_SECONDS:
                delays = reconnect_delays()
            await trio.sleep(next(delays))

    @property
    def _is_needed(self) -> bool:
        return self._account or bool(self.topics)

    async def _serve_connection(self) -> str:
        """Connect, and return the reason when the connection is lost."""
        try:
            socket = await self._connect()
        except _BROKEN as error:
            return _reason_of(error)
        self._last_frame_at = trio.current_time()
        self._lost_reason = ""
        tasks = (self._receive, self._check_silence, self._keep_subscribed, self._renew, self._release_overdue)
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                for task in tasks:
                    nursery.start_soon(self._run_until_lost, task, socket)
        finally:
            self._scope = None
            with trio.move_on_after(2 * _CLOSE_SECONDS, shield=True) as scope:
                await self._close(socket)
            if scope.cancelled_caught:
                _log.warning("%s: the socket did not close within %g s", self, 2 * _CLOSE_SECONDS)
        return self._lost_reason

    async def _run_until_lost(self, task: Callable[[Socket], Awaitable[None]], socket: Socket) -> None:
        try:
            await task(socket)
        except (ConnectionLost, *_BROKEN) as error:
            self.reconnect(_reason_of(error))

    async def _connect(self) -> Socket:
        client = self._session.client
        with trio.fail_after(CONNECT_SECONDS):
            url = await self._get_url()
            http, https, socks = client.check_ws_proxy_settings()
            http_session = client.session if socks is None else client.get_socks_proxy_session(socks)
            connecting = http_session.ws_connect(
                url,
                proxy=http or https,
                autoping=False,  # a ping counts as a frame too
                max_msg_size=FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
            return await self._session.run(connecting)  # type: ignore[no-any-return]

    async def _close(self, socket: Socket) -> None:
        try:
            await self._session.run(socket.close())
        except _BROKEN:
            return  # it is closed

    async def _receive(self, socket: Socket) -> None:
        await self._session.run(self._read_frames(socket))

    async def _read_frames(self, socket: Socket) -> None:
        """Read frame after frame. Runs on asyncio."""
        count = 0
        while True:
            frame = await socket.receive()
            self._last_frame_at = trio.current_time()
            match frame.type:
                case aiohttp.WSMsgType.TEXT:
                    self._on_text(frame.data)
                case aiohttp.WSMsgType.PING:
                    await socket.pong(frame.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case _:
                    raise ConnectionLost(f"the venue closed it: {frame.type.name} {frame.data or ''}".rstrip())
            count += 1
            if count % _BURST == 0:
                await asyncio.sleep(0)

    def _on_text(self, text: str) -> None:
        if self._session.on_frame is not None:
            self._session.on_frame(text, self._account)
        try:
            messages = parse_frame(self._protocol, text, self._last_frame_at)
        except (msgspec.DecodeError, RecursionError) as error:  # the latter: nested too deeply
            raise ConnectionLost("a frame was no JSON object") from error
        self._dispatch(messages)

    def _dispatch(self, messages: Iterable[Message]) -> None:
        for message in messages:
            match message:
                case RequestReply():
                    self._on_reply(message)
                case ConnectionExpired():
                    raise ConnectionLost(message.detail)
                case Unreadable():
                    self._handler.on_unreadable(message.detail, of_account=self._account)
                case _:
                    self._handler.on_update(message)

    def _on_reply(self, reply: RequestReply) -> None:
        """Take a reply. A request whose topics are confirmed one by one is answered with the last one."""
        self._unconfirmed.discard(reply.topic)
        if reply.topic and self._unconfirmed:
            return
        self._reply = reply
        self._replied.set()

    async def _check_silence(self, socket: Socket) -> None:
        pinged_at = self._last_frame_at
        while True:
            last_frame_at = self._last_frame_at
            pinged = pinged_at > last_frame_at
            due = last_frame_at + (self._silence if pinged else self._silence / 2)
            await trio.sleep_until(due)
            now = trio.current_time()
            if now - due > _LATE_SECONDS:
                self._last_frame_at = max(self._last_frame_at, now - self._silence / 2)
            if self._last_frame_at > last_frame_at:
                continue
            if pinged:
                raise ConnectionLost(f"no frame for {self._silence:g} s")
            pinged_at = now
            ping = socket.ping() if self._protocol.heartbeat is None else socket.send_str(self._protocol.heartbeat)
            with trio.move_on_after(self._silence / 2) as scope:
                await self._session.run(ping)
            if scope.cancelled_caught:
                raise ConnectionLost(f"no frame for {self._silence:g} s, and a ping could not be sent")

    async def _keep_subscribed(self, socket: Socket) -> None:
        login = self._protocol.login_message() if self._account else None
        if login is not None:
            _raise_if_refused(await self._request(socket, login))
        subscribed: set[str] = set()
        while True:
            changed, wanted = self._topics_changed, self.topics - self._refused_topics
            for topics in self._batches(subscribed - wanted):
                _raise_if_refused(await self._request(socket, self._subscription(topics, subscribe=False), topics))
                subscribed.difference_update(topics)
            for topics in self._batches(wanted - subscribed):
                subscribed.update(await self._subscribe(socket, topics))
            if not self.is_subscribed:
                self.is_subscribed = True
                self._handler.on_connected(self, trio.current_time() - self._connect_began_at)
            await changed.wait()

    async def _subscribe(self, socket: Socket, topics: Sequence[str]) -> Sequence[str]:
        """Subscribe, and return the topics that the venue accepted.

        A refused request is repeated for each half of its topics, so that one bad topic does not block the others.
        """
        refusal = await self._request(socket, self._subscription(topics, subscribe=True), topics)
        if not refusal:
            return topics
        if self._account:
            raise ConnectionLost(refusal)
        if len(topics) == 1:
            _log.warning("the venue refused the subscription to %s: %s", escaped(topics[0]), escaped(refusal))
            self._refused_topics.update(topics)
            return ()
        middle = len(topics) // 2
        return [topic for half in (topics[:middle], topics[middle:]) for topic in await self._subscribe(socket, half)]

    def _batches(self, topics: Set[str]) -> Iterator[Sequence[str]]:
        ordered, size = sorted(topics), self._protocol.topics_per_request
        return (ordered[start : start + size] for start in range(0, len(ordered), size))

    def _subscription(self, topics: Sequence[str], *, subscribe: bool) -> str:
        self._request_number += 1
        return self._protocol.subscription_message(self._request_number, topics, subscribe=subscribe)

    async def _request(self, socket: Socket, text: str, topics: Iterable[str] = ()) -> str:
        """Send a request and wait for its reply, one at a time. Return why it was refused, or "" if it was accepted."""
        self._reply, self._replied, self._unconfirmed = None, trio.Event(), set(topics)
        await self._session.run(socket.send_str(text))
        with trio.move_on_after(self._silence) as scope:
            await self._replied.wait()
        if scope.cancelled_caught or self._reply is None:
            raise ConnectionLost(f"no reply to a request within {self._silence:g} s")
        await trio.sleep(_SPACING)
        return self._reply.error

    async def _renew(self, socket: Socket) -> None:  # noqa: ARG002 - the same signature as the other tasks
        seconds = self._protocol.renewal_seconds if self._account else None
        while seconds is not None:
            await trio.sleep(seconds)
            await self._protocol.renew()

    async def _release_overdue(self, socket: Socket) -> None:  # noqa: ARG002 - the same signature as the other tasks
        while self._account:
            await trio.sleep(_OVERDUE_SECONDS)
            self._dispatch(self._protocol.release_overdue(trio.current_time()))
            self._handler.request_due_snapshot()


def _reason_of(error: BaseException) -> str:
    """Return why a connection was lost, escaped and without the queries of URLs."""
    message = str(error) if isinstance(error, ConnectionLost) else f"{type(error).__name__} {error}".rstrip()
    return escaped(without_queries(message))


def _raise_if_refused(refusal: str) -> None:
    if refusal:
        raise ConnectionLost(refusal)
