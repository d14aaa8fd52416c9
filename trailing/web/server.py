"""Serve an ASGI application over HTTP/1.1 on trio, within fixed limits.

hypercorn speaks the protocol. The limits of connections and of waits are ours, because hypercorn has none for them: without
them, idle connections would take the file descriptors that the bot needs for its exchange and its store, and a client that
stops reading would keep the bot from ending.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from trailing.web.access import App

MOST_CONNECTIONS: Final = 100
"""The most connections at once. Each further one is closed at once."""

IDLE_SECONDS: Final = 10.0
"""Seconds for which a connection may be open without a complete request."""

SEND_SECONDS: Final = 10.0
"""Seconds for which a client may take nothing of an answer."""

MOST_HEADER_BYTES: Final = 16 * 1024
"""The most bytes of a request's line and headers."""


class _BoundedStream:
    """A connection whose sends have a deadline. hypercorn shields a send, so that nothing else would end it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket: trio.socket.SocketType = stream.socket

    async def receive_some(self, most: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(most))

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(SEND_SECONDS) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self.close()
            raise trio.BrokenResourceError("the client takes nothing")

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        """Close it now. A send or a receive that waits raises ClosedResourceError."""
        self.socket.close()


async def serve_app(app: App, listeners: list[trio.SocketListener], log: Callable[[Exception], None]) -> None:
    """Answer requests until it is cancelled. Then all connections are closed at once.

    Args:
        app: answers them.
        listeners: the sockets, which are closed at the end.
        log: called with an error of a connection.
    """
    config, context, wrapped = _configuration(), WorkerContext(None), ASGIWrapper(app)  # type: ignore[arg-type]
    open_streams = set[_BoundedStream]()

    async def handle(accepted: trio.SocketStream) -> None:
        stream = _BoundedStream(accepted)
        if len(open_streams) >= MOST_CONNECTIONS:
            stream.close()
            return
        open_streams.add(stream)
        try:
            await TCPServer(wrapped, config, context, _STATE, stream)  # type: ignore[arg-type]
        except Exception as error:
            log(error)
        finally:
            open_streams.discard(stream)
            stream.close()

    async with trio.open_nursery() as connections:
        try:
            await trio.serve_listeners(handle, listeners, handler_nursery=connections)
        finally:
            for stream in tuple(open_streams):
                stream.close()


_STATE: Any = {}
"""The state that hypercorn shares between requests. We use none."""


def _configuration() -> Config:
    config = Config()
    config.keep_alive_timeout = IDLE_SECONDS
    config.h11_max_incomplete_size = MOST_HEADER_BYTES
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("trailing.web")
    return config
