"""Tell systemd that the bot is ready, alive or stopping, by the protocol of `sd_notify`.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import trio

_ABSTRACT = "@"


class SystemdNotifier:
    """Send states to the service manager. Without systemd, it does nothing.

    It reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from the environment.

    Attributes:
        error: why the last message was not sent; None: it was sent, or there is no systemd.
    """

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith(_ABSTRACT) else address
        self._watchdog = _watchdog_seconds() if address else None
        self._is_ready = False
        self._status = ""
        self.error: OSError | None = None

    def note_ready(self) -> None:
        """Say once that the start is complete."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def note_stopping(self) -> None:
        """Say that the process is ending."""
        self._send("STOPPING=1")

    def show(self, status: str) -> None:
        """Show one line in `systemctl status`, if it has changed."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={' '.join(status.split())}")

    async def run_watchdog(self) -> NoReturn:
        """Say twice in each watchdog interval that the event loop runs. Without a watchdog, wait for ever."""
        if self._watchdog is None:
            await trio.sleep_forever()
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self._watchdog / 2)

    def _send(self, state: str) -> None:
        """Send without waiting. systemd's socket takes messages while systemd runs; one that it does not take is left out."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(errors="replace"), self._address)
        except OSError as error:
            self.error = error
        else:
            self.error = None


def _watchdog_seconds() -> float | None:
    """Return the interval of the watchdog of this process in seconds; None: it has none."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
