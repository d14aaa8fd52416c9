"""Errors of the library as one line on standard error."""

from __future__ import annotations

import sys

from trailing.errors import TrailingError


def documented_error(error: BaseException) -> TrailingError | None:
    """Return the one error of the library that an exception is, or is a group of; None where it is anything else."""
    match error:
        case TrailingError():
            return error
        case BaseExceptionGroup(exceptions=[only]):
            return documented_error(only)
        case _:
            return None


def complain(message: str) -> None:
    """Print a message as one line to standard error."""
    print("trailing:", " ".join(message.split()), file=sys.stderr, flush=True)
