"""The keys to an account: from the environment or from a file that only its owner can read, and hidden from then on."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from trailing.core.model import refuse
from trailing.errors import UsageError
from trailing.logs import HIDDEN

_FIELDS: Final = ("api_key", "secret", "password")


class Credentials:
    """The keys to an account on an exchange. No struct: those are printed and encoded, and these never are.

    Args:
        api_key: the key; on hyperliquid the wallet's address.
        secret: its secret; on hyperliquid the private key of an API wallet.
        password: the passphrase, on venues that have one.

    Raises:
        UsageError: one of them is no text, is empty or holds a blank. It is not named.
    """

    __slots__ = ("_values",)

    def __init__(self, api_key: str, secret: str, password: str | None = None) -> None:
        values = {"api_key": api_key, "secret": secret, "password": password}
        for field, value in values.items():
            if value is None and field == "password":
                continue
            if not isinstance(value, str) or not value or any(map(str.isspace, value)):
                raise UsageError(f"Credentials.{field} wants a text that is not empty and has no blanks")
        self._values: tuple[str, str, str | None] = (api_key, secret, password)

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled")

    @property
    def values(self) -> tuple[str, str, str | None]:
        """Key, secret and password, for the one who signs."""
        return self._values

    def hide(self, text: str) -> str:
        """A text without them."""
        for value in self._values:
            if value is not None:
                text = text.replace(value, HIDDEN)
        return text

    @classmethod
    def from_environment(cls, prefix: str = "TRAILING") -> Credentials:
        """From ``PREFIX_API_KEY``, ``PREFIX_SECRET`` and, where it is set, ``PREFIX_PASSWORD``.

        Raises:
            UsageError: naming the variable that is missing.
        """
        names = {field: f"{prefix}_{field.upper()}" for field in _FIELDS}
        for field in ("api_key", "secret"):
            if not os.environ.get(names[field]):
                raise UsageError(f"credentials: {names[field]} is not set")
        return cls(*(os.environ.get(names[field]) or None for field in _FIELDS))  # type: ignore[arg-type]  # the first two are set

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], table: str | None = None) -> Credentials:
        """From a TOML file that belongs to this user, and that nobody else can read: ``chmod 600``.

        Args:
            path: the file, with `api_key`, `secret` and, where the venue has one, `password`.
            table: the table of the file that holds them; None: its top.

        Raises:
            UsageError: it can't be read, others may read it, or something is missing in it. No value is named.
        """
        found: Any = _read_private(Path(path))
        if table is not None:
            found = found.get(table)
            if not isinstance(found, Mapping):
                raise UsageError(f"credentials: {path} has no table {table!r}")
        unknown = sorted(
            name for name, value in found.items() if name not in _FIELDS and not isinstance(value, Mapping)
        )
        if unknown:
            raise UsageError(f"credentials: {path} has {unknown[0]!r} in it, known are {', '.join(_FIELDS)}")
        for field in ("api_key", "secret"):
            if field not in found:
                raise UsageError(f"credentials: {path} has no {field}")
        return cls(*(found.get(field) for field in _FIELDS))


def _read_private(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid():
                raise UsageError(f"credentials: {path} belongs to another user")
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise UsageError(f"credentials: {path} can be read by others, wants chmod 600")
            return tomllib.load(file)
    except OSError as error:
        raise refuse("credentials", str(path), f"a file that can be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"credentials: {path} is no TOML") from None  # the decoder's own message may quote a line
