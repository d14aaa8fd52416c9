"""API keys: read from the environment or from a private file, and never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from trailing.core.model import refuse
from trailing.errors import UsageError
from trailing.exchanges.port import escaped
from trailing.logs import HIDDEN

_FIELDS: Final = ("api_key", "secret", "password")


class Credentials:
    """The API keys of an account on an exchange. They are never printed, encoded or pickled.

    Args:
        api_key: the key; on Hyperliquid the wallet's address.
        secret: its secret; on Hyperliquid the private key of an API wallet.
        password: the passphrase, on venues that have one; None: none.

    Raises:
        UsageError: a value is no text, is empty, or contains a blank. The message does not show it.
    """

    __slots__ = ("_values",)

    def __init__(self, api_key: str, secret: str, password: str | None = None) -> None:
        values = {"api_key": api_key, "secret": secret, "password": password}
        for field, value in values.items():
            if value is None and field == "password":
                continue
            if not isinstance(value, str) or not value or any(map(str.isspace, value)):
                raise UsageError(f"Credentials.{field} wants a text that is not empty and contains no blanks")
        self._values: tuple[str, str, str | None] = (api_key, secret, password)

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials can't be pickled, so that keys are not written to disk")

    @property
    def values(self) -> tuple[str, str, str | None]:
        """Key, secret and password, for the client that signs requests."""
        return self._values

    def hide(self, text: str) -> str:
        """Return a text with each of the keys masked."""
        for value in self._values:
            if value is not None:
                text = text.replace(value, HIDDEN)
        return text

    @classmethod
    def from_environment(cls, prefix: str = "TRAILING") -> Credentials:
        """Read ``PREFIX_API_KEY``, ``PREFIX_SECRET`` and, if it is set, ``PREFIX_PASSWORD``.

        Args:
            prefix: the beginning of the variables' names.

        Raises:
            UsageError: a variable is missing; the message names it.
        """
        names = {field: f"{prefix}_{field.upper()}" for field in _FIELDS}
        for field in ("api_key", "secret"):
            if not os.environ.get(names[field]):
                raise UsageError(f"credentials: the environment variable {names[field]} is not set")
        return cls(*(os.environ.get(names[field]) or None for field in _FIELDS))  # type: ignore[arg-type]  # the first two are set

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], table: str | None = None) -> Credentials:
        """Read a TOML file that belongs to this user and that no other user can read (``chmod 600``).

        Args:
            path: the file, with `api_key`, `secret` and, if the venue needs it, `password`.
            table: the table of the file that contains the keys; None: the top level.

        Raises:
            UsageError: the file can't be read, other users can read it, or a field is missing or unknown. The message shows
                no value of the file.
        """
        found: Any = read_private_file(path, "credentials")
        shown = escaped(str(path), 1000)
        if table is not None:
            found = found.get(table)
            if not isinstance(found, Mapping):
                raise UsageError(f"credentials: {shown} has no table {table!r}")
        unknown = sorted(
            name for name, value in found.items() if name not in _FIELDS and not isinstance(value, Mapping)
        )
        if unknown:
            raise UsageError(
                f"credentials: {shown} has the unknown field {unknown[0]!r}; known fields: {', '.join(_FIELDS)}"
            )
        for field in ("api_key", "secret"):
            if field not in found:
                raise UsageError(f"credentials: {shown} has no field {field}")
        return cls(*(found.get(field) for field in _FIELDS))


def read_private_file(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Read a TOML file that belongs to this user and that no other user can read.

    Args:
        name: of the contents, for the errors.

    Raises:
        UsageError: the file can't be read, or other users can read it. The message shows no value of the file.
    """
    import tomllib  # noqa: PLC0415 - only who keeps the keys in a file needs it

    path = Path(path)
    shown = escaped(str(path), 1000)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid():
                raise UsageError(f"{name}: {shown} belongs to another user")
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise UsageError(f"{name}: other users can read {shown}; run chmod 600 on it")
            return tomllib.load(file)
    except OSError as error:
        raise refuse(name, str(path), f"a file that can be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"{name}: {shown} is not valid TOML") from None  # the decoder's message may quote a key
