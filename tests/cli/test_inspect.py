"""`status`, `events` and `report` read a store and change nothing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import trailing
from trailing.cli.time_options import parse_since
from trailing.errors import UsageError
from trailing.events import Alarm
from trailing.stores.port import AppendEvent, CloseStop

Run = Callable[..., Any]


@pytest.fixture
def store(replayed: Any, tmp_path: Path) -> str:
    """A store with two closed positions and an open one."""
    return f"sqlite:///{shutil.copy(replayed.database, tmp_path)}"


def test_status_shows_what_is_open(run: Run, store: str) -> None:
    out = run("status", "--store", store).out
    assert "CCC/BTC:BTC" in out
    assert "AAA/BTC:BTC" not in out
    (account,) = json.loads(run("status", "--store", store, "--json").out)["accounts"]
    (stop,) = account["stops"]
    assert account["exchange"] == "paper"
    assert (stop["position"]["symbol"], stop["state"], stop["quantity"]) == ("CCC/BTC:BTC", "waiting", "2")
    assert account["intents"] == []


def test_status_shows_what_the_exchange_trails(run: Run, replay: Run, data: Path, tmp_path: Path) -> None:
    plan, url = data / "plan.toml", f"sqlite:///{tmp_path}/state.db"
    plan.write_text(
        'initial_stop = "2%"\nnative = true\n[[rules]]\ntype = "Callback"\ndistance = "1%"\nactivation = "50%"\n'
    )
    assert replay("--plan", plan, "--store", url).code == 0
    shown = " ".join(run("status", "--store", url).out.split())
    assert "CCC/BTC:BTC long: the exchange trails 2 from 75 on, 1% behind the best price, order tr" in shown
    (account,) = json.loads(run("status", "--store", url, "--json").out)["accounts"]
    assert {stop["native"]["callback"]["percent"] for stop in account["stops"]} == {"1"}
    plan.write_text('initial_stop = "2%"\nnative = true\n')
    refused = replay("--plan", plan)
    assert refused.code == 2
    assert "TrailPlan.rules got 'none', wants exactly one Callback, with native=True" in refused.err


def test_status_shows_a_position_that_was_given_up(run: Run, replay: Run, data: Path, tmp_path: Path) -> None:
    plan, url = data / "plan.toml", f"sqlite:///{tmp_path}/state.db"
    plan.write_text('initial_stop = "2%"\non_unprotected = "report"\non_late_order = "cancel"\ncleanup_seconds = 60\n')
    assert replay("--latency", "3", "--deadline", "1", "--plan", plan, "--store", url).code == 0
    lines = run("status", "--store", url).out.splitlines()
    assert [line.split()[2:5] for line in lines if "/BTC:BTC" in line] == [
        ["given", "up", amount] for amount in ("10", "5", "2")
    ]


def test_the_report_of_a_store_is_that_of_the_run(run: Run, replay: Run, store: str) -> None:
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    ended_with = json.loads(replay("--json").out)["report"]
    assert account["report"]["totals"] == ended_with["totals"]
    assert account["report"]["positions"] == ended_with["positions"]
    assert "3 positions BTC" in run("report", "--store", store).out


def test_events_are_printed_in_order_and_from_a_time_on(run: Run, store: str) -> None:
    events = [json.loads(line) for line in run("events", "--store", store, "--json").out.splitlines()]
    assert [event["number"] for event in events] == sorted(event["number"] for event in events)
    assert {"StopOpened", "StopMoved", "StopFilled", "PositionClosed"} == {event["event"]["type"] for event in events}
    later = run("events", "--store", store, "--since", "2018-01-10T05:20", "--json").out.splitlines()
    assert json.loads(later[0])["event"]["at"] >= "2018-01-10T05:20"
    assert 0 < len(later) < len(events)
    lines = run("events", "--store", store).out.splitlines()
    assert len(lines) == len(events)
    assert "StopOpened" in lines[0]


def test_a_time_without_events_has_a_report_of_the_open_positions(run: Run, store: str) -> None:
    ran = run("report", "--store", store, "--since", "24h")
    assert ran.code == 0
    # An open position is reported without an event; one that ended before is not.
    assert "CCC/BTC:BTC" in ran.out
    assert "AAA/BTC:BTC" not in ran.out
    assert run("events", "--store", store, "--since", "24h").out == ""


@pytest.mark.parametrize("command", ["status", "events", "report"])
def test_a_missing_store_is_not_created(run: Run, tmp_path: Path, command: str) -> None:
    ran = run(command, "--store", f"sqlite:///{tmp_path}/none.db")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "none.db" in ran.err
    assert list(tmp_path.iterdir()) == []
    assert run(command, "--store", "memory:").code == 2


def test_inspecting_changes_no_byte_of_the_store(run: Run, store: str) -> None:
    path = Path(store.removeprefix("sqlite:///"))
    before = path.read_bytes()
    for command in ("status", "events", "report"):
        assert run(command, "--store", store).code == 0
    assert path.read_bytes() == before


def test_following_continues_until_a_signal_comes(store: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trailing", "events", "--store", store, "--follow", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["number"] == 1
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (143, "")


def test_pruning_deletes_old_events_and_leaves_what_is_open(run: Run, store: str) -> None:
    events = [json.loads(line) for line in run("events", "--store", store, "--json").out.splitlines()]
    before = events[len(events) // 2]["event"]["at"]
    old = [event for event in events if datetime.fromisoformat(event["event"]["at"]) < datetime.fromisoformat(before)]
    ran = run("prune", "--store", store, "--older", before, "--json")
    assert json.loads(ran.out)["deleted"] == len(old) > 0
    left = [json.loads(line) for line in run("events", "--store", store, "--json").out.splitlines()]
    assert left == [event for event in events if event not in old]
    assert "CCC/BTC:BTC" in run("status", "--store", store).out
    ran = run("prune", "--store", store, "--older", "30d")
    assert ran.out.startswith(f"deleted {len(left)} events from before ")


def test_pruning_requires_an_age_and_creates_nothing(run: Run, store: str, tmp_path: Path) -> None:
    assert run("prune", "--store", store).code == 2
    ran = run("prune", "--store", store, "--older", "old")
    assert (ran.code, ran.err.startswith("trailing: --older got 'old'")) == (2, True)
    assert run("prune", "--store", "memory:", "--older", "30d").code == 2
    assert run("prune", "--store", f"sqlite:///{tmp_path}/none.db", "--older", "30d").code == 2
    assert not (tmp_path / "none.db").exists()


async def test_a_followed_status_is_printed_again_when_something_has_happened(store: str) -> None:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "trailing", "status", "--store", store, "--follow", "--json"]
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
        async with aclosing(read_lines(process.stdout)) as output, stopping(process):
            (account,) = json.loads(await anext(output))["accounts"]
            assert [stop["position"]["symbol"] for stop in account["stops"]] == ["CCC/BTC:BTC"]
            async with trailing.open_store(store) as writing:
                (record,) = (await writing.load("paper", account["account"])).stops
                await writing.commit(
                    [
                        CloseStop("paper", account["account"], record),
                        AppendEvent("paper", account["account"], Alarm(at=datetime.now(UTC), what="closed by hand")),
                    ]
                )
            assert json.loads(await anext(output))["accounts"] == []
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 143


@asynccontextmanager
async def stopping(process: trio.Process) -> AsyncIterator[None]:
    """Kill the process if the block has not ended it within half a minute."""
    try:
        with trio.fail_after(30):
            yield
    finally:
        if process.returncode is None:
            process.kill()


async def read_lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[str]:
    text = b""
    async for data in stream:
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            yield line.decode()


def test_what_is_open_is_shown_as_a_table_while_it_is_followed(store: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trailing", "status", "--store", store, "--follow"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" UTC\n")
        assert "CCC/BTC:BTC" in "".join(process.stdout.readline() for _ in range(3))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_a_duration_counts_back_from_now(text: str, seconds: int) -> None:
    since = parse_since(text)
    assert since is not None
    assert abs(datetime.now(UTC) - timedelta(seconds=seconds) - since) < timedelta(seconds=10)


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert parse_since(None) is None
    assert parse_since("2018-01-10T05:10") == datetime(2018, 1, 10, 5, 10, tzinfo=UTC)
    assert parse_since("2018-01-10T05:10+02:00") == datetime(2018, 1, 10, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "24", "h", "1.5h", "-3d", "yesterday", "999999999w", "٣h"])
def test_a_text_that_is_neither_duration_nor_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--since got"):
        parse_since(text)
