"""The websockets of a venue's server, with faults: frozen, killed, or with bad frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

_CHUNK = 65_536


class Socket:
    """One websocket connection.

    Attributes:
        topics: the subscribed topics.
        received: every text that was received.
        active_at: when a text was last sent or received, on the running clock.
        delay: seconds until a frame leaves the server. The order of the frames stays.
    """

    def __init__(self, path: str, query: Mapping[str, str], stream: trio.SocketStream) -> None:
        self.path: str = path
        self.query: Mapping[str, str] = query
        self.topics: set[str] = set()
        self.received: list[str] = []
        self.active_at: float = trio.current_time()
        self.delay: float = 0.0
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._outgoing: list[tuple[float, bytes]] = []  # when each frame leaves, on the running clock
        self._something = trio.Event()
        self._sending = trio.Lock()
        self._thawed: trio.Event | None = None
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Socket {self.path} {sorted(self.topics)}>"

    def send(self, value: object) -> None:
        """Push a value as JSON."""
        self.send_text(msgspec.json.encode(value).decode())

    def send_text(self, text: str) -> None:
        """Push a text unchanged. On a frozen connection it is lost."""
        if self._thawed is None:
            self.active_at = trio.current_time()
            self._write(TextMessage(data=text))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame. The connection ends when the client has answered it."""
        if self._thawed is None:
            self._write(CloseConnection(code=code, reason=reason))

    def freeze(self) -> None:
        """Send no frame and no pong, and read nothing. The connection stays open."""
        if self._thawed is None:
            self._thawed = trio.Event()

    def thaw(self) -> None:
        """Continue. Frames pushed meanwhile are lost."""
        if self._thawed is not None:
            self._thawed.set()
            self._thawed = None

    def kill(self) -> None:
        """Break the connection without a close frame."""
        self._scope.cancel()

    async def serve(
        self, headers: list[tuple[bytes, bytes]], trailing_data: bytes, receive: Callable[[Socket, str], None]
    ) -> None:
        """Do the handshake, then handle frames until either side closes the connection."""
        self._protocol.initiate_upgrade_connection(headers, self.path)
        self._protocol.receive_data(trailing_data)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all)
                with suppress(
                    RemoteProtocolError, trio.BrokenResourceError
                ):  # the client closed the connection meanwhile
                    await self._receive_all(receive)
                nursery.cancel_scope.cancel()

    async def _receive_all(self, receive: Callable[[Socket, str], None]) -> None:
        while True:
            for event in self._protocol.events():
                match event:
                    case Request():
                        self._write(AcceptConnection())
                    case Ping():
                        self._write(event.response())
                    case TextMessage():
                        self.received.append(event.data)
                        self.active_at = trio.current_time()
                        receive(self, event.data)
                    case CloseConnection():
                        self._write(event.response())
                        await self._send_waiting()
                        return
                    case _:
                        pass
            data = await self._stream.receive_some(_CHUNK)
            if self._thawed is not None:
                await self._thawed.wait()
            if not data:
                return
            self._protocol.receive_data(data)

    async def _send_all(self) -> None:
        while True:
            await self._something.wait()
            if self._thawed is not None:
                await self._thawed.wait()
            self._something = trio.Event()
            while self._outgoing:
                await trio.sleep_until(self._outgoing[0][0])
                try:
                    await self._send_waiting(trio.current_time())
                except trio.BrokenResourceError:
                    self._scope.cancel()
                    return

    async def _send_waiting(self, until: float = math.inf) -> None:
        async with self._sending:
            due = [data for at, data in self._outgoing if at <= until]
            del self._outgoing[: len(due)]
            await self._stream.send_all(b"".join(due))

    def _write(self, event: Event) -> None:
        try:
            data = self._protocol.send(event)
        except LocalProtocolError:
            return  # the connection is closing
        self._outgoing.append((trio.current_time() + self.delay, data))
        self._something.set()


class Sockets:
    """All websockets of a server. Prices of a silenced symbol are pushed to no subscriber.

    Attributes:
        delay: seconds until a frame leaves the server, on connections that are opened from now on.
    """

    def __init__(self) -> None:
        self.open: list[Socket] = []
        self.opened: int = 0
        self.silent: set[str] = set()
        self.delay: float = 0.0

    def freeze(self) -> None:
        """Freeze the open connections."""
        for socket in self.open:
            socket.freeze()

    def thaw(self) -> None:
        """Continue the open connections."""
        for socket in self.open:
            socket.thaw()

    def kill(self) -> None:
        """Break the open connections."""
        for socket in self.open:
            socket.kill()

    def send_text(self, text: str) -> None:
        """Push a text unchanged to all."""
        for socket in self.open:
            socket.send_text(text)
