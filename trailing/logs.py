"""Logs without credentials: a processor for structlog, and a configuration for who has none.

The library logs through structlog and configures nothing by itself: a bot's own configuration stands. Whatever that
is, it should hold `hide_credentials`, as the last processor before the renderer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import date, datetime, time
from typing import Any, Final, Literal, TextIO, TypeAlias

import msgspec

from trailing.errors import UsageError

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

HIDDEN: Final = "***"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# What credentials are called by exchanges, by Postgres and in HTTP headers. `sign` and `sig` only as words of their
# own (X-BAPI-SIGN), since they begin other words.
_NAME = (
    r"(?:(?:api|access|private|listen)[ _-]?key|secret|passw(?:or)?d|passphrase|pwd|token|authorization|signature"
    r"|credential|cookie|(?<![A-Za-z0-9])sign?(?![A-Za-z0-9]))"
)
_CREDENTIAL_NAME: Final = re.compile(_NAME, re.IGNORECASE)

# name=value, "name": value and ('name', value), as in query strings, JSON, JSON inside JSON, headers and reprs. A value
# without quotes ends at a blank, an ampersand or a quote; one in brackets takes the rest of the line with it.
_NAMED_VALUE: Final = re.compile(
    rf"""(?P<name>{_NAME}[\w-]*(?:[\\"']*\s*[=:]\s*|[\\"']+\s*,\s*))
    (?:
        b?\\+(?P<escaped>["'])(?:(?!\\+(?P=escaped)).)*(?:\\+(?P=escaped))?
      | b?(?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?P=quote)?
      | [\w.]*[\[({{][^\n]*
      | (?:(?:bearer|basic|token)\s+)?[^\s&"']+
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# scheme://user:password@host. A password may hold an @ that should have been escaped, so the last @ counts; digits up
# to a slash are a port, and an @ behind them belongs to the path.
_URL_PASSWORD: Final = re.compile(r"(?P<name>://[^\s:/@]*:)(?!\d{1,5}/)\S*@")
_BEARER: Final = re.compile(r"(?P<name>\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_PRIVATE_KEY: Final = re.compile(r"(?P<name>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)


def hide_credentials(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace credentials in a log entry by ``***``: a structlog processor.

    Hidden are the values of keys that are called like a credential, at any depth of dicts, sequences, structs and
    dataclasses; and in every text, that of exceptions included, what stands behind such a name, passwords in URLs,
    bearer tokens and private keys. It hides too much rather than too little.

    Exceptions that no earlier processor has rendered are rendered here, into ``exception``, since behind this
    processor nobody would look at them. It therefore belongs directly before the renderer, and a `ConsoleRenderer`
    wants ``exception_formatter=structlog.dev.plain_traceback``.

    Args:
        logger: not used.
        method: the name of the log method.
        event_dict: the entry.

    Returns:
        The entry with what had to be hidden replaced. A value that holds a credential comes as plain dicts, lists and
        texts; any other is passed on as it is.
    """
    if event_dict.get("exc_info"):
        from structlog.processors import format_exc_info  # noqa: PLC0415 - importing structlog takes 0.1 s

        event_dict = format_exc_info(logger, method, event_dict)
    return {key: _hide_under(key, value) for key, value in event_dict.items()}


def configure_logging(level: Level = "info", *, json: bool = False, stream: TextIO | None = None) -> None:
    """Configure structlog for the whole process: for the command, and for bots without a configuration of their own.

    Args:
        level: the least level that is printed.
        json: one JSON object a line, instead of text for people.
        stream: where to; None is standard error, as it stands now.

    Raises:
        UsageError: for a level that there isn't.
    """
    if level not in _LEVELS:
        raise UsageError(f"level got {level!r}, wants one of {', '.join(map(repr, _LEVELS))}")
    import structlog  # noqa: PLC0415 - importing it takes 0.1 s, and a bot that never calls this need not wait

    stream = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_credentials,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,  # a logger made at import time has to follow a later configuration
    )


def _hide_under(key: object, value: Any) -> Any:
    """A value without credentials, seen that it stands under this key."""
    if value is not None and isinstance(key, str) and _CREDENTIAL_NAME.search(key):
        return HIDDEN
    plain = _to_plain(value)
    clean = _hide(plain)
    return value if clean == plain else clean


def _hide(plain: Any) -> Any:
    """Plain dicts, lists and texts without credentials."""
    match plain:
        case str():
            return _hide_in_text(plain)
        case bytes() | bytearray() | memoryview():
            text = bytes(plain).decode(errors="replace")
            clean = _hide_in_text(text)
            return plain if clean == text else clean
        case dict():
            return {key: _hide_under(key, value) for key, value in plain.items()}
        case [str() as name, value] if value is not None and _CREDENTIAL_NAME.search(name):
            return type(plain)((name, HIDDEN))  # a pair, as HTTP headers come in
        case list() | tuple():
            return type(plain)(map(_hide, plain))
        case _:
            return plain


def _hide_in_text(text: str) -> str:
    text = _PRIVATE_KEY.sub(rf"\g<name>{HIDDEN}", text)
    text = _URL_PASSWORD.sub(rf"\g<name>{HIDDEN}@", text)
    text = _NAMED_VALUE.sub(rf"\g<name>{HIDDEN}", text)
    return _BEARER.sub(rf"\g<name>{HIDDEN}", text)


def _to_plain(value: Any) -> Any:
    """Structs, dataclasses and sets as dicts and lists, and anything else that isn't plain as its repr."""
    try:
        return msgspec.to_builtins(
            value, enc_hook=_mapping_or_repr, builtin_types=(bytes, bytearray, memoryview, datetime, date, time)
        )
    except RecursionError:
        return repr(value)  # a dict that holds itself: repr knows how to end


def _mapping_or_repr(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _to_json(event_dict: Any, **_: Any) -> str:
    """One line of JSON: money as text and times in ISO form, as the store has them too."""
    return msgspec.json.encode(event_dict, enc_hook=_mapping_or_repr).decode()
