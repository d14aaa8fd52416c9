"""Opening a store by its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from trailing.errors import UsageError
from trailing.stores.memory import MemoryStore
from trailing.stores.port import Store
from trailing.stores.sqlite import open_sqlite

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_SCHEMA = "trailing"
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
            ``?schema=bots``; ``trailing`` where there is none.
        read_only: create and change nothing, for looking into the store of a bot that runs.

    Raises:
        UsageError: the address is none of these. It does not repeat the address, which may hold a password.
        StoreError: what is there can't be opened.
    """
    if url == "memory:":
        yield MemoryStore()
        return
    if url.startswith(_POSTGRES):
        from trailing.stores.postgres import open_postgres  # noqa: PLC0415 - psycopg is imported only where it is used

        conninfo, schema = _take_schema(url)
        async with open_postgres(conninfo, schema=schema, read_only=read_only) as store:
            yield store
        return
    scheme, colon, _ = url.partition(":")
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:") or "\0" in path:
        got = f"an address of the scheme {scheme!r}" if colon else "an address without a scheme"
        raise UsageError(f"open_store got {got}, wants {_FORMS}")
    async with open_sqlite(Path(path), read_only=read_only) as store:
        yield store


def _take_schema(url: str) -> tuple[str, str]:
    """The address without our own parameter, which libpq does not know, and its value."""
    address, question, query = url.rpartition("?")
    parameters = query.split("&") if question else []
    schemas = [parameter.removeprefix("schema=") for parameter in parameters if parameter.startswith("schema=")]
    if not schemas:
        return url, _SCHEMA
    others = "&".join(parameter for parameter in parameters if not parameter.startswith("schema="))
    return f"{address}?{others}" if others else address, unquote(schemas[-1])
