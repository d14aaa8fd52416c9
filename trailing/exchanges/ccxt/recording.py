"""Records the HTTP requests of ccxt's client with their replies, for the report of `trailing check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec
import trio

from trailing.exchanges.ccxt.session import current_operation


class HttpRequest(msgspec.Struct, kw_only=True):
    """An HTTP request as it was sent, with its reply. It contains signatures: clean it before it is shown.

    The headers of the request are left out, because they contain the key.

    Args:
        at: when it was sent, in seconds on the running clock.
        operation: the port's method name, or the word that a call gives in its place.
        method, url, body: as it was sent; an empty body is "".
        seconds: until the reply or the error; None: neither came.
        status: of the reply; 0: there was none.
        headers: of the reply, with names in lower case.
        reply: the body of the reply.
        error: the kind of error that ended it; "": none.
    """

    at: float
    operation: str
    method: str
    url: str
    body: str
    seconds: float | None = None
    status: int = 0
    headers: Mapping[str, str] = {}
    reply: str = ""
    error: str = ""


def record_requests(client: Any, note: Callable[[HttpRequest], object]) -> None:
    """Let a client call `note` with every request that it sends. The reply is filled in later.

    Args:
        client: ccxt's client, before its first use: for `open_ccxt(configure=…)`.
        note: called before the request is sent, once for each.
    """
    fetch, on_rest_response = client.fetch, client.on_rest_response

    async def fetch_and_record(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        request = HttpRequest(
            at=trio.current_time(),
            operation=current_operation(),
            method=method,
            url=url,
            body=body if isinstance(body, str) else "",
        )
        note(request)
        _sent.set(request)
        try:
            return await fetch(url, method, headers, body)
        except BaseException as error:
            request.error = type(error).__name__
            raise
        finally:
            request.seconds = trio.current_time() - request.at

    def on_response(
        status: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *rest: Any
    ) -> Any:
        request = _sent.get()
        if request is not None:
            request.status, request.reply = status, body
            request.headers = {name.lower(): value for name, value in headers.items()}
        return on_rest_response(status, reason, url, method, headers, body, *rest)

    client.fetch, client.on_rest_response = fetch_and_record, on_response


_sent: ContextVar[HttpRequest | None] = ContextVar("sent", default=None)
