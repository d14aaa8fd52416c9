"""The store that `--store` names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from trailing.cli.messages import errors_named
from trailing.errors import UsageError
from trailing.stores import open_store
from trailing.stores.port import Store

S = TypeVar("S", bound=Store)

MEMORY = "memory:"
SQLITE = "sqlite:///"


@asynccontextmanager
async def open_given_store(
    url: str, opening: Callable[..., AbstractAsyncContextManager[S]], *, read_only: bool = False
) -> AsyncIterator[S]:
    """Open a store with `open_store` or a function like it.

    Raises:
        UsageError: the address can't be right; the message begins with ``--store``.
        StoreError: the store can't be opened.
    """
    _check_no_directory(url)
    async with AsyncExitStack() as stack:
        with errors_named("--store", "open_store"):
            store = await stack.enter_async_context(opening(url, read_only=read_only))
        yield store


@asynccontextmanager
async def open_stored(url: str, *, read_only: bool = True) -> AsyncIterator[Store]:
    """Open a store that another process may have written.

    Raises:
        UsageError: the address can't be right, is `MEMORY`, or is that of a missing file; the message begins with ``--store``.
        StoreError: the store can't be opened; to read only, also if it has no tables yet.
    """
    check_stored(url)
    check_exists(url)
    async with open_given_store(url, open_store, read_only=read_only) as store:
        yield store


def check_stored(url: str) -> None:
    """Refuse the address of a store that no other process can have written.

    Raises:
        UsageError: the address is `MEMORY`.
    """
    if url == MEMORY:
        raise UsageError(
            f"--store {MEMORY} exists only inside its own process; give sqlite:///FILE or postgresql://HOST/DATABASE"
        )


def check_exists(url: str) -> None:
    """Refuse the address of a directory, or of a file that does not exist. Raises UsageError."""
    _check_no_directory(url)
    path = _path_of(url)
    if path is not None and not path.exists():
        raise UsageError(f"--store {url}: there is no file {path}")


def _check_no_directory(url: str) -> None:
    """Refuse the address of a directory, because SQLite's own message for it is that of a broken disk. Raises UsageError."""
    path = _path_of(url)
    if path is not None and path.is_dir():
        raise UsageError(f"--store {url}: {path} is a directory; give a file")


def _path_of(url: str) -> Path | None:
    """Return the file of an address; None: it has none, or the store refuses it."""
    path = url.removeprefix(SQLITE)
    return Path(path) if path not in ("", url) and "\0" not in path else None
