"""Sweep on a local Dask cluster, in a process of its own, and compare the result with a sweep without one.

Its own process, because Dask's event loop does not start where another library has changed asyncio's policy.
"""

from __future__ import annotations

import sys
from concurrent.futures import Executor

from distributed import Client, LocalCluster
from test_running import contents, sweep

from trailing.sweep import pieces


def main() -> None:
    """Raise AssertionError if a byte differs."""
    pieces.STEPS = 2_000  # type: ignore[misc]  # every piece has a few plans, so that there are many pieces
    cluster = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, memory_limit=None, processes=True
    )
    with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
        executor: Executor = client.get_executor()
        assert contents(sweep(executor=executor)) == contents(sweep())
    sys.stdout.write("the same bytes\n")


if __name__ == "__main__":
    main()
