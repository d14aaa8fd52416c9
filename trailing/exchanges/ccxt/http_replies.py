"""Which HTTP replies are accepted: none that redirects, none beyond a size, and only JSON objects and lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

_MIB: Final = 2**20


class ReplyLimit(msgspec.Struct, frozen=True):
    """What is read of the reply to an operation.

    Args:
        size: the most bytes of its body, decompressed.
        entries: the most entries of a list in it, because ccxt needs about 100 µs to parse one, and blocks all tasks meanwhile.
    """

    size: int
    entries: int


_LIMITS: Final[Mapping[str, ReplyLimit]] = {
    # All markets of a venue, which are read once, when an exchange is opened. The largest list that was seen has 5 MiB.
    "markets": ReplyLimit(32 * _MIB, 20_000),
    # 10,000 positions of Binance have 5 MiB. Other tasks run while they are parsed.
    "positions": ReplyLimit(8 * _MIB, 20_000),
    # Venues accept at most a few thousand orders of an account.
    "open_stops": ReplyLimit(8 * _MIB, 5_000),
}
_OTHERS: Final = ReplyLimit(4 * _MIB, 5_000)
"""A thousand candles have 0.2 MiB, the prices of all markets of a venue less than 2 MiB."""

_LARGE_EXPONENT: Final = re.compile(r"[+-]?[\d.]+[eE][+-]?\d{3,}")
"""A number of no ordinary size."""

_MOST_NESTED: Final = 20
"""Lists and objects in each entry of a list. A market of Binance has 10."""

_HUGE: Final = "a number with a large exponent: "

_LARGE_EXPONENT_WITHIN: Final = re.compile(r"[\d.][eE][+-]?\d{3}")

_NOT_EXECUTED: Final = frozenset({301, 302, 307, 308})


class Reply(msgspec.Struct):
    """An HTTP reply. Header names are in lower case; status 0: there was no reply."""

    status: int = 0
    headers: Mapping[str, str] = {}
    body: str = ""


class RefusedReply(aiohttp.ClientError):
    """A reply that is not accepted. The message says why."""


class Redirected(RefusedReply):
    """The server answered with a status of 3xx. Its `Location` was not requested.

    Attributes:
        is_not_executed: the server has not executed the request. It says with 301, 302, 307 and 308 that the resource of
            the request is elsewhere, so the request has to be repeated there. 303 may be the reply to a request that was
            executed, and the others are no replies to a request of ours.
    """

    def __init__(self, host: str, status: int, location: str) -> None:
        super().__init__(f"{host} answered {status}, a redirect to {_host_of(location)}, which is not followed")
        self.is_not_executed: bool = status in _NOT_EXECUTED


class TooLarge(RefusedReply):
    """The body, decompressed, is larger than the limit of its operation. The rest was not read."""


def limit_of(operation: str) -> ReplyLimit:
    """Return what is read of the reply to an operation (the port's method name)."""
    return _LIMITS.get(operation, _OTHERS)


def checked_response(limit: Callable[[], ReplyLimit]) -> type[aiohttp.ClientResponse]:
    """Return a class of responses that raise `Redirected` and `TooLarge`. It is for websocket handshakes too.

    Args:
        limit: returns the limit of the request that is running.
    """

    class CheckedResponse(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if 300 <= self.status < 400:
                raise Redirected(self.url.host or "", self.status, self.headers.get("Location", ""))
            return self

        async def read(self) -> bytes:
            if self._body is None:
                try:
                    self._body = await self._read_all(limit().size)
                except BaseException:
                    self.close()  # never used again, because the rest of the body is still to come
                    raise
            return await super().read()

        def get_encoding(self) -> str:
            return "utf-8"  # JSON has no other encoding, and the codecs that a header can name include very slow ones

        async def _read_all(self, most: int) -> bytes:
            body = bytearray()
            while part := await self.content.readany():
                body += part
                if len(body) > most:
                    raise TooLarge(f"the reply of {self.url.host} is larger than {most:,} bytes")
            return bytes(body)

    return CheckedResponse


def parse_body(text: str, most_entries: int) -> dict[str, Any] | list[Any]:
    """Parse a body. Numbers that are not whole become text, so that they are exact.

    A number with a large exponent becomes a text that is no number. ccxt would write it out digit by digit, which blocks all tasks
    for minutes.

    Raises:
        ValueError: it is no JSON object and no list, contains a name twice with different values, is nested too deeply, or
            has too many lists and objects, or a list of too many entries.
    """
    nested = text.count("[") + text.count("{")
    if (
        nested > _MOST_NESTED * most_entries
    ):  # before they are made: a million lists take seconds in a process with many objects
        raise ValueError(f"it has {nested} lists and objects, more than {_MOST_NESTED * most_entries}")
    read = _object if _LARGE_EXPONENT_WITHIN.search(text) is None else _sane_object
    try:
        found = json.loads(text, parse_float=str, object_pairs_hook=read)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict | list):
        raise ValueError("it is no JSON object and no list")  # noqa: TRY004 - a wrong value, as the others
    _check_length(found, most_entries, levels=3)
    return found


def _check_length(found: Any, most: int, *, levels: int) -> None:
    """Refuse a list of too many entries, which is the body or within it, as in `result.list`."""
    if not isinstance(found, dict | list):
        return
    if len(found) > most:
        raise ValueError(f"it has {len(found)} entries, more than {most}")
    if levels and isinstance(found, dict):
        for each in found.values():
            _check_length(each, most, levels=levels - 1)


def _sane_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return _object([(name, _sane(value)) for name, value in pairs])


def _sane(value: Any) -> Any:
    return f"{_HUGE}{value[:20]}" if isinstance(value, str) and _LARGE_EXPONENT.fullmatch(value) else value


def is_huge(value: Any) -> bool:
    """Return whether a value of a reply is a number with a large exponent, before or after `parse_body`."""
    return isinstance(value, str) and (value.startswith(_HUGE) or _LARGE_EXPONENT.fullmatch(value) is not None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and any(found[name] != value for name, value in pairs):
        raise ValueError("a name occurs twice with different values")
    return found


def _host_of(location: str) -> str:
    """Return the host of a location; what else it contains may be a signature."""
    try:
        return urlsplit(location).hostname or "no other host"
    except ValueError:
        return "no host that can be read"


_WORDS: Final = (("sCode", "sMsg"), ("code", "msg"), ("retCode", "retMsg"))
"""The fields of a refusal's code and words: of an order on OKX, of Binance and of Bybit."""


def refusal_words(body: str) -> str:
    """Return the code and the words with which a venue refused an order; "": the body has none."""
    try:
        reply = msgspec.json.decode(body)
    except ValueError:
        return ""
    if not isinstance(reply, dict):
        return ""
    entries = reply.get("data")
    for entry in (*(entries if isinstance(entries, list) else ()), reply):
        for code, words in _WORDS:
            if isinstance(entry, dict) and str(entry.get(code, "0")) != "0" and isinstance(entry.get(words), str):
                return f"{entry[code]} {entry[words]}".strip()
    return ""
