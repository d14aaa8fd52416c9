"""`trailing web`: serve a read-only page about a store."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trailing.cli.json_output import print_json
from trailing.cli.messages import errors_named
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.errors import UsageError
from trailing.web import serve_store

VARIABLE: Final = "TRAILING_WEB_TOKEN"
"""The environment variable with the token."""


def main(*, store: str, bind: str, token_file: str | None, host: list[str] | None, json: bool) -> int:
    """Serve the page until a signal comes.

    Args:
        store: the store's address.
        bind: the address to serve at.
        token_file: the file with the token; None: the token is in the environment, if there is one.
        host: further names of the page.
        json: print the URL as JSON.

    Returns:
        The exit code.

    Raises:
        UsageError: an option can't be right.
    """
    token = os.environ.get(VARIABLE) or None if token_file is None else read_token(Path(token_file))
    work = partial(_serve, store, bind, token, tuple(host or ()), json=json)
    _, interruption = run_until_signal(work)
    return interruption.exit_code


async def _serve(
    url: str, bind: str, token: str | None, hosts: tuple[str, ...], _: Interruption, *, json: bool
) -> None:
    async with open_stored(url) as store, trio.open_nursery() as nursery:
        await store.accounts()  # a store that can't be read at the start is an error; later the page says so
        serving = partial(serve_store, store, bind=bind, token=token, hosts=hosts)
        page: str = await nursery.start(serving)
        if json:
            print_json({"url": page}, indent=0)
        else:
            print(page, flush=True)


def read_token(path: Path) -> str:
    """Return the token in a file that no other user can read.

    Raises:
        UsageError: the file can't be read, or other users can read it. The message shows nothing of its content.
    """
    with errors_named("--token-file"):
        try:
            with path.open(encoding="utf-8") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise UsageError(f"other users can read {path}; run chmod 600 on it")
                return file.readline().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
