"""Logs without credentials, by a processor for structlog and a configuration for bots.

The library logs through structlog and does not configure it, so that a bot's own configuration applies. Each
configuration should have `hide_credentials` as the last processor before the renderer.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, Literal, TextIO, TypeAlias

import msgspec

from trailing.errors import UsageError

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

HIDDEN: Final = "***"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# The names of credentials at exchanges, in Postgres and in HTTP headers. `sign` and `sig` count only as whole words
# (X-BAPI-SIGN), because they begin other words.
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
    """Replace credentials in a log entry by ``***``. It is a structlog processor.

    It hides the value of each key that is named like a credential, at any depth of dicts, sequences, structs and
    dataclasses. In every text, exceptions included, it hides the values after such names, passwords in URLs, bearer
    tokens and private keys. It hides too much rather than too little.

    It renders exceptions that no earlier processor has rendered into ``exception``, because a later processor would
    print them with their credentials. So place it directly before the renderer, and give a `ConsoleRenderer`
    ``exception_formatter=structlog.dev.plain_traceback``.

    Args:
        logger: not used.
        method: the name of the log method.
        event_dict: the entry.

    Returns:
        The entry without credentials. A value that holds one is returned as plain dicts, lists and texts. Any other
        value is returned unchanged.
    """
    if event_dict.get("exc_info"):
        from structlog.processors import format_exc_info  # noqa: PLC0415 - importing structlog takes 0.1 s

        event_dict = format_exc_info(logger, method, event_dict)
    return {key: _hide_under(key, value) for key, value in event_dict.items()}


def configure_logging(level: Level = "info", *, json: bool = False, stream: TextIO | None = None) -> None:
    """Configure structlog for the whole process.

    The command uses it, and so can a bot that has no configuration of its own.

    The text for people has money and times in plain digits, leaves out fields that are None, and escapes unprintable
    characters. So a text from outside can't send escape sequences to a terminal or forge a line. The lines of a
    traceback are indented.

    Args:
        level: the lowest level that is printed.
        json: print one JSON object per line instead of text for people.
        stream: where the log goes; None: the present standard error.

    Raises:
        UsageError: the level is unknown.
    """
    if level not in _LEVELS:
        raise UsageError(f"level got {level!r}, wants one of {', '.join(map(repr, _LEVELS))}")
    import structlog  # noqa: PLC0415 - importing it takes 0.1 s, and a bot that does not call this need not wait

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
            *([] if json else [_write_for_people]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,  # a logger made at import time has to follow a later configuration
    )


def escape_unprintable(text: str, *, keep: str = "") -> str:
    r"""Return a text with each unprintable character as its escape sequence, such as ``\x1b``.

    Control characters, line separators and marks that change the writing direction are unprintable.

    Args:
        keep: characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)


def escape_json(text: str) -> str:
    r"""Return JSON with the unprintable characters of its strings escaped, such as ``\u202e``.

    Args:
        text: valid JSON; line ends between its tokens stay.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def _write_for_people(_: Any, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write each field of a log entry as one line of text.

    A traceback keeps its lines, which are indented.
    """
    written: dict[str, Any] = {}
    for key, value in event_dict.items():
        if key == "exception" and isinstance(value, str):
            written[key] = escape_unprintable(value, keep="\n").replace("\n", "\n    ")
        elif value is not None:
            written[escape_unprintable(key)] = escape_unprintable(_write_value(value))
    return written


def _write_value(value: Any) -> str:
    match value:
        case str():
            return value
        case Decimal():
            return f"{value:f}"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case _ if not _has_own_text(value):
            try:
                return _to_json(value)
            except (RecursionError, TypeError, ValueError):
                return repr(value)
        case _:
            return str(value)


def _has_own_text(value: object) -> bool:
    """Return whether `str` gives another text than `repr`."""
    return "__str__" in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}


def _hide_under(key: object, value: Any) -> Any:
    """Return a value without credentials.

    If its key is named like a credential, the whole value is hidden.
    """
    if value is not None and isinstance(key, str) and _CREDENTIAL_NAME.search(key):
        return HIDDEN
    plain = _to_plain(value)
    clean = _hide(plain)
    return value if clean == plain else clean


def _hide(plain: Any) -> Any:
    """Return plain dicts, lists and texts without credentials."""
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
    """Return a value as plain dicts, lists and texts.

    Structs and dataclasses become dicts, and sets become lists. Any other value that isn't plain becomes its repr.
    """
    try:
        return msgspec.to_builtins(
            value, enc_hook=_mapping_or_repr, builtin_types=(bytes, bytearray, memoryview, datetime, date, time)
        )
    except RecursionError:
        return repr(value)  # a dict that holds itself; repr stops there


def _mapping_or_repr(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _to_json(event_dict: Any, **_: Any) -> str:
    """Return one line of JSON.

    Money is text, and times are in ISO form, as in the store.
    """
    return escape_json(msgspec.json.encode(event_dict, enc_hook=_mapping_or_repr).decode())
