"""The address that the page is served at."""

from __future__ import annotations

from typing import Final

from trailing.errors import UsageError

BIND: Final = "127.0.0.1:8787"
"""The address by default. Only this machine can connect to it."""


def parse_bind(bind: str) -> tuple[str, int]:
    """Return the host and the port of ``"HOST:PORT"`` or ``"[IPV6]:PORT"``.

    Raises:
        UsageError: it is no such address.
    """
    host, mark, port = bind.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not mark or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"bind got {bind!r}, wants HOST:PORT, such as {BIND}")
    if ":" in host and not bracketed:
        raise UsageError(f"bind got {bind!r}, wants an IPv6 address in brackets, such as [::1]:8787")
    return (host[1:-1] if bracketed else host), int(port)


def url_of(host: str, port: int) -> str:
    """Return the page's URL."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
