"""Opening a store by its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from trailing.errors import UsageError
from trailing.stores.memory import MemoryStore
from trailing.stores.port import Store
from trailing.stores.sqlite import open_sqlite

_SQLITE = "sqlite:///"
_FORMS = "'memory:', 'sqlite:///relative.db' or 'sqlite:////absolute/path.db'"


@asynccontextmanager
async def open_store(url: str, *, read_only: bool = False) -> AsyncIterator[Store]:
    """Open a store.

    Args:
        url: ``"memory:"``, a new and empty one that ends with the block; ``"sqlite:///relative.db"`` or
            ``"sqlite:////absolute/path.db"``, a file, created where it is missing. The path is taken as it stands:
            nothing in it is decoded.
        read_only: create and change nothing, for looking into the store of a bot that runs.

    Raises:
        UsageError: the address is none of these. It does not repeat the address, which may hold a password.
        StoreError: what is there can't be opened.
    """
    if url == "memory:":
        yield MemoryStore()
        return
    scheme, colon, _ = url.partition(":")
    if scheme in ("postgresql", "postgres"):
        raise UsageError(f"open_store: Postgres is not in this version of trailing; wants {_FORMS}")
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:") or "\0" in path:
        got = f"an address of the scheme {scheme!r}" if colon else "an address without a scheme"
        raise UsageError(f"open_store got {got}, wants {_FORMS}")
    async with open_sqlite(Path(path), read_only=read_only) as store:
        yield store
