"""Opening a store by its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from trailing.core.model import refuse
from trailing.errors import UsageError
from trailing.stores.memory import MemoryStore
from trailing.stores.port import Store
from trailing.stores.sqlite import open_sqlite

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_SCHEMA = "trailing"
_OURS = {"schema", "lease_seconds", "renew_seconds"}
_FORMS = (
    "'memory:', 'sqlite:///relative.db', 'sqlite:////absolute/path.db'"
    " or 'postgresql://user@host/database?schema=trailing'"
)


@asynccontextmanager
async def open_store(url: str, *, read_only: bool = False) -> AsyncIterator[Store]:
    """Open a store.

    Args:
        url: ``"memory:"``, a new and empty one that ends with the block; ``"sqlite:///relative.db"`` or
            ``"sqlite:////absolute/path.db"``, a file, created where it is missing. The path is taken as it stands:
            nothing in it is decoded. ``"postgresql://user@host/database"``, a database, with all that libpq takes in
            such an address (several hosts, ``sslmode``, …) and a ``schema`` in which the tables are, or are created:
            ``?schema=bots``; ``trailing`` where there is none. ``lease_seconds`` and ``renew_seconds`` say how long an
            account stays owned without being renewed, 60, and how often it is renewed, 5: the same for all who use the
            schema.
        read_only: create and change nothing, for looking into the store of a bot that runs.

    Raises:
        UsageError: the address is none of these. It does not repeat the address, which may hold a password.
        StoreError: what is there can't be opened.
    """
    if url == "memory:":
        yield MemoryStore()
        return
    if is_postgres(url):
        # psycopg is imported only where it is used
        from trailing.stores.postgres import open_postgres  # noqa: PLC0415
        from trailing.stores.postgres_lease import LEASE_SECONDS, RENEW_SECONDS, LeaseTiming  # noqa: PLC0415

        conninfo, ours = take_ours(url)
        lease = LeaseTiming(
            _seconds(ours, "lease_seconds", LEASE_SECONDS), _seconds(ours, "renew_seconds", RENEW_SECONDS)
        )
        schema = ours.get("schema", _SCHEMA)
        async with open_postgres(conninfo, schema=schema, read_only=read_only, lease=lease) as store:
            yield store
        return
    scheme, colon, _ = url.partition(":")
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:") or "\0" in path:
        got = f"an address of the scheme {scheme!r}" if colon else "an address without a scheme"
        raise UsageError(f"open_store got {got}, wants {_FORMS}")
    async with open_sqlite(Path(path), read_only=read_only) as store:
        yield store


def is_postgres(url: str) -> bool:
    """Whether it is the address of a store in Postgres."""
    return url.startswith(_POSTGRES)


def take_ours(url: str) -> tuple[str, dict[str, str]]:
    """The address without our own parameters, which libpq does not know, and their values."""
    address, question, query = url.rpartition("?")
    parameters = [parameter.partition("=") for parameter in query.split("&")] if question else []
    others = "&".join("".join(parameter) for parameter in parameters if parameter[0] not in _OURS)
    ours = {name: unquote(value) for name, _, value in parameters if name in _OURS}
    if not ours:
        return url, ours
    return f"{address}?{others}" if others else address, ours


def _seconds(ours: dict[str, str], name: str, default: float) -> float:
    try:
        return float(ours.get(name, default))
    except ValueError:
        raise refuse(f"open_store: {name}", ours[name], "a number of seconds") from None
