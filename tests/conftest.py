"""What all tests share: deterministic hypothesis runs, another profile to look for more, a PostgreSQL server, no network."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from postgres_server import OwnServer, a_schema, a_server, in_schema

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with a_server() as address:
        yield address


@pytest.fixture
def postgres_url(dsn: str) -> Iterator[str]:
    """The address of a store on that server, in a schema of its own that is not there yet."""
    with a_schema(dsn) as schema:
        yield in_schema(dsn, schema)


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A PostgreSQL server that nobody else uses, to be killed."""
    server = OwnServer()
    yield server
    server.close()


_REACHED_BEYOND: list[str] = []


def pytest_configure() -> None:
    """Let this process reach nothing but 127.0.0.1, whichever library tries; sockets of the file system aside."""
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _to_loopback_only(getattr(socket.socket, name)))
    look_up = socket.getaddrinfo

    def look_up_loopback_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        _check(host)
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = look_up_loopback_only


def _to_loopback_only(reach: Callable[..., Any]) -> Callable[..., Any]:
    def reach_loopback_only(self: socket.socket, *args: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _check(args[-1][0])
        return reach(self, *args)

    return reach_loopback_only


def _check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return
    try:
        is_loopback = ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        _REACHED_BEYOND.append(name)
        raise PermissionError(f"a test may only reach 127.0.0.1, not {name}")


@pytest.fixture
def reached_beyond() -> Iterator[list[str]]:
    """The hosts that this test has tried to reach, and may."""
    yield _REACHED_BEYOND
    _REACHED_BEYOND.clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test that has tried, also where somebody took the error for a bad line."""
    yield
    hosts, _REACHED_BEYOND[:] = list(_REACHED_BEYOND), []
    if hosts:
        pytest.fail(f"the test tried to reach {hosts}")
