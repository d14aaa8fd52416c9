"""Replies that make no sense, each made from the reply that a venue would give."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from venue_faults import RawReply, Reply
from venue_server import API_KEY, SECRET

Garble: TypeAlias = Callable[[Reply], Reply | RawReply]

JSON: Final = {"Content-Type": "application/json"}
SUCCESS: Final = frozenset({"code", "retCode", "sCode"})
"""Names that say whether a request was accepted."""

HTML: Final = b"<html><head><title>Attention required</title></head><body>Please log in.</body></html>"
LONG_TEXT: Final = "9" * 5000


def body(content: bytes, status: int = 200, **headers: str) -> Garble:
    """Return a garble with another body."""
    return lambda _: Reply(
        content, status, {**JSON, **{name.replace("_", "-"): each for name, each in headers.items()}}
    )


def raw(head: bytes, *, endless: bytes = b"", closes: bool = False) -> Garble:
    """Return a garble with other bytes."""
    return lambda _: RawReply(head, endless, closes)


def around(before: str, after: str = "") -> Garble:
    """Return a garble that sends the right body between other texts."""
    return lambda good: Reply(before.encode() + good.body + after.encode(), 200, JSON)


def each_value(change: Callable[[Any], Any], names: str = ".*") -> Garble:
    """Return a garble that changes the values under some names, inside of objects and lists, but no code of success."""

    def changed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {name: changed(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [changed(each, name) for each in value]
        return value if name in SUCCESS or not re.fullmatch(names, name, re.IGNORECASE) else change(value)

    def garble(good: Reply) -> Reply:
        text = json.dumps(changed(json.loads(good.body)))
        for word, number in (("huge", "1e400"), ("nan", "NaN"), ("infinite", "-Infinity")):
            text = text.replace(f'"<{word}>"', number)
        return Reply(text.encode(), 200, JSON)

    return garble


def each_number(change: Callable[[Any], Any]) -> Garble:
    """Return a garble that changes every number, as text too."""

    def is_number(value: Any) -> bool:
        if isinstance(value, bool):
            return False
        try:
            float(value)
        except (TypeError, ValueError):
            return False
        return True

    return each_value(lambda value: change(value) if is_number(value) else value)


def swapped(good: Reply) -> Reply:
    """Send a list where an object belongs, and an object where a list does."""

    def swap(value: Any) -> Any:
        if isinstance(value, list):
            return {str(number): each for number, each in enumerate(value)}
        return [value]

    found = json.loads(good.body)
    inner = found.get("result") if isinstance(found, dict) else None
    found = {**found, "result": swap(inner)} if inner is not None else swap(found)
    return Reply(json.dumps(found).encode(), 200, JSON)


def twice(good: Reply) -> Reply:
    """Send every name twice, with another value the second time."""

    def doubled(value: Any) -> str:
        if isinstance(value, dict):
            return (
                "{"
                + ",".join(f'{json.dumps(name)}:{doubled(each)},{json.dumps(name)}:"7"' for name, each in value.items())
                + "}"
            )
        if isinstance(value, list):
            return "[" + ",".join(map(doubled, value)) + "]"
        return json.dumps(value)

    return Reply(doubled(json.loads(good.body)).encode(), 200, JSON)


def nested(good: Reply) -> Reply:
    """Replace every number by a deeply nested list, which can just be parsed."""
    reply = each_number(lambda _: "<deep>")(good)
    assert isinstance(reply, Reply)
    return Reply(reply.body.replace(b'"<deep>"', b"[" * 400 + b"]" * 400), 200, JSON)


def length(change: int) -> Garble:
    """Return a garble that states a wrong length. A body that is shorter than stated never ends."""

    def garble(good: Reply) -> RawReply:
        size = len(good.body) + change
        return RawReply(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size + good.body
        )

    return garble


def unfinished(good: Reply) -> RawReply:
    """Send the body in a chunk, and no last chunk."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return RawReply(head + b"%x\r\n" % len(good.body) + good.body + b"\r\n")


def packed(good: Reply) -> Reply:
    """Send the first half of the compressed body."""
    whole = gzip.compress(good.body)
    return Reply(whole[: len(whole) // 2], 200, {**JSON, "Content-Encoding": "gzip"})


ECHO: Final = json.dumps(
    {"code": -77777, "retCode": 77777, "msg": f"{API_KEY} {SECRET}", "retMsg": f"{API_KEY} {SECRET}"}
)

NONSENSE: Final[Mapping[str, Garble]] = {
    "nothing": body(b""),
    "blanks": body(b" \r\n\t "),
    "null": body(b"null"),
    "true": body(b"true"),
    "a number": body(b"0"),
    "a text": body(b'"OK"'),
    "an empty object": body(b"{}"),
    "a list of null": body(b"[null]"),
    "a list of lists": body(b"[[]]"),
    "a list of empty objects": body(b"[{}]"),
    "a list of numbers": body(b"[1, 2, 3]"),
    "half of it": lambda good: Reply(good.body[: len(good.body) // 2], 200, JSON),
    "text before it": around("jsonp("),
    "text after it": around("", ")"),
    "two of them": lambda good: Reply(good.body * 2, 200, JSON),
    "a byte order mark": around("\ufeff"),
    "a page": body(HTML, Content_Type="text/html"),
    "a page called JSON": body(HTML),
    "an object for a list, or a list for an object": swapped,
    "every value null": each_value(lambda _: None),
    "every value true": each_value(lambda _: True),
    "every value an empty list": each_value(lambda _: []),
    "every value an empty object": each_value(lambda _: {}),
    "every value an empty text": each_value(lambda _: ""),
    "every value a control character": each_value(lambda _: "\x1b[2J\u202e\x00"),
    "every value a long text": each_value(lambda _: "x" * 20_000),
    "every number with a huge exponent": each_number(lambda _: "1e999999999"),
    "every number beyond floats": each_number(lambda _: "<huge>"),
    "every number with 5,000 digits": each_number(lambda _: LONG_TEXT),
    "every number a whole one of 5,000 digits": lambda good: Reply(
        json.dumps(json.loads(good.body, parse_int=lambda each: int(each) if each == "0" else "<digits>"))
        .replace('"<digits>"', LONG_TEXT)
        .encode(),
        200,
        JSON,
    ),
    "every number NaN": each_number(lambda _: "<nan>"),
    "every number infinite": each_number(lambda _: "<infinite>"),
    "every number NaN as text": each_number(lambda _: "NaN"),
    "every number a word": each_number(lambda _: "abc"),
    "every number an object": each_number(lambda each: {"value": each}),
    "every number deeply nested": nested,
    "ids that are lists": each_value(lambda _: [], ".*id"),
    "ids that are objects": each_value(lambda each: {"id": each}, ".*id"),
    "ids that are true": each_value(lambda _: True, ".*id"),
    "ids that are negative": each_value(lambda _: -1, ".*id"),
    "ids with a fraction": each_value(lambda _: 1.5, ".*id"),
    "ids of 20,000 characters": each_value(lambda _: "7" * 20_000, ".*id"),
    "ids with control characters": each_value(lambda _: "7\x1b[2J\n", ".*id"),
    "empty ids": each_value(lambda _: "", ".*id"),
    "an unknown symbol": each_value(lambda _: "NOSUCHUSDT", "symbol"),
    "a symbol that is a list": each_value(lambda _: ["BTCUSDT"], "symbol"),
    "another side": each_value(lambda _: "UP", ".*side"),
    "an unknown status": each_value(lambda _: "SLEEPING", ".*status"),
    "every name twice": twice,
    "100,000 brackets": body(b"[" * 100_000),
    "nested objects without an end": body(b'{"a":' * 100_000),
    "a million empty lists": body(b"[" + b"[]," * 1_000_000 + b"[]]"),
    "UTF-16": lambda good: Reply(good.body.decode().encode("utf-16"), 200, JSON),
    "bytes that are no UTF-8": lambda good: Reply(b"\xff\xfe\xfd" + good.body, 200, JSON),
    "an unknown charset": body(HTML, Content_Type="application/json; charset=zlib_codec"),
    "an error of an unknown code": body(b'{"code":-77777,"msg":"?","retCode":77777,"retMsg":"?"}'),
    "an error that shows the keys": body(ECHO.encode(), 400),
    "an error that shows the keys, with status 200": body(ECHO.encode()),
    "status 500 with the right body": lambda good: Reply(good.body, 500, JSON),
    "status 403 with a page": body(HTML, 403, Content_Type="text/html"),
    "status 404 without a body": body(b"", 404),
    "status 999": body(b"{}", 999),
    "no gzip, called gzip": body(b"{}", Content_Encoding="gzip"),
    "half of a gzip": packed,
    "no end of the chunks": unfinished,
    "too large a length": length(+100),
    "too small a length": length(-3),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", closes=True),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", closes=True),
    "chunks of no size": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", closes=True
    ),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n", closes=True),
    "a line without an end": raw(b"HTTP/1.1 200 " + b"O" * 100_000, closes=True),
    "too many headers": raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", closes=True),
    "a header without an end": raw(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000, closes=True),
    "a connection that closes": raw(b"", closes=True),
    "a connection that says nothing": raw(b""),
    "no end of interim replies": raw(b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
}
"""By what they are. Only those of `REFUSING` prove that the venue refused the request."""

REFUSING: Final = frozenset({"status 403 with a page"})
"""Binance and Bybit document this status for an address that sent too many requests."""

HANGING: Final = frozenset(
    {
        "no end of the chunks",
        "too large a length",
        "a connection that says nothing",
        "no end of interim replies",
    }
)
"""Those that only the request's own time-out ends."""
