"""A process with `trailing candles` on a server in a thread. At the n-th page of candles, the process is killed."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import pytest
from checked_venue import LIVE_SETTINGS
from real_exchange import BTC
from served_exchange import serving
from test_candles_command import record
from venue_faults import Request

from trailing.cli import main
from trailing.exchanges.ccxt.opening import open_market_data

if __name__ == "__main__":
    venue, page, out, *words = sys.argv[1:]
    with pytest.MonkeyPatch.context() as patch, serving(venue, "memory:", **LIVE_SETTINGS[venue]) as served:
        record(served, BTC, 5000)
        opening = partial(open_market_data, configure=served.server.configure)
        patch.setattr("trailing.cli.practice.candles.open_market_data", opening)
        operation, seen = served.server.face.operation, 0

        def count_and_kill(request: Request) -> str:
            """Count the pages of candles."""
            global seen  # noqa: PLW0603 - of this script
            name = operation(request)
            seen += name == "candles"
            if name == "candles" and seen == int(page):
                os.kill(os.getpid(), signal.SIGKILL)
            return name

        served.server.face.operation = count_and_kill  # type: ignore[method-assign]
        raise SystemExit(main(["candles", venue, BTC, "--out", out, *words]))
