"""Open a store by its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from trailing.core.model import refuse
from trailing.errors import UsageError
from trailing.stores.memory import MemoryStore
from trailing.stores.port import Store

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_SCHEMA = "trailing"
_PARAMETERS = {"schema", "lease_seconds", "renew_seconds"}
_FORMS = (
    "'memory:', 'sqlite:///relative.db', 'sqlite:////absolute/path.db'"
    " or 'postgresql://user@host/database?schema=trailing'"
)


@asynccontextmanager
async def open_store(url: str, *, read_only: bool = False) -> AsyncIterator[Store]:
    """Open a store, and close it at the end of the block.

    Args:
        url: the address:

            - ``"memory:"`` is a new store in memory, which ends with the block.
            - ``"sqlite:///relative.db"`` and ``"sqlite:////absolute/path.db"`` are files, created if missing. Nothing in the
              path is decoded.
            - ``"postgresql://user@host/database"`` is a Postgres database, with everything that libpq allows in an address
              (several hosts, ``sslmode``, …). Three more parameters are trailing's own: ``schema`` is the schema of the tables,
              created if missing (default ``trailing``); ``lease_seconds`` is how long an account stays owned after the last
              renewal (default 60); ``renew_seconds`` is the time between renewals (default 5). All processes on one schema
              should use the same two.
        read_only: create and change nothing, to inspect the store of a running bot.

    Raises:
        UsageError: the address is invalid. The error does not repeat the address, because it may contain a password.
        StoreError: the store can't be opened.
    """
    check_store_url(url)
    if url == "memory:":
        yield MemoryStore()
        return
    if is_postgres(url):
        # psycopg is imported only where it is used
        from trailing.stores.postgres import open_postgres  # noqa: PLC0415
        from trailing.stores.postgres_lease import LEASE_SECONDS, RENEW_SECONDS, LeaseTiming  # noqa: PLC0415

        conninfo, parameters = split_parameters(url)
        lease = LeaseTiming(
            _seconds(parameters, "lease_seconds", LEASE_SECONDS), _seconds(parameters, "renew_seconds", RENEW_SECONDS)
        )
        schema = parameters.get("schema", _SCHEMA)
        async with open_postgres(conninfo, schema=schema, read_only=read_only, lease=lease) as store:
            yield store
        return
    # imported only where it is used, as psycopg
    from trailing.stores.sqlite import open_sqlite  # noqa: PLC0415

    async with open_sqlite(Path(url.removeprefix(_SQLITE)), read_only=read_only) as store:
        yield store


def check_store_url(url: str) -> None:
    """Refuse an address that is of no store. The rest of a Postgres address is checked when it is opened.

    Raises:
        UsageError: the address is invalid. The error does not repeat it, because it may contain a password.
    """
    if url == "memory:" or is_postgres(url):
        return
    scheme, colon, _ = url.partition(":")
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:") or "\0" in path:
        got = f"an address of the scheme {scheme!r}" if colon else "an address without a scheme"
        raise UsageError(f"open_store got {got}, wants {_FORMS}")


def has_password(url: str) -> bool:
    """Return whether the address of a Postgres store contains a password."""
    address, _, query = url.partition("?")
    user = address.partition("://")[2].rpartition("@")[0]
    return is_postgres(url) and (":" in user or any(name in query for name in ("password=", "passcode=")))


def is_postgres(url: str) -> bool:
    """Return whether a store's address is one of Postgres."""
    return url.startswith(_POSTGRES)


def split_parameters(url: str) -> tuple[str, dict[str, str]]:
    """Return the address without trailing's own parameters, which libpq refuses, and these parameters."""
    address, question, query = url.rpartition("?")
    found = [parameter.partition("=") for parameter in query.split("&")] if question else []
    others = "&".join("".join(parameter) for parameter in found if parameter[0] not in _PARAMETERS)
    parameters = {name: unquote(value) for name, _, value in found if name in _PARAMETERS}
    if not parameters:
        return url, parameters
    return f"{address}?{others}" if others else address, parameters


def _seconds(parameters: dict[str, str], name: str, default: float) -> float:
    try:
        return float(parameters.get(name, default))
    except ValueError:
        raise refuse(f"open_store: {name}", parameters[name], "a number of seconds") from None
