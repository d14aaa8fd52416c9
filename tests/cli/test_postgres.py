"""The command on a store in Postgres."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import trio

import trailing
from trailing.events import Alarm
from trailing.stores.port import AppendEvent

Run = Callable[..., Any]


def append(url: str, what: str) -> None:
    async def main() -> None:
        async with trailing.open_store(url) as store:
            await store.commit([AppendEvent("paper", "default", Alarm(at=datetime.now(UTC), what=what))])

    trio.run(main)


def test_a_run_in_postgres_is_stored_inspected_and_pruned(run: Run, replay: Run, postgres_url: str) -> None:
    ended_with = json.loads(replay("--store", postgres_url, "--json").out)["report"]
    (account,) = json.loads(run("report", "--store", postgres_url, "--json").out)["accounts"]
    assert account["report"]["totals"] == ended_with["totals"]
    (open_account,) = json.loads(run("status", "--store", postgres_url, "--json").out)["accounts"]
    assert [stop["position"]["symbol"] for stop in open_account["stops"]] == ["CCC/BTC:BTC"]
    events = run("events", "--store", postgres_url).out.splitlines()
    assert len(events) > 10
    pruned = json.loads(run("prune", "--store", postgres_url, "--older", "30d", "--json").out)
    assert pruned["deleted"] == len(events)
    assert run("events", "--store", postgres_url).out == ""


def test_a_follower_prints_what_another_process_commits_at_once(postgres_url: str) -> None:
    append(postgres_url, "before")
    process = subprocess.Popen(
        [sys.executable, "-m", "trailing", "events", "--store", postgres_url, "--follow", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"]["what"] == "before"
        time.sleep(0.5)
        append(postgres_url, "meanwhile")
        committed = time.monotonic()
        assert json.loads(process.stdout.readline())["event"]["what"] == "meanwhile"
        assert time.monotonic() - committed < 2.5  # without a notification it takes 5 s
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_missing_store_is_one_line_without_its_password(run: Run, postgres_url: str) -> None:
    ran = run("status", "--store", postgres_url)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "it has no tables yet" in ran.err
    ran = run("prune", "--store", "postgresql://bot:hunter2@127.0.0.1/db?no_such_option=1", "--older", "30d")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "hunter2" not in ran.out + ran.err
