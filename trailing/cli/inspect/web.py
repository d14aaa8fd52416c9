"""`trailing web`: serve a read-only page about a store."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trailing.cli.json_output import print_json
from trailing.cli.messages import errors_named, find_error
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.errors import UsageError
from trailing.web import serve_store
from trailing.web.tokens import find_token

_OPTIONS: Final = re.compile(r"^(?:bind|hosts)\b")
"""The arguments of `serve_store` whose names begin its errors, and are options here."""


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
    with errors_named("--token-file"):
        token = find_token(None if token_file is None else Path(token_file))
    work = partial(_serve, store, bind, token, tuple(host or ()), json=json)
    try:
        _, interruption = run_until_signal(work)
    except Exception as error:
        known = find_error(error)
        if isinstance(known, UsageError):
            raise UsageError(_OPTIONS.sub(lambda found: f"--{found[0].removesuffix('s')}", str(known))) from error
        raise
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
