"""A real bot process gets real signals. Only SIGUSR1 twice closes a position."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from flattened_venue import left_open
from real_exchange import BTC
from served_exchange import Served, serving

FOLDER = Path(__file__).parent
ONCE = "SIGUSR1 came once: send it again within 5 s to close every position"


@contextmanager
def running_bot(folder: Path) -> Iterator[tuple[Served, subprocess.Popen[str]]]:
    """Run the bot until its position is protected. It is killed at the end of the block."""
    paths = os.pathsep.join(str(FOLDER.parent / name) for name in ("", "servers", "venues"))
    with serving("binanceusdm", f"sqlite:///{folder}/bot.db") as served:
        served.do(served.server.market.enter, BTC, "buy", Decimal("0.8"), Decimal(1000))
        with subprocess.Popen(
            [sys.executable, str(FOLDER / "signalled_bot.py"), served.venue, served.server.host, served.store],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process:
            try:
                wait_for(process, "protected")
                yield served, process
            finally:
                process.kill()


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    said = ""
    while words not in said:
        line = process.stderr.readline()
        assert line, said
        said += line


def test_sigusr1_twice_closes_the_position_of_a_running_bot(tmp_path: Path) -> None:
    with running_bot(tmp_path) as (served, process):
        process.send_signal(signal.SIGUSR1)
        wait_for(process, ONCE)
        assert len(left_open(served.server)[BTC]) == 1
        process.send_signal(signal.SIGUSR1)
        wait_for(process, "every position is closed")
        assert left_open(served.server) == {}
        assert served.do(served.server.market.live_stops) == ()
        assert process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_other_signal_closes_anything(number: signal.Signals, tmp_path: Path) -> None:
    with running_bot(tmp_path) as (served, process):
        process.send_signal(signal.SIGUSR1)
        wait_for(process, ONCE)
        process.send_signal(number)
        process.wait(30)
        time.sleep(0.5)  # requests in flight are executed
        assert len(left_open(served.server)[BTC]) == 1
        assert served.server.seen("close_position") == []
