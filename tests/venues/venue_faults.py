"""Faults between a client and a venue by the count of requests: delays, lost connections, other replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec


class Request(msgspec.Struct, frozen=True):
    """A client's request. `params` come from query and body; `payload` is the signed text."""

    method: str
    path: str
    params: Mapping[str, Any]
    payload: str
    headers: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The method and the path."""
        return f"{self.method} {self.path}"


class Reply(msgspec.Struct, frozen=True):
    """A reply."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {}


class RawReply(msgspec.Struct, frozen=True):
    """Bytes that are sent instead of a reply, as they are.

    Args:
        head: sent once.
        endless: sent again and again after it, until the client closes the connection; empty: the connection stays open.
        closes: close the connection after `head`.
    """

    head: bytes
    endless: bytes = b""
    closes: bool = False


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply in JSON."""
    return Reply(msgspec.json.encode(value), status, {"Content-Type": "application/json", **(headers or {})})


def always(_: int) -> bool:
    """Match every request."""
    return True


def any_request(_: Request) -> bool:
    """Match any parameters."""
    return True


def nth(number: int) -> Callable[[int], bool]:
    """Match the n-th request, counted from 1."""
    return lambda count: count == number


def every(number: int) -> Callable[[int], bool]:
    """Match every n-th request."""
    return lambda count: count % number == 0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault.

    Args:
        on: an operation by the port's name (``"place_stop"``), an endpoint (``"POST /v5/order/create"``), or ``"*"``.
        about: whether a request matches. Only matching requests are counted.
        when: whether it occurs, by the count of matching requests since the fault was added, from 1.
        delay: seconds on the way to the venue; `reply_delay`: on the way back.
        drop: the connection ends ``"before"`` the request is executed, or ``"after"``, without an answer; ``"reset"``: after
            it, and is not closed but reset.
        reply: is answered instead; the request is executed only where `executed` is true. `raw`: the same in bytes.
        truncated: the answer ends in its middle, and so does the connection.
    """

    on: str
    about: Callable[[Request], bool] = any_request
    when: Callable[[int], bool] = always
    delay: float = 0.0
    reply_delay: float = 0.0
    drop: Literal["before", "after", "reset"] | None = None
    reply: Reply | None = None
    raw: RawReply | None = None
    executed: bool = False
    truncated: bool = False


class Treatment(msgspec.Struct, frozen=True):
    """The effect of all faults on one request."""

    delay: float
    reply_delay: float
    drop: Literal["before", "after", "reset"] | None
    reply: Reply | RawReply | None
    executed: bool
    truncated: bool


class Faults:
    """The active faults. `latency`: the round trip of every request in seconds."""

    def __init__(self) -> None:
        self.latency: float = 0.0
        self._faults: list[Fault] = []
        self._matched: Counter[int] = Counter()

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults. The latency stays."""
        self._faults.clear()
        self._matched.clear()

    def treat(self, operation: str, request: Request) -> Treatment:
        """Count a request, and return the effect of the faults on it."""
        striking = []
        for index, fault in enumerate(self._faults):
            if fault.on in {operation, request.endpoint, "*"} and fault.about(request):
                self._matched[index] += 1
                if fault.when(self._matched[index]):
                    striking.append(fault)
        reply = next((found for fault in striking for found in (fault.reply, fault.raw) if found is not None), None)
        return Treatment(
            self.latency / 2 + sum(fault.delay for fault in striking),
            self.latency / 2 + sum(fault.reply_delay for fault in striking),
            next((fault.drop for fault in striking if fault.drop is not None), None),
            reply,
            reply is None or any(fault.executed for fault in striking),
            any(fault.truncated for fault in striking),
        )
