"""The options that name a venue and its credentials."""

from __future__ import annotations

from pathlib import Path

from trailing.cli.messages import errors_named
from trailing.errors import UsageError, suggest
from trailing.exchanges.ccxt import Credentials
from trailing.exchanges.ccxt.opening import find_venue
from trailing.exchanges.ccxt.venues import REFUSED, VENUES


def check_venue(option: str, name: str, *, allow_unverified: bool) -> None:
    """Check that a venue is known and may be used.

    Args:
        option: the option that names it, for the error.

    Raises:
        UsageError: it is unknown, can't be used safely, or is unverified and `allow_unverified` is false.
    """
    if name not in VENUES and name not in REFUSED:
        raise UsageError(f"{option}: unknown venue {name!r}.{suggest(name, VENUES)} The venues are {', '.join(VENUES)}")
    try:
        with errors_named(option, "venue"):
            find_venue(name, allow_unverified=allow_unverified)
    except UsageError as error:
        raise UsageError(str(error).replace("allow_unverified=True", "--allow-unverified")) from error


def read_credentials(file: str | None, table: str | None) -> Credentials:
    """Return the credentials from a file, or without one from environment variables.

    Raises:
        UsageError: they are incomplete, or the file can't be read or is readable for others.
    """
    if file is None:
        try:
            return Credentials.from_environment()
        except UsageError as error:
            reason = str(error).removeprefix("credentials: ")
            raise UsageError(f"{reason}; set it, or give a file with --credentials FILE") from error
    with errors_named("--credentials", "credentials"):
        return Credentials.from_file(Path(file), table)
