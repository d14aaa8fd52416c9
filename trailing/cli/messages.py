"""Messages of the command on standard error, one line each, and suggestions for misspelt words."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trailing.errors import TrailingError, UsageError
from trailing.logs import escape_unprintable


def find_error(error: BaseException) -> TrailingError | None:
    """Return the library's error that an exception is, or that is the only one in a group; None for any other."""
    match error:
        case TrailingError():
            return error
        case BaseExceptionGroup(exceptions=[only]):
            return find_error(only)
        case _:
            return None


def print_message(message: str) -> None:
    """Print a message to standard error as one line; blanks are collapsed and unprintable characters escaped."""
    print("trailing:", escape_unprintable(" ".join(message.split())), file=sys.stderr, flush=True)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean …?"`` with the most similar known word, or ``""`` if none is similar."""
    similar = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {similar[0]}?" if similar else ""


@contextmanager
def errors_named(option: str, function: str = "") -> Iterator[None]:
    """Let a `UsageError` from the block begin with the option that the user typed.

    Args:
        option: such as ``"--store"``.
        function: the library function whose name the message begins with; the option replaces it.
    """
    try:
        yield
    except UsageError as error:
        message = str(error)
        if function and message.startswith(f"{function} "):
            raise UsageError(option + message.removeprefix(function)) from error
        raise UsageError(f"{option}: {message}") from error
