"""What systemd is told, through a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio
from recording import RecordingChannel, open_watched, raise_alarm
from trio.testing import MockClock

from trailing.alerts import AlertTargets, open_alerts


class Systemd:
    """The socket of the service manager."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def received(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@trailing-test-{os.getpid()}"
    found = Systemd(name.replace("@", "\0"))
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield found
    found.socket.close()


async def test_systemd_is_told_ready_status_and_stopping(systemd: Systemd, autojump_clock: MockClock) -> None:
    async with open_alerts(AlertTargets()):
        assert systemd.received() == []  # not before a manager is open
    assert systemd.received() == ["STOPPING=1"]
    async with open_watched(RecordingChannel()) as world:
        await trio.sleep(3.0)
        assert sorted(systemd.received()) == ["READY=1", "STATUS=no alert, 1 managers watched"]
        raise_alarm(world, "a test\nof alarms")
        await trio.sleep(3.0)
        assert systemd.received() == ["STATUS=1 alerts, first: The account: a test of alarms."]
    assert systemd.received() == ["STOPPING=1"]


@pytest.mark.parametrize("pid", ["", "own"])
async def test_the_watchdog_is_fed_twice_in_each_interval(
    pid: str, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid else "")
    async with open_watched(RecordingChannel()):
        await trio.sleep(62.0)
        assert systemd.received().count("WATCHDOG=1") == 5


@pytest.mark.parametrize(("usec", "pid"), [("30000000", "1"), ("0", ""), ("soon", "")])
async def test_the_watchdog_of_another_process_or_none_is_not_fed(
    usec: str, pid: str, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    async with open_watched(RecordingChannel()):
        await trio.sleep(62.0)
        assert systemd.received().count("WATCHDOG=1") == 0


async def test_a_socket_that_is_full_or_gone_is_logged_once_and_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        async with open_watched(RecordingChannel()):
            await trio.sleep(60.0)
    assert [entry["event"] for entry in entries if "Systemd" in entry["event"]] == ["SystemdNotReached"]


async def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        async with open_watched(RecordingChannel()):
            await trio.sleep(10.0)
    assert entries == []
