"""The command with short deadlines: `python short_deadlines.py PROXY_PORT WORDS…`.

It reaches real exchanges through a proxy at that port of 127.0.0.1.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import trailing.cli.operate.doctor
import trailing.cli.operate.recover_exchange
import trailing.cli.practice.candles
import trailing.cli.practice.remote_store
import trailing.stores.postgres
from trailing import open_ccxt
from trailing.cli import main
from trailing.exchanges.ccxt.opening import open_market_data
from trailing.stores.postgres_server import ServerTiming

SECONDS = 1.0


def shorten_deadlines(proxy_port: str) -> None:
    def configure(client: Any) -> None:
        client.https_proxy = f"http://127.0.0.1:{proxy_port}"
        client.timeout = int(SECONDS * 1000)

    changes: list[tuple[object, str, object]] = [
        (trailing.cli.operate.doctor, "open_ccxt", partial(open_ccxt, configure=configure)),
        (trailing.cli.operate.recover_exchange, "open_ccxt", partial(open_ccxt, configure=configure)),
        (trailing.cli.practice.candles, "open_market_data", partial(open_market_data, configure=configure)),
        (trailing.stores.postgres, "ServerTiming", partial(ServerTiming, reply=SECONDS, cleanup=SECONDS, poll=SECONDS)),
        (trailing.cli.practice.remote_store, "ANSWER_SECONDS", SECONDS),
    ]
    for module, name, value in changes:
        setattr(module, name, value)


if __name__ == "__main__":
    shorten_deadlines(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
