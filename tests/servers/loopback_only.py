"""No test reaches beyond 127.0.0.1: hooks and a fixture for a conftest."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_REACHED_BEYOND: list[str] = []


def pytest_configure() -> None:
    """Let this process reach nothing but 127.0.0.1, whichever library tries; sockets of the file system aside."""
    for name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, name, _to_loopback_only(getattr(socket.socket, name)))
    look_up = socket.getaddrinfo

    def look_up_loopback_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        flags = kwargs.get("flags", args[4] if len(args) > 4 else 0)
        if (
            _is_address(host) or not flags & socket.AI_NUMERICHOST
        ):  # else nobody is asked: it is not even a name's look-up
            _check(host)
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = look_up_loopback_only


def _to_loopback_only(reach: Callable[..., Any]) -> Callable[..., Any]:
    def reach_loopback_only(self: socket.socket, *args: Any) -> Any:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _check(args[-1][0])
        return reach(self, *args)

    return reach_loopback_only


def _is_address(host: Any) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return
    if not _is_address(name) or not ipaddress.ip_address(name).is_loopback:
        _REACHED_BEYOND.append(name)
        raise PermissionError(f"a test may only reach 127.0.0.1, not {name}")


@pytest.fixture
def reached_beyond() -> Iterator[list[str]]:
    """The hosts that this test has tried to reach, and may."""
    yield _REACHED_BEYOND
    _REACHED_BEYOND.clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Fail a test that has tried, also if the code took the error for a bad connection."""
    yield
    hosts, _REACHED_BEYOND[:] = list(_REACHED_BEYOND), []
    if hosts:
        pytest.fail(f"the test tried to reach {hosts}")
