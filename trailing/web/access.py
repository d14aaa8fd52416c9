"""Decide which requests the page answers: GET only, for the right host, and with the token if there is one."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import trio

from trailing.errors import UsageError

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

LEAST_TOKEN: Final = 16
"""The fewest characters of a token, so that guessing it is hopeless at `PER_SECOND` tries."""

PER_SECOND: Final = 50
"""Requests that are answered per second. Further ones wait, so that they take little of the bot's processor time."""

PAGE, FILES, SESSION = "/", "/static/", "/session"
"""The empty page and its files, which need no token; and the path that exchanges a token for a cookie."""

SESSION_SECONDS: Final = 30 * 86_400

HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(host: str, token: str | None) -> None:
    """Refuse a token that is missing although other machines can connect, or that is too short.

    Raises:
        UsageError: saying what is wanted.
    """
    if token is None:
        if not is_loopback(host):
            raise UsageError(f"bind {host}: other machines can connect to it, so a token is needed")
    elif len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"token wants at least {LEAST_TOKEN} printable ASCII characters without blanks")


class Guard:
    """An ASGI application that passes on only requests that may be answered.

    Args:
        app: answers them.
        host: the address that the server is bound to.
        hosts: further names under which browsers may reach it.
        token: which every request for data has to carry; None: none.
        log: called with an error that the application raised.
    """

    def __init__(
        self, app: App, *, host: str, hosts: Iterable[str], token: str | None, log: Callable[[Exception], None]
    ) -> None:
        self._app, self._token, self._log = app, token, log
        names = {name.lower() for name in hosts}
        if is_loopback(host):
            names |= {"localhost", "127.0.0.1", "[::1]", host}
        self._hosts: frozenset[str] = frozenset(names)
        self._next_at = 0.0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        await self._wait_turn()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, text = refusal
            await answer(send, status, text, *([(b"allow", b"GET")] if status == 405 else ()))
            return
        if scope["path"] == SESSION:
            await self._open_session(scope, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            self._log(error)
            if not started:
                await answer(send, 500, "the page failed; the log says why")

    async def _wait_turn(self) -> None:
        now = trio.current_time()
        self._next_at = max(now, self._next_at) + 1 / PER_SECOND
        if self._next_at > now + 1:  # a second's worth may come at once
            await trio.sleep_until(self._next_at - 1)

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if scope["http_version"] not in ("1.0", "1.1"):
            return 505, "HTTP/1.1 only"
        if scope["method"] != "GET":
            return 405, "GET only"
        if self._hosts and _host_name(headers.get(b"host", b"")) not in self._hosts:
            return 421, "unknown host"
        path = scope["path"]
        is_open = path == PAGE or path.startswith(FILES)
        if is_open or self._token is None or self._is_allowed(scope, headers):
            return None
        return 401, "a token is needed"

    def _is_allowed(self, scope: Message, headers: dict[bytes, bytes]) -> bool:
        assert self._token is not None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer":
            return hmac.compare_digest(given, self._token.encode())
        if scope["path"] == SESSION:
            return False
        session = _cookie(headers.get(b"cookie", b""), self._cookie_name(scope))
        return hmac.compare_digest(session, self._session())

    def _session(self) -> bytes:
        """Return the value of the cookie. It follows from the token, and does not reveal it."""
        assert self._token is not None
        return hmac.new(self._token.encode(), b"trailing web session", sha256).hexdigest().encode()

    @staticmethod
    def _cookie_name(scope: Message) -> bytes:
        """Return the name of the cookie, with the port, because browsers send a cookie to every port of its host."""
        server = scope.get("server") or ("", 0)
        return b"trailing_%d" % server[1]

    async def _open_session(self, scope: Message, send: Send) -> None:
        if self._token is None:
            await answer(send, 204, "")
            return
        cookie = b"%s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d"
        value = cookie % (self._cookie_name(scope), self._session(), SESSION_SECONDS)
        await answer(send, 204, "", (b"set-cookie", value))


async def answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Send a short answer in plain text."""
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers, *HEADERS]})
    await send({"type": "http.response.body", "body": text.encode()})


def _host_name(value: bytes) -> str:
    """Return the host of a Host header, without the port."""
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        name, mark, _ = text.partition("]")
        return name + mark
    return text.partition(":")[0]


def _cookie(header: bytes, name: bytes) -> bytes:
    """Return the value of a cookie; empty: it is not there."""
    for pair in header.split(b";"):
        key, _, value = pair.strip().partition(b"=")
        if key == name:
            return value
    return b""
