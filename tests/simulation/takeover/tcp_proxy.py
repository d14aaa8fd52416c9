"""A line to Postgres that can be cut: what is under way is neither lost nor told of, and arrives when it is mended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import trio

from trailing.psycopg_trio import read_conninfo

_CHUNK = 65_536


class TcpProxy:
    """A loopback proxy; `open_line` makes one.

    Attributes:
        address: what libpq takes, in place of the server's own.
    """

    def __init__(self, address: str, connect: Callable[[], Awaitable[trio.SocketStream]]) -> None:
        self.address: str = address
        self._connect = connect
        self._is_open = trio.Event()
        self._is_open.set()

    def cut(self) -> None:
        """Let nothing pass any more, in either direction. New connections are taken, and hear nothing."""
        self._is_open = trio.Event()

    def mend(self) -> None:
        """Let everything pass again, what was held up first."""
        self._is_open.set()

    async def carry(self, client: trio.SocketStream) -> None:
        """Carry one connection to the server and back, until an end of it is closed."""
        async with client:
            await self._is_open.wait()
            async with await self._connect() as server, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
                nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)

    async def _pass_on(self, source: trio.SocketStream, to: trio.SocketStream, both: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(_CHUNK):
                await self._is_open.wait()
                await to.send_all(data)
        except trio.BrokenResourceError:
            pass  # an end of it is gone, and so is the other one then
        both.cancel()


@asynccontextmanager
async def open_tcp_proxy(conninfo: str) -> AsyncIterator[TcpProxy]:
    """Open a line to the server of a conninfo, on a port of this machine."""
    params = read_conninfo(conninfo)
    host, port = str(params.get("host", "127.0.0.1")), str(params.get("port", "5432"))
    connect: Callable[[], Awaitable[trio.SocketStream]]
    if host.startswith("/"):
        connect = partial(trio.open_unix_socket, f"{host}/.s.PGSQL.{port}")
    else:
        connect = partial(trio.open_tcp_stream, host, int(port))
    user, password = quote(str(params.get("user", ""))), quote(str(params.get("password", "")))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    own_port = listener.socket.getsockname()[1]
    proxy = TcpProxy(f"postgresql://{user}:{password}@127.0.0.1:{own_port}/{params.get('dbname', '')}", connect)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.carry, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
