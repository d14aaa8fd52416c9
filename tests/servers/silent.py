"""Addresses on 127.0.0.1 at which no server answers, and a network port as seen from its client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

HOST = "127.0.0.1"


@contextmanager
def listening(backlog: int = 100) -> Iterator[socket.socket]:
    """A server that accepts connections only when the test does, and answers nothing."""
    with closing(socket.socket()) as server:
        server.bind((HOST, 0))
        server.listen(backlog)
        server.settimeout(60)
        yield server


@contextmanager
def full() -> Iterator[int]:
    """A port that drops packets: its queue of connections is full, so that another one waits for ever."""
    with ExitStack() as stack:
        server = stack.enter_context(listening(backlog=0))
        for _ in range(4):
            client = stack.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield port_of(server)


@contextmanager
def silent() -> Iterator[int]:
    """A port whose connections are made, and on which nothing is ever answered."""
    with listening() as server:
        yield port_of(server)


@contextmanager
def closed() -> Iterator[int]:
    """A port that refuses connections, because no server listens there."""
    with listening() as server:
        port = port_of(server)
    yield port


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def wait_for_client(server: socket.socket) -> socket.socket:
    """Wait until a client has connected and has sent something: it waits for the answer from then on."""
    client, _ = server.accept()
    client.settimeout(60)
    assert client.recv(1)
    return client
