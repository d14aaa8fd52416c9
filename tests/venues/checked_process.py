"""A process with `trailing check` on a server in a thread. The n-th request of the check sends a signal to the process."""

from __future__ import annotations

import json
import os
import sys

import pytest
from checked_venue import SETTINGS, WORDS, add_foreign, hurry, left_on, on_server, set_keys
from moving_market import move_prices
from served_exchange import serving
from venue_faults import Request
from venue_server import VenueServer

from trailing.cli import main


def signal_at(server: VenueServer, number: int, by: int) -> None:
    """Send a signal to this process when a request arrives, counted from 1."""
    operation, count = server.face.operation, 0

    def count_and_signal(request: Request) -> str:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), by)
        return operation(request)

    server.face.operation = count_and_signal  # type: ignore[method-assign]


if __name__ == "__main__":
    venue, by, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(venue, "memory:", move_prices, **SETTINGS.get(venue, {})) as served,
    ):
        hurry(patch, venue)
        set_keys(venue, patch)
        served.do(add_foreign, served.server)
        served.do(signal_at, served.server, number, by)
        patch.setattr("trailing.cli.operate.check.open_ccxt", on_server(served.server))
        code = main(["check", venue, *WORDS])
        stops, held = left_on(served.server)
        left = [stops, {symbol: str(value) for symbol, value in held.items()}]
        sys.stdout.write(json.dumps({"code": code, "left": left}) + "\n")
