"""A real process gets a real signal in the middle of a wave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from sqlite3 import Error as SqliteError
from sqlite3 import connect

import pytest
import trio

from trailing.stores import open_store
from trailing.stores.port import Loaded

START = 1_515_561_000_000


def write_wave(folder: Path) -> None:
    """Ten positions at one moment, and prices that don't change."""
    wave = ["symbol,side,quantity,entry_price,opened_at_ms"]
    for number in range(10):
        wave.append(f"A{number}/BTC:BTC,{'long' if number % 2 else 'short'},1,100,{START}")
        prices = [f"{START + bar * 300_000},100,100,100,100" for bar in range(5)]
        (folder / f"a{number}-btc-5m.csv").write_text("\n".join(["timestamp_ms,open,high,low,close", *prices]))
    (folder / "wave.csv").write_text("\n".join(wave))


def count_intents(path: Path) -> int:
    try:
        with closing(connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM intents").fetchone()
            return int(count)
    except SqliteError:  # the file, or its tables, are not there yet
        return 0


async def read_store(url: str) -> tuple[str, Loaded]:
    async with open_store(url, read_only=True) as store:
        numbers = {record.account async for record in store.events()}
        (account,) = numbers
        return account, await store.load("paper", account)


def interrupt(folder: Path, number: signal.Signals, *, twice: bool = False) -> None:
    """Send a signal when every order of the wave is in flight, and check the result."""
    for attempt in range(3):
        own = folder / str(attempt)
        own.mkdir()
        if interrupt_once(own, number, twice=twice):
            return
    pytest.fail("three times this machine took more than 2 s to get from the middle of a wave to its signal")


def interrupt_once(folder: Path, number: signal.Signals, *, twice: bool) -> bool:
    """Return whether the signal came in the middle of the wave; if so, the result was checked."""
    write_wave(folder)
    database = folder / "state.db"
    url = f"sqlite:///{database}"
    wave, plan = folder / "wave.csv", folder / "plan.toml"
    plan.write_text('initial_stop = "2%"\ncleanup_seconds = 30\n')  # so that a slow machine does not matter
    words: tuple[str, ...] = (
        "run",
        "--paper",
        "--wave",
        str(wave),
        "--prices",
        str(folder),
        "--plan",
        str(plan),
        "--store",
        url,
    )
    words += ("--candles", "high-first")
    process = subprocess.Popen(
        [sys.executable, "-m", "trailing", *words, "--latency", "2", "--speed", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        give_up_at = time.monotonic() + 60
        while count_intents(database) < 10:
            assert process.poll() is None
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        process.send_signal(number)
        printed = ""
        if twice:
            assert process.stderr is not None
            while "cancelling" not in printed:  # a second signal before that would be merged with the first
                printed += process.stderr.readline()
            process.send_signal(number)
        out, rest = process.communicate(timeout=60)
        err = printed + rest
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 128 + number
    document = json.loads(out)
    assert document["ended"] == f"cancelled by {number.name}"
    if document["stops"] == 10:
        return False
    # In the middle of the wave no position was protected, so every order was a partial one and was cleaned up.
    assert (document["stops"], document["unprotected"], document["unknown_outcomes"]) == (0, 10, 0)
    assert {row["state"] for row in document["report"]["positions"]} == {"given up"}
    assert f"{number.name}: cancelling; partial orders are cleaned up, stops stay live" in err
    assert f"cancelled by {number.name}; live stops: 0; positions without a stop: 10" in err
    assert f"state saved in {url}" in err
    assert ("the clean-up is still running" in err) == twice
    assert "Traceback" not in err
    # The store agrees: every position has a record without an order, and no order has an unknown outcome.
    account, loaded = trio.run(read_store, url)
    assert account.startswith("run-")
    assert loaded.intents == ()
    assert len(loaded.stops) == 10
    assert not any(record.orders for record in loaded.stops)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_wave_cleans_up_every_partial_order_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    interrupt(tmp_path, number)


def test_a_second_signal_does_not_stop_the_clean_up(tmp_path: Path) -> None:
    interrupt(tmp_path, signal.SIGINT, twice=True)


@pytest.mark.repeats
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("time_over", range(10))
def test_ten_times_over(tmp_path: Path, number: signal.Signals, time_over: int) -> None:
    interrupt(tmp_path, number, twice=time_over % 2 == 1)
