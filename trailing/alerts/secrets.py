"""Addresses that hold credentials: never printed, encoded or pickled, and masked in every text."""

from __future__ import annotations

import re
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit

from trailing.errors import UsageError
from trailing.logs import HIDDEN

_SHORTEST: Final = 5
"""Shorter parts of an address are not masked, because they are words such as `api` or `hooks`."""

_SEPARATORS: Final = re.compile(r"[/?&=:@#,]+")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


class SecretUrl:
    """An address of an alert channel or a heartbeat. Its path, and more, are credentials.

    Args:
        url: the address; `field`: where it comes from, for the message of an error.

    Raises:
        UsageError: it is no address. The message does not show it.

    Attributes:
        scheme: in lower case, without ``"://"``.
    """

    __slots__ = ("_parts", "_url", "scheme")

    def __init__(self, url: str, field: str = "the address") -> None:
        if not isinstance(url, str) or not _SCHEME.fullmatch(url):
            raise UsageError(f"{field} wants an address such as https://… or tgram://…, without blanks")
        self._url = url
        self.scheme: str = url.partition("://")[0].lower()
        try:
            host = urlsplit(url).hostname if self.scheme in {"http", "https"} else None
        except ValueError:
            raise UsageError(f"{field} is no address that can be parsed") from None
        if self.scheme in {"http", "https"} and not host:
            raise UsageError(f"{field} has no host")
        parts = {part for part in _SEPARATORS.split(url.partition("://")[2]) if len(part) >= _SHORTEST}
        parts |= {unquote(part) for part in parts}
        self._parts = tuple(sorted({part for part in parts if part.lower() != host}, key=len, reverse=True))

    def __repr__(self) -> str:
        return f"SecretUrl({self.scheme}://{HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("SecretUrl can't be pickled, so that credentials are not written to disk")

    @property
    def host(self) -> str:
        """The host of an HTTP address, in lower case; empty for any other address, whose host may be a credential."""
        return (urlsplit(self._url).hostname or "") if self.scheme in {"http", "https"} else ""

    def reveal(self) -> str:
        """Return the address, for the client that sends to it."""
        return self._url

    def hide(self, text: str) -> str:
        """Return a text with the address and each of its parts masked, except the scheme and the host of an HTTP address."""
        text = text.replace(self._url, f"{self.scheme}://{HIDDEN}")
        for part in self._parts:
            text = text.replace(part, HIDDEN)
        return text
