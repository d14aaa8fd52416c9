"""No command waits for ever, and a signal ends each of them (real processes, sockets and Postgres)."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import OwnServer, in_schema
from psycopg import sql
from silent import closed, full, listening, port_of, silent, wait_for_client

from trailing.cli.commands import GROUPS

SHORT_DEADLINES = str(Path(__file__).with_name("short_deadlines.py"))
KEYS = {"TRAILING_API_KEY": "key", "TRAILING_SECRET": "secret"}
SECONDS = 90.0
"""More seconds than any of these processes needs, with its start."""

Words = Callable[[str], list[str]]


@pytest.fixture
def words(data: Path) -> dict[str, Words]:
    """The words after `trailing` for each command, by the address of its store."""
    (data / "empty.db").touch()
    run = ["run", "--paper", "--wave", str(data / "wave.csv"), "--prices", str(data), "--candles", "high-first"]
    return {
        "run": lambda url: [*run, "--json", "--store", url],
        "status": lambda url: ["status", "--json", "--store", url],
        "status --follow": lambda url: ["status", "--follow", "--json", "--store", url],
        "events": lambda url: ["events", "--json", "--store", url],
        "events --follow": lambda url: ["events", "--follow", "--json", "--store", url],
        "report": lambda url: ["report", "--json", "--store", url],
        "web": lambda url: ["web", "--bind", "127.0.0.1:0", "--json", "--store", url],
        "suggest": lambda url: ["suggest", "--prices", str(data), "--callback", "1%", "--json", "--store", url],
        "prune": lambda url: ["prune", "--older", "1d", "--json", "--store", url],
        "doctor": lambda _: ["doctor", "bybit", "--json"],
        "candles": lambda _: [
            *("candles", "bybit", "BTC/USDT:USDT", "--since", "1d", "--out", str(data / "candles"), "--json"),
        ],
        "recover": lambda _: ["recover", "--exchange", "bybit", "--json", "--store", f"sqlite:///{data}/empty.db"],
        "demo": lambda _: ["demo", "--json"],
    }


WAITING_FOR_A_SERVER = [
    *(
        "run",
        "status",
        "status --follow",
        "events",
        "events --follow",
        "report",
        "web",
        "suggest",
        "prune",
        "doctor",
        "candles",
        "recover",
    )
]


def test_every_command_is_tested(words: dict[str, Words]) -> None:
    commands = {command.name for group in GROUPS for command in group.commands}
    # `completion`, and a `backtest` or a `sweep` of files, wait for nothing; `check` and `flatten` have tests of their own in
    # tests/venues, and `alerts` in tests/alerts.
    untested = {"completion", "backtest", "sweep", "check", "flatten", "alerts"}
    assert {name.split()[0] for name in words} == commands - untested
    assert set(WAITING_FOR_A_SERVER) == set(words) - {"demo"}


@contextmanager
def started(port: int, words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command in its own process, which is killed if the test has not ended it."""
    command = [sys.executable, SHORT_DEADLINES, str(port), *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    process = subprocess.Popen(command, env={**os.environ, **KEYS}, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def postgres_at(port: int) -> str:
    return f"postgresql://bot@127.0.0.1:{port}/db"


@pytest.mark.parametrize("unanswering", [silent, full, closed])
def test_fm59_a_run_whose_postgres_does_not_answer_ends_with_one_line_and_code_2(
    words: dict[str, Words], unanswering: Callable[[], Any]
) -> None:
    with unanswering() as port, started(port, words["run"](postgres_at(port))) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"trailing: Postgres 127.0.0.1:{port}/db schema trailing: ")
    assert err.count("\n") == 1


def cases() -> Iterator[Any]:
    """SIGTERM for each command; SIGINT for the two that once hung, and before a release for the others too."""
    for command in WAITING_FOR_A_SERVER:
        yield pytest.param(command, signal.SIGTERM, id=f"{command} SIGTERM")
        marks = () if command in ("run", "doctor") else pytest.mark.repeats
        yield pytest.param(command, signal.SIGINT, id=f"{command} SIGINT", marks=marks)


@pytest.mark.parametrize(("command", "number"), tuple(cases()))
def test_fm59_a_signal_ends_every_command_while_its_server_is_silent(
    words: dict[str, Words], command: str, number: signal.Signals
) -> None:
    with listening() as server:
        port = port_of(server)
        with started(port, words[command](postgres_at(port))) as process, closing(wait_for_client(server)):
            process.send_signal(number)
            out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (128 + number, "")
    assert "Traceback" not in err


def test_fm59_a_signal_ends_the_demo(words: dict[str, Words]) -> None:
    with started(0, words["demo"]("")) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("one lock: ")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (143, "")


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    give_up_at = time.monotonic() + SECONDS
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def count_events(dsn: str, schema: str) -> int:
    try:
        with psycopg.connect(dsn) as connection:
            query = sql.SQL("SELECT count(*) FROM {}.events").format(sql.Identifier(schema))
            (count,) = connection.execute(query).fetchone() or (0,)
            return int(count)
    except psycopg.Error:  # its tables are not there yet
        return 0


def test_fm59_a_run_whose_postgres_freezes_ends_on_the_real_clock_and_by_a_signal(
    words: dict[str, Words], own_server: OwnServer
) -> None:
    urls = [in_schema(own_server.dsn, schema) for schema in ("left", "ended")]
    with (
        started(0, [*words["run"](urls[0]), "--speed", "600"]) as left_alone,
        started(0, [*words["run"](urls[1]), "--speed", "600"]) as interrupted,
    ):
        wait_until(lambda: count_events(own_server.dsn, "left") > 2, left_alone)
        wait_until(lambda: count_events(own_server.dsn, "ended") > 2, interrupted)
        with own_server.frozen():
            interrupted.send_signal(signal.SIGTERM)
            for process, code in ((interrupted, 143), (left_alone, 2)):
                out, err = process.communicate(timeout=SECONDS)
                assert (process.returncode, out) == (code, "")
                assert err.splitlines()[-1].startswith("trailing: the store did not answer within 1 s")
                assert "Traceback" not in err


def test_fm59_a_run_goes_on_when_its_postgres_has_been_killed_and_started_again(
    words: dict[str, Words], own_server: OwnServer
) -> None:
    command = [sys.executable, "-m", "trailing", *words["run"](in_schema(own_server.dsn, "bots")), "--speed", "6000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: count_events(own_server.dsn, "bots") > 2, process)
        own_server.kill()
        own_server.start()
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert '"ended": "the data ended"' in out


def test_fm59_a_follower_whose_postgres_freezes_ends_with_one_line(
    words: dict[str, Words], own_server: OwnServer
) -> None:
    url = in_schema(own_server.dsn, "bots")
    with started(0, words["run"](url)) as process:
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    with started(0, words["status --follow"](url)) as status, started(0, words["events --follow"](url)) as events:
        for process in (status, events):
            assert process.stdout is not None
            assert process.stdout.readline().startswith("{")
        with own_server.frozen():
            for process in (status, events):
                _, err = process.communicate(timeout=SECONDS)
                assert process.returncode == 2
                assert err.splitlines()[-1].startswith("trailing: Postgres ")


CLEANS_UP_FOR_A_SECOND = "import sys; from trailing.cli import main, signals; signals.CLEANUP_SECONDS = 1.0; main()"


def test_fm59_a_signal_ends_a_command_whose_output_nothing_reads(words: dict[str, Words], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    with started(0, words["run"](url)) as process:
        process.communicate(timeout=SECONDS)
    reading, writing = os.pipe()
    command = [sys.executable, "-c", CLEANS_UP_FOR_A_SECOND, *words["events --follow"](url)]
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    try:
        fill(writing)
        os.close(writing)
        full_at = count_bytes(reading)
        os.read(reading, ROOM)
        wait_until(lambda: count_bytes(reading) > full_at - ROOM // 4, process)
        wait_until(lambda: is_resting(reading), process)  # it is blocked in the middle of its output
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(reading)
    assert (process.returncode, err) == (
        143,
        "trailing: SIGTERM: the clean-up did not end within 1 s and was stopped\n",
    )


ROOM = 8192
"""Free bytes in the pipe, fewer than the events of a run take."""


def fill(pipe: int) -> None:
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe, bytes(ROOM))
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags)


def count_bytes(pipe: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


def is_resting(pipe: int) -> bool:
    held = count_bytes(pipe)
    time.sleep(0.5)
    return count_bytes(pipe) == held
