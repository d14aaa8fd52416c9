"""What a new user waits for: a month of minutes of a venue, then a backtest and a sweep of it, each with its pictures.

Each command runs in a process of its own, and nothing was compiled before. The venue is on loopback and keeps its
rate limit. Run as a script, this file is the command on that venue.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from figures import report

sys.path.insert(0, str(Path(__file__).parents[1] / "venues"))
sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

MONTH = 30 * 1440
FIRST = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
BTC = "BTC/USDT:USDT"
SECONDS = 10.0
"""The aim for each command. It is asserted of the processor's time, which other processes don't lengthen."""

DOWNLOAD = ("candles", "bybit", BTC, "--since", "2026-01-05", "--until", "2026-02-04", "--out", "prices")
OF_PRICES = ("--prices", "prices", "--symbol", BTC, "--every", "4h", "--fee", "0.05")
BACKTEST = ("backtest", *OF_PRICES, "--html", "backtest.html")
SWEEP = ("sweep", *OF_PRICES, "--initial-stop", "0.5%:10%:0.5%", "--callback", "0.5%:10%:0.5%", "--html", "sweep.html")


def minutes() -> list[Any]:
    """A month of bars around 60,000."""
    from venue_candles import MINUTE, Bar  # noqa: PLC0415 - the venue, not the command, needs it

    draw, price, bars = random.Random(1), 600_000, []
    for number in range(MONTH):
        path = [price]
        for _ in range(6):
            path.append(path[-1] + draw.randint(-150, 150))
        price = path[-1]
        values = (Decimal(each).scaleb(-1) for each in (path[0], max(path), min(path), price))
        bars.append(Bar(FIRST + number * MINUTE, *values))
    return bars


def run_command(host: str, words: tuple[str, ...], folder: Path, cache: Path) -> tuple[float, float]:
    """Run a command, and return its seconds, and those of the processor."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, str(Path(__file__).resolve()), host, *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - started, processor


def test_from_nothing_to_a_heat_map(tmp_path: Path) -> None:
    from served_exchange import serving  # noqa: PLC0415

    with report("first steps: a month of minutes") as figures, serving("bybit", "memory:") as served:
        served.do(served.server.market.candles.record, BTC, "last", minutes())
        for name, words in (
            ("candles", DOWNLOAD),
            ("backtest", BACKTEST),
            ("sweep, compiled", SWEEP),
            ("sweep", SWEEP),
        ):
            seconds, processor = run_command(served.server.host, words, tmp_path, tmp_path / "cache")
            figures.add(f"trailing {name}", f"{seconds:.1f} s, processor {processor:.1f} s", f"{SECONDS:.0f} s")
            assert processor <= SECONDS, name
    assert (tmp_path / "sweep.html").stat().st_size < 3_000_000


def main(host: str, words: list[str]) -> int:
    """Run the command on the venue at an address."""
    from venue_server import redirected  # noqa: PLC0415

    import trailing.cli.practice.candles  # noqa: PLC0415
    from trailing.cli import main as trailing_main  # noqa: PLC0415
    from trailing.exchanges.ccxt.opening import open_market_data  # noqa: PLC0415

    def configure(client: Any) -> None:
        client.urls["api"] = redirected(client.urls["api"], host)

    module: Any = trailing.cli.practice.candles
    module.open_market_data = partial(open_market_data, configure=configure)
    return trailing_main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
