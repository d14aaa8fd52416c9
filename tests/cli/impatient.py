"""The command with short deadlines: `python impatient.py PROXY_PORT WORDS…`.

It reaches real exchanges through a proxy at that port of 127.0.0.1.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import trailing.cli.distant_store
import trailing.cli.doctor
import trailing.cli.venue_recovering
import trailing.stores.postgres
from trailing import open_ccxt
from trailing.cli import main
from trailing.stores.postgres_server import ServerTiming

SECONDS = 1.0


def make_impatient(proxy_port: str) -> None:
    def configure(client: Any) -> None:
        client.https_proxy = f"http://127.0.0.1:{proxy_port}"
        client.timeout = int(SECONDS * 1000)

    changes: list[tuple[object, str, object]] = [
        (trailing.cli.doctor, "open_ccxt", partial(open_ccxt, configure=configure)),
        (trailing.cli.venue_recovering, "open_ccxt", partial(open_ccxt, configure=configure)),
        (trailing.stores.postgres, "ServerTiming", partial(ServerTiming, reply=SECONDS, cleanup=SECONDS, poll=SECONDS)),
        (trailing.cli.distant_store, "ANSWER_SECONDS", SECONDS),
    ]
    for module, name, value in changes:
        setattr(module, name, value)


if __name__ == "__main__":
    make_impatient(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
