"""`trailing sweep`: its table, its JSON, its files, and what it refuses before it reads a price."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from trailing.cli.signals import Interruption
from trailing.sweep.pieces import walk_piece

Run = Callable[..., Any]

START = 1_515_561_000_000
AXES = ("--initial-stop", "1%:3%:1%", "--callback", "none,0.5%,1%")


@pytest.fixture
def swept(run: Run, data: Path) -> Run:
    """Sweep the wave of `data`; more words can be added."""

    def swept(*words: object) -> Any:
        return run("sweep", "--prices", data, "--wave", data / "wave.csv", *AXES, *words)

    return swept


def test_the_table_has_the_best_plans_and_the_notes_say_how_far_to_trust_them(swept: Run) -> None:
    ran = swept("--best", 3, "--fee", "0.05")
    assert (ran.code, ran.err) == (0, "")
    head, *rows = ran.out.splitlines()
    assert head.split()[:4] == ["initial", "stop", "callback", "profit"]
    assert len([row for row in rows[:3] if "%" in row]) == 3
    for begin in (
        "not found: ",
        "by chance: the best of 9 plans without an edge gains more than ",
        "walk-forward: the best plan until ",
        "plateau: ",
        "warning: the best plan rests on 3 trades",
        "AAA/BTC:BTC: 123 prices; 9 plans by the kernel, whose arithmetic is that of the core",
        "costs: slippage 0% per fill at market, fee 0.05% per fill, no funding",
    ):
        assert any(row.startswith(begin) for row in rows), begin


def test_the_json_has_the_same_plans_and_nothing_else_goes_to_standard_output(swept: Run) -> None:
    document = json.loads(swept("--json").out)
    assert document["tried"] == 9
    assert document["axes"] == {"initial_stop": ["1%", "2%", "3%"], "callback": ["none", "0.5%", "1%"]}
    assert document["candles"] == "both"
    best = document["best"][0]
    assert best["plan"]["initial_stop"]["percent"] == best["values"]["initial_stop"].removesuffix("%")
    assert best["profit"] == min(best["profit_high_first"], best["profit_low_first"])
    assert {"walk_forward", "chance", "plateau", "warnings", "walked", "found", "costs"} < set(document)


def test_the_files_have_every_plan_and_the_trades_of_the_best_ones(swept: Run, tmp_path: Path) -> None:
    document = json.loads(
        swept("--json", "--best", 2, "--csv", tmp_path / "plans.csv", "--trades", tmp_path / "trades.csv").out
    )
    with (tmp_path / "plans.csv").open(newline="") as file:
        plans = list(csv.DictReader(file))
    assert len(plans) == 9
    numbers = [each["number"] for each in document["best"]]
    assert [float(plans[number]["profit"]) for number in numbers] == [each["profit"] for each in document["best"]]
    with (tmp_path / "trades.csv").open(newline="") as file:
        trades = list(csv.DictReader(file))
    assert [trade["plan"] for trade in trades] == [str(number) for number in numbers for _ in range(6)]
    assert {trade["candles"] for trade in trades} == {"high-first", "low-first"}


def test_generated_entries_need_no_wave(run: Run, data: Path) -> None:
    words = ("--prices", data, "--symbol", "AAA/BTC:BTC", "--always-in", "--side", "both", "--json", *AXES)
    document = json.loads(run("sweep", *words).out)
    assert [each["symbol"] for each in document["walked"]] == ["AAA/BTC:BTC"]
    assert document["best"][0]["trades"] > 2


@pytest.mark.slow  # each process imports numba
def test_two_jobs_give_the_document_of_one(swept: Run) -> None:
    assert swept("--json", "--jobs", 2).out == swept("--json").out


def test_a_plan_file_gives_the_rules_that_no_option_varies(swept: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('initial_stop = "9%"\nmin_stop_ticks = 3\n[[rules]]\ntype = "Breakeven"\nat = "1%"\n')
    best = json.loads(swept("--json", "--plan", plan).out)["best"][0]["plan"]
    assert best["min_stop_ticks"] == 3
    assert best["rules"][0]["type"] == "Breakeven"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the grid is empty: give at least one of --initial-stop, --callback"),
        (("--callback", "0.001%:10%:0.001%", "--initial-stop", "0.001%:10%:0.001%"), "the grid has 100,000,000 plans"),
        (("--callback", "0:1000:0.000001%"), "--callback 0:1000:0.000001% has 1,000,000,001 values"),
        (("--callback", "1%:2%"), "--callback got '1%:2%', wants values such as"),
        (("--callback", "2%:1%:0.5%"), "whose end is not before its begin"),
        (("--callback", "1%:2%:0%"), "a step above 0"),
        (("--callback", "1%,5"), "percentages or amounts, and not both"),
        (("--callback", "1:3%:1%"), "percentages or amounts, and not both"),
        (("--callback", "1%:3%:1"), "percentages or amounts, and not both"),
        (("--callback", "one"), "--callback got 'one', wants values such as"),
        (("--callback", "nan"), "--callback got 'nan'"),
        (("--callback=-1%",), "--callback got '-1%'"),
        (("--initial-stop", "none"), "--initial-stop got 'none', wants values"),
        (("--activation", "1%"), "Grid.activation has values, but Grid.callback has none"),
        (("--steps", "1%:2%"), "--steps got '1%:2%', wants pairs"),
        (("--steps", "x=2%"), "--steps got 'x=2%', wants pairs"),
        (("--chandelier", "2", "--chandelier-period", "1.5"), "--chandelier-period got '1.5', wants whole numbers"),
        (("--chandelier", "2", "--chandelier-period", "none"), "--chandelier-period got 'none'"),
        (("--callback", "1%", "--first-part", "100"), "--first-part got '100'"),
        (("--callback", "1%", "--first-part", "x"), "--first-part got 'x'"),
        (("--callback", "1%", "--jobs", "0"), "--jobs got 0"),
        (("--callback", "1%", "--jobs", "100000"), "--jobs got 100000, wants at most "),
        (("--callback", "1%", "--jobs", "two"), "'two' is not a whole number"),
        (("--callback", "1%", "--best", "0"), "--best got 0"),
        (("--callback", "1%"), "sweep wants exactly one of --wave, --signals, --store, --every, --always-in"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(
    run: Run, data: Path, words: tuple[str, ...], message: str
) -> None:
    ran = run("sweep", "--prices", data, *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_grid_that_is_too_large_is_refused_before_a_file_is_read(run: Run) -> None:
    ran = run("sweep", "--prices", "nowhere", "--always-in", "--callback", "0:1000:0.000001%")
    assert "has 1,000,000,001 values" in ran.err


def test_a_missing_extra_is_one_line_that_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    ran = run("sweep", "--prices", "nowhere", "--always-in", "--callback", "1%")
    assert ran.code == 2
    assert ran.err == "trailing: sweeps need numba, which is not installed: pip install 'trailing[sweep]'\n"


@pytest.mark.usefixtures("own_signals")
def test_a_signal_ends_a_sweep_at_its_next_step(swept: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = threading.Event()
    interrupt, walk = Interruption.interrupt, walk_piece

    def interrupt_and_note(interruption: Interruption, by: signal.Signals) -> None:
        interrupt(interruption, by)
        interrupted.set()

    def walk_and_signal(piece: Any) -> Any:
        assert not interrupted.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted.wait(10)
        return walk(piece)

    monkeypatch.setattr(Interruption, "interrupt", interrupt_and_note)
    monkeypatch.setattr("trailing.sweep.running.walk_piece", walk_and_signal)
    ran = swept()
    assert (ran.code, ran.out) == (130, "")


def test_a_file_that_cannot_be_written_is_one_line(swept: Run, tmp_path: Path) -> None:
    ran = swept("--csv", tmp_path / "no" / "plans.csv")
    assert ran.code == 2
    assert "plans.csv can't be written: No such file or directory" in ran.err


LONG = ("--always-in", "--symbol", "AAA/BTC:BTC", "--callback", "0.01%:10%:0.01%", "--initial-stop", "1%:10%:0.1%")


IN_SHORT_PIECES = "import sys; from trailing.sweep import pieces; pieces.STEPS = 1_000_000; from trailing.cli import main; sys.exit(main())"
"""The command with pieces of a tenth of a second, because a sweep ends after those under way."""


@pytest.fixture
def long_sweep(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep of minutes in two processes, once both have started."""
    bars = (f"{START + bar * 60_000},100,{101 + bar % 7},99,100" for bar in range(100_000))
    (tmp_path / "aaa-btc-1m.csv").write_text("\n".join(("timestamp_ms,open,high,low,close", *bars)))
    command = [sys.executable, "-c", IN_SHORT_PIECES, "sweep", "--prices", str(tmp_path), *LONG, "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(workers_of(process.pid)) == 2 or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def workers_of(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:  # an import has run a command, which has just ended
        return False


@pytest.mark.slow  # each process imports numba
def test_the_workers_of_a_sweep_that_was_killed_end(long_sweep: subprocess.Popen[str]) -> None:
    workers = workers_of(long_sweep.pid)
    assert len(workers) == 2
    long_sweep.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert alive == []


@pytest.mark.slow  # each process imports numba
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.repeats)])
def test_a_signal_to_the_whole_group_is_one_line_at_once(
    long_sweep: subprocess.Popen[str], number: signal.Signals
) -> None:
    for process in (psutil.Process(long_sweep.pid), *workers_of(long_sweep.pid)):
        process.send_signal(number)
    out, err = long_sweep.communicate(timeout=60)
    assert (long_sweep.returncode, out) == (128 + number, "")
    assert err == f"trailing: {number.name}: cancelling; it ends after the pieces under way, without a result\n"
