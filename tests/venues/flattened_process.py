"""A process with `trailing flatten` on a server in a thread. The n-th request of the exit sends a signal to the process."""

from __future__ import annotations

import json
import sys

import pytest
from checked_process import signal_at
from checked_venue import hurry, set_keys
from flattened_venue import fill_account, left_open, on_server, orders_left, settings_of
from served_exchange import serving

from trailing.cli import main

COUNT = 3

if __name__ == "__main__":
    venue, by, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with pytest.MonkeyPatch.context() as patch, serving(venue, "memory:", **settings_of(venue, COUNT)) as served:
        hurry(patch, venue)
        set_keys(venue, patch)
        served.do(fill_account, served.server, COUNT)
        if number:
            served.do(signal_at, served.server, number, by)
        on_server(served.server, patch)
        code = main(["flatten", venue, *sys.argv[4:]])
        sys.stdout.flush()
        left = {symbol: sorted(stops) for symbol, stops in left_open(served.server).items()}
        sys.stdout.write(json.dumps({"code": code, "left": left, "orders": orders_left(served.server)}) + "\n")
