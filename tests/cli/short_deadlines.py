"""The command with short deadlines: `python short_deadlines.py PROXY_PORT COMMAND WORDS…`.

It reaches real exchanges through a proxy at that port of 127.0.0.1.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

from trailing.cli import main

SECONDS = 1.0

OPENED_IN = {
    "doctor": ("trailing.cli.operate.doctor", "open_ccxt"),
    "recover": ("trailing.cli.operate.recover_exchange", "open_ccxt"),
    "candles": ("trailing.cli.practice.candles", "open_market_data"),
}
"""The commands that reach an exchange: the module that opens it, and the name of what opens it there."""


def shorten_deadlines_of_exchange(module: str, name: str, proxy_port: str) -> None:
    def configure(client: Any) -> None:
        client.https_proxy = f"http://127.0.0.1:{proxy_port}"
        client.timeout = int(SECONDS * 1000)

    opened_in = import_module(module)
    setattr(opened_in, name, partial(getattr(opened_in, name), configure=configure))


def shorten_deadlines_of_store() -> None:
    postgres, remote_store = map(import_module, ("trailing.stores.postgres", "trailing.cli.practice.remote_store"))
    timing = partial(postgres.ServerTiming, reply=SECONDS, cleanup=SECONDS, poll=SECONDS)
    setattr(postgres, "ServerTiming", timing)  # noqa: B010 - the type of a module has no such attribute
    setattr(remote_store, "ANSWER_SECONDS", SECONDS)  # noqa: B010


if __name__ == "__main__":
    _, port, command, *words = sys.argv
    # A command imports only what it needs, because ccxt takes half a second of a start.
    if command in OPENED_IN:
        shorten_deadlines_of_exchange(*OPENED_IN[command], port)
    else:
        shorten_deadlines_of_store()
    sys.exit(main([command, *words]))
