"""Messages of the command on standard error, one line each, and suggestions for misspelt words."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import requires

from trailing.errors import TrailingError, UsageError
from trailing.logs import escape_unprintable

_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")
_PERCENT = re.compile(r"Percent\(value=([\d.E+-]+)\)")
_DATETIME = re.compile(r"datetime\.datetime\((\d[\d, ]*)(, tzinfo=datetime\.timezone\.utc)?\)")


def find_error(error: BaseException) -> TrailingError | None:
    """Return an error of the library, also from a group of one; None for any other exception."""
    match error:
        case TrailingError():
            return error
        case BaseExceptionGroup(exceptions=[only]):
            return find_error(only)
        case _:
            return None


def find_missing_package(error: BaseException) -> str | None:
    """Return a sentence about what to install, if a package that `trailing` requires is missing; otherwise None."""
    match error:
        case BaseExceptionGroup(exceptions=[only]):
            return find_missing_package(only)
        case ModuleNotFoundError(name=str(module)):
            package = module.partition(".")[0].replace("_", "-")
        case _:
            return None
    for requirement in requires("trailing") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if name.replace("_", "-").lower() == package.lower():
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
            wanted = f"trailing[{extra[1]}]" if extra else requirement.partition(";")[0].strip()
            return f"the package {name} is not installed. Install it with: pip install '{wanted}'"
    return None


def write_plainly(message: str) -> str:
    """Return a message of the library without its Python.

    ``Decimal('0.5')`` is written as ``0.5``, ``Percent(value=Decimal('2'))`` as ``2%``, and a ``datetime.datetime(…)`` in ISO 8601.
    """
    return _DATETIME.sub(_write_datetime, _PERCENT.sub(r"\1%", _DECIMAL.sub(r"\1", message)))


def _write_datetime(found: re.Match[str]) -> str:
    try:
        written = datetime(*map(int, found[1].split(",")))  # type: ignore[arg-type]  # noqa: DTZ001 - its zone is added
        return (written.replace(tzinfo=UTC) if found[2] else written).isoformat()
    except (TypeError, ValueError):  # a text that only looks like one
        return found[0]


def print_message(message: str) -> None:
    """Print a message to standard error as one line.

    Blanks are collapsed, unprintable characters are escaped, and values are written as `write_plainly` does.
    """
    line = write_plainly(" ".join(message.split()))
    print("trailing:", escape_unprintable(line), file=sys.stderr, flush=True)


@contextmanager
def errors_named(option: str, function: str = "") -> Iterator[None]:
    """Let a `UsageError` from the block begin with the option that the user typed.

    Args:
        option: such as ``"--store"``.
        function: the name that the library's message begins with, such as a function's; the option replaces it.
    """
    try:
        yield
    except UsageError as error:
        message = str(error)
        if function and message.startswith((f"{function} ", f"{function}:")):
            raise UsageError(option + message.removeprefix(function)) from error
        raise UsageError(f"{option}: {message}") from error
