"""No test reaches beyond 127.0.0.1, and here is what happens to one that tries."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import trio

import trailing

ELSEWHERE = "192.0.2.1"  # RFC 5737: reserved, so that it belongs to no host
QUIET = f"""
import contextlib, socket

def test_quietly():
    with contextlib.suppress(OSError):
        socket.create_connection(("{ELSEWHERE}", 443))

def test_after_it():
    pass
"""


def test_a_socket_reaches_no_other_host(reached_beyond: list[str]) -> None:
    with pytest.raises(PermissionError, match=r"not 192\.0\.2\.1"):
        socket.create_connection((ELSEWHERE, 443), timeout=5)
    with socket.socket(type=socket.SOCK_DGRAM) as sender, pytest.raises(PermissionError):
        sender.sendto(b"", (ELSEWHERE, 53))
    assert set(reached_beyond) == {ELSEWHERE}


def test_a_name_is_not_even_looked_up(reached_beyond: list[str]) -> None:
    with pytest.raises(OSError, match=r"not exchange\.invalid"):
        urllib.request.urlopen("http://exchange.invalid/", timeout=5)
    assert reached_beyond == ["exchange.invalid"]


async def test_trio_reaches_no_other_host(reached_beyond: list[str]) -> None:
    with pytest.raises(OSError, match=r"not 192\.0\.2\.1"):
        await trio.open_tcp_stream(ELSEWHERE, 443)
    assert set(reached_beyond) == {ELSEWHERE}


async def test_loopback_is_reached() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        stream = await trio.open_tcp_stream("localhost", listener.socket.getsockname()[1])
        await stream.aclose()


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
async def test_a_real_exchange_can_not_be_opened_by_mistake(venue: str, reached_beyond: list[str]) -> None:
    with pytest.raises(trailing.ExchangeUnreachable):
        async with trailing.open_ccxt(venue, credentials=trailing.Credentials("key", "secret", "passphrase")):
            pass
    assert reached_beyond != []
    assert all(host.endswith((".binance.com", ".bybit.com", ".okx.com")) for host in reached_beyond)


def test_a_test_that_connects_elsewhere_fails_even_if_it_swallows_the_error(tmp_path: Path) -> None:
    """A library that takes the error for a bad line would hide the attempt."""
    guard = Path(__file__).parent / "servers" / "loopback_only.py"
    (tmp_path / "conftest.py").write_text(guard.read_text())
    (tmp_path / "test_quiet.py").write_text(QUIET)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "2 passed, 1 error" in run.stdout
    assert f"the test tried to reach ['{ELSEWHERE}']" in run.stdout
