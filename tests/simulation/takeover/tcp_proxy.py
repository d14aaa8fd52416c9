"""A TCP proxy to Postgres that can be cut. It holds data back without an error, and delivers them after `mend`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import trio

from trailing.psycopg_trio import read_conninfo

_CHUNK = 65_536


class TcpProxy:
    """A proxy on the loopback interface. `open_tcp_proxy` creates one.

    Attributes:
        address: the address for libpq, in place of the server's own.
    """

    def __init__(self, address: str, connect: Callable[[], Awaitable[trio.SocketStream]]) -> None:
        self.address: str = address
        self._connect = connect
        self._is_open = trio.Event()
        self._is_open.set()

    def cut(self) -> None:
        """Hold back all data in both directions. New connections are accepted and get no data."""
        self._is_open = trio.Event()

    def mend(self) -> None:
        """Pass data again, beginning with those held back."""
        self._is_open.set()

    async def carry(self, client: trio.SocketStream) -> None:
        """Connect one client to the server until one side closes."""
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
            pass  # one side is lost, so that the other one is closed too
        both.cancel()


@asynccontextmanager
async def open_tcp_proxy(conninfo: str) -> AsyncIterator[TcpProxy]:
    """Open a proxy to the server of a conninfo, on a port of this machine."""
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
