"""Removes credentials, account ids, balances and addresses from what a venue sent, before a report shows it."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trailing.exchanges.ccxt import Credentials
from trailing.logs import HIDDEN, hide_credentials

_LEAST_LEARNED: Final = 6
"""The shortest value that is hidden everywhere. A shorter one, such as "0", also stands for other things."""

_LONGEST_REPEATED: Final = 100
"""The longest text whose result is kept. Names, numbers and ids are repeated; bodies and tracebacks are not."""

# Names of fields, without case, blanks and punctuation. The names of credentials are those of `trailing.logs`.
_ACCOUNT: Final = re.compile(
    r"u(ser)?id(str)?|user(name)?|(account|acct|member|customer|trader|affiliate|inviter)(id|no|alias|name)"
    r"|(main|sub|parent|master)(u(ser)?id|acc(oun)?t(id|no|name)?)|account|(vault|wallet)?address|wallet"
    r"|connid|ip|ips|ip(white)?list|clientip|email|phone|mobile|nickname|note|remark"
)
_PRIVATE: Final = re.compile(r".*(balance|equity).*|wb|cw|bc|cashbal|availbal|upl|totalwallet.*")
_PAIR: Final = re.compile(
    r"""(?P<name>\w[\w-]*)(?P<between>(?:\\*["'])?\s*[:=]\s*(?:\\+["'])?)(?P<value>"[^"]*"?|'[^']*'?|[^\s,;&}\])"']+)"""
)
"""A name with a value inside a text, such as JSON in a message. A text that was cut off may end inside the value."""
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_MAYBE_ADDRESS: Final = re.compile(r"(?<![\w.:])[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.]+(?![\w:])")
_OPAQUE: Final = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
"""Such a long word without a blank may be a token, a key, a signature or the address of a wallet. An order id is shorter."""


class Cleaner:
    """Hides secrets in texts and JSON values.

    It hides the credentials wherever they stand, every value under the name of a credential, an account id, an address or a
    balance, and what looks like an IP address, an e-mail address or a token. A value that it met under such a name is hidden
    in every other place too. It hides too much rather than too little.

    Args:
        credentials: the keys of the account.
    """

    def __init__(self, credentials: Credentials) -> None:
        forms = {
            form for value in credentials.values if value for form in (value, quote(value, safe=""), _escaped(value))
        }
        self._keys = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
        self._learned: set[str] = set()
        self._cleaned: dict[str, str] = {}  # short texts, because a report repeats most names and values
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"<Cleaner: {len(self._learned)} values learned>"

    def learn(self, value: Any) -> None:
        """Note the secrets of a JSON value, so that they are hidden everywhere from now on."""
        found = {text for text in _secrets_of(value) if len(text) >= _LEAST_LEARNED and text != HIDDEN}
        if not found <= self._learned:
            self._learned |= found
            self._cleaned.clear()
            words = "|".join(map(re.escape, sorted(self._learned, key=len, reverse=True)))
            self._pattern = re.compile(rf"(?<![0-9A-Za-z])(?:{words})(?![0-9A-Za-z])")

    def clean(self, value: Any) -> Any:
        """Return a JSON value without secrets."""
        match value:
            case str():
                return self.clean_text(value)
            case dict():
                return {
                    self.clean_text(str(name)): each if _says_nothing(each) or not _is_secret(name) else HIDDEN
                    for name, each in ((name, self.clean(each)) for name, each in value.items())
                }
            case list() | tuple():
                return [self.clean(each) for each in value]
            case bool() | None:
                return value
            case msgspec.Raw():
                return value if self.clean_text(bytes(value).decode()) == bytes(value).decode() else HIDDEN
            case _:
                return value if self.clean_text(str(value)) == str(value) else HIDDEN

    def clean_text(self, text: str) -> str:
        """Return a text without secrets."""
        if len(text) > _LONGEST_REPEATED:
            return self._clean_text(text)
        clean = self._cleaned.get(text)
        if clean is None:
            clean = self._cleaned[text] = self._clean_text(text)
        return clean

    def _clean_text(self, text: str) -> str:
        text = self._keys.sub(HIDDEN, text)
        text = str(hide_credentials(None, "", {"text": text})["text"])
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        text = _PAIR.sub(_hide_value, text)
        text = _EMAIL.sub(HIDDEN, text)
        text = _MAYBE_ADDRESS.sub(_hide_address, text)
        return _OPAQUE.sub(HIDDEN, text)


def parse_json(text: str) -> Any:
    """Return a text as a JSON value with its numbers as they are written; a text that is no JSON stays a text."""
    try:
        return json.loads(text, parse_float=_as_written, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _as_written(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


@lru_cache(maxsize=1000)
def _is_secret(name: Any) -> bool:
    """Return whether the value under a name must not be shown."""
    plain = re.sub(r"[\W_]", "", str(name)).lower()
    return _may_be_learned(name) or _PRIVATE.fullmatch(plain) is not None


@lru_cache(maxsize=1000)
def _may_be_learned(name: Any) -> bool:
    plain = re.sub(r"[\W_]", "", str(name)).lower()
    return (
        _ACCOUNT.fullmatch(plain) is not None or hide_credentials(None, "", {str(name): "value"})[str(name)] == HIDDEN
    )


def _says_nothing(value: Any) -> bool:
    return value is None or isinstance(value, bool) or value in ("", [], {})


def _secrets_of(value: Any, *, under_secret: bool = False) -> Iterator[str]:
    """Yield the texts and numbers under the names of credentials and account ids. Balances are figures like others."""
    match value:
        case dict():
            for name, each in value.items():
                yield from _secrets_of(each, under_secret=under_secret or _may_be_learned(name))
        case list() | tuple():
            for each in value:
                yield from _secrets_of(each, under_secret=under_secret)
        case str() | int() if under_secret and not isinstance(value, bool):
            yield str(value)


def _hide_value(found: re.Match[str]) -> str:
    return f"{found['name']}{found['between']}{HIDDEN}" if _is_secret(found["name"]) else found[0]


def _hide_address(found: re.Match[str]) -> str:
    text = found[0]
    try:
        ipaddress.ip_address(text.strip("."))
    except ValueError:
        host, _, port = text.rpartition(":")
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return text
        return f"{HIDDEN}:{port}"
    return HIDDEN


def _escaped(value: str) -> str:
    return json.dumps(value)[1:-1]


def header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a reply that a report may show: those about its time and the rate limit."""
    return {name: value for name, value in headers.items() if _HEADERS.fullmatch(name)}


_HEADERS: Final = re.compile(
    r"date|retry-after|content-type|x-mbx-[a-z0-9-]+|x-bapi-limit[a-z-]*|(x-)?ratelimit-[a-z-]+"
)
