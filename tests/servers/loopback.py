"""A network between a program and its server that a test can cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Network:
    """Forwards to a server from a port on 127.0.0.1.

    Attributes:
        dsn: the server's address through this network.
        connections: how many were made.
    """

    def __init__(self, dsn: str) -> None:
        self._params = conninfo_to_dict(dsn)
        self._up = trio.Event()
        self._up.set()
        self.dsn = ""
        self.connections = 0
        self._only_replies = False

    def cut(self, *, replies: bool = False) -> None:
        """From now on nothing arrives, and nobody is told; new connections get no answer. `replies`: the other way does."""
        self._only_replies = replies
        self._up = trio.Event()

    def heal(self) -> None:
        """Deliver again, first what has been under way since the cut."""
        self._up.set()

    async def _open_server(self) -> trio.SocketStream:
        host, port = str(self._params.get("host") or "/var/run/postgresql"), int(self._params.get("port") or 5432)
        if host.startswith("/"):
            return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
        return await trio.open_tcp_stream(host, port)

    async def _forward(self, client: trio.SocketStream) -> None:
        self.connections += 1
        await self._up.wait()
        try:
            async with client, await self._open_server() as server, trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, client, server, nursery.cancel_scope)
                nursery.start_soon(partial(self._copy, server, client, nursery.cancel_scope, is_reply=True))
        except OSError:
            pass  # the server is gone; the client sees its connection close

    async def _copy(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        both: trio.CancelScope,
        *,
        is_reply: bool = False,
    ) -> None:
        try:
            async for data in source:
                if is_reply or not self._only_replies:
                    await self._up.wait()
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        both.cancel()


@asynccontextmanager
async def open_network(dsn: str) -> AsyncIterator[Network]:
    """A network to the server of an address."""
    network = Network(dsn)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, network._forward, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        params: dict[str, Any] = {**conninfo_to_dict(dsn), "host": "127.0.0.1"}
        params["port"] = listener.socket.getsockname()[1]
        network.dsn = make_conninfo("", **params)
        yield network
        nursery.cancel_scope.cancel()
