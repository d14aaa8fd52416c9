"""A run that was interrupted by a signal or by the death of its process is resumed or recovered."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from trailing import LeaseLost
from trailing.cli.practice.saved_account import _lock

Run = Callable[..., Any]

START = 1_515_561_000_000  # 2018-01-10 05:10 UTC

DIES = """
import os, sys
import trailing.cli.practice.run
from trailing.cli import main
from trailing.cli.practice import saved_account
from trailing.cli.practice.saved_account import AccountWriter

times, left = int(sys.argv[1]), int(sys.argv[2])
saved_account._COMPACT_ABOVE = int(sys.argv[3])
write = AccountWriter._write

def write_and_die(writer, *changed):
    global left
    write(writer, *changed)
    left -= 1
    if not left:
        os._exit(9)

AccountWriter._write = write_and_die
for _ in range(times):
    process = os.fork()
    if not process:
        sys.exit(main(sys.argv[4:]))
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code != 9:
        sys.exit(f"the exit code of a process was {code}")
"""


@pytest.fixture(autouse=True)
def _own_signals(own_signals: None) -> None:
    """Each of these tests may end with a signal."""


@pytest.fixture
def words(data: Path, tmp_path: Path) -> list[str]:
    """The words of a replay whose state is in a file."""
    store = f"sqlite:///{tmp_path}/state.db"
    words = ["run", "--paper", "--wave", str(data / "wave.csv"), "--prices", str(data), "--store", store]
    return [*words, "--candles", "high-first", "--json"]


def die(words: list[str], bookings: int, *, times: int = 1, compact_above: int = 2**20) -> None:
    """Run a process that dies after so many bookings of its exchange, before the exchange answers the last request.

    Its account is replaced by a shorter one where it has more than `compact_above` bytes.

    Args:
        times: so many processes, one after the other. They are forks of one that has imported the command, which takes longer
            than their work.
    """
    numbers = [str(times), str(bookings), str(compact_above)]
    ran = subprocess.run([sys.executable, "-c", DIES, *numbers, *words], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()


def figures(document: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return the figures that a death must not change: the price of each stop, and of its fill."""
    names = ("symbol", "side", "state", "stop_price", "exit_price", "profit", "closed_at")
    return [tuple(row[name] for name in names) for row in document["report"]["positions"]]


@pytest.fixture
def whole(replayed: Any) -> dict[str, Any]:
    """The report of the same run without an interruption."""
    document: dict[str, Any] = json.loads(replayed.out)
    assert sum(row["moves"] for row in document["report"]["positions"]) > 30
    return document


def test_a_run_whose_process_died_is_resumed_and_has_the_same_result(
    run: Run, words: list[str], whole: dict[str, Any]
) -> None:
    die(words, 9)
    document = json.loads(run(*words).out)
    assert document["resumed_at"] is not None
    assert figures(document) == figures(whole)
    assert (document["ended"], document["ticks"]) == (whole["ended"], whole["ticks"])


def test_a_trailing_order_of_the_exchange_has_its_best_price_after_the_process_died(run: Run, tmp_path: Path) -> None:
    """The process dies at a booking of another symbol, after the trailing order has followed prices."""
    (tmp_path / "wave.csv").write_text(
        "symbol,side,quantity,entry_price,opened_at_ms\n"
        f"AAA/BTC:BTC,long,10,100,{START}\n"
        f"BBB/BTC:BTC,short,5,50,{START}\n"
    )
    steady = ("102.5,102.6,102.3,102.5",) * 4
    write_bars(
        tmp_path / "aaa-btc-5m.csv", ("100,100,100,100", "102.5,103,102.4,102.5", *steady, "102.5,102.5,101,101")
    )
    write_bars(tmp_path / "bbb-btc-5m.csv", (*("50,50,50,50",) * 4, "50,51.5,50,51.5", *("51.5,51.5,51.5,51.5",) * 2))
    (tmp_path / "plan.toml").write_text(
        'initial_stop = "2%"\nnative = true\n[[rules]]\ntype = "Callback"\ndistance = "1%"\nactivation = "1%"\n'
    )
    words = ["run", "--paper", "--wave", str(tmp_path / "wave.csv"), "--prices", str(tmp_path), "--json"]
    words += ["--candles", "high-first"]
    words += ["--plan", str(tmp_path / "plan.toml"), "--store", f"sqlite:///{tmp_path}/state.db"]
    whole = json.loads(run(*words, "--new").out)
    assert [row["exit_price"] for row in whole["report"]["positions"]] == ["101.97", "51"]
    die([*words, "--new"], 7)  # two entries, two stops and two trailing orders were booked before the fill of BBB
    assert figures(json.loads(run(*words).out))[0] == figures(whole)[0]


def write_bars(path: Path, bars: Sequence[str]) -> None:
    lines = [f"{START + number * 300_000},{bar}" for number, bar in enumerate(bars)]
    path.write_text("\n".join(["timestamp_ms,open,high,low,close", *lines]))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_run_whose_process_dies_again_and_again_has_the_same_result(
    run: Run, words: list[str], whole: dict[str, Any], every: int
) -> None:
    die(words, every, times=12)
    document = json.loads(run(*words).out)
    assert figures(document) == figures(whole)


def test_an_account_that_was_replaced_by_a_shorter_one_is_resumed_with_the_same_result(
    run: Run, words: list[str], whole: dict[str, Any], tmp_path: Path
) -> None:
    account = tmp_path / "state.db-paper"
    die(words, 60)
    long = account.stat().st_size
    account.unlink()
    (tmp_path / "state.db").unlink()
    die(words, 60, compact_above=4_000)
    assert account.stat().st_size < 16_000 < long / 2
    assert account.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*.new")] == []
    document = json.loads(run(*words).out)
    assert document["resumed_at"] is not None
    assert figures(document) == figures(whole)
    assert document["ticks"] == whole["ticks"]


def test_the_owner_of_an_account_that_was_replaced_meanwhile_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "state.db-paper"
    path.write_bytes(b"")
    with path.open("r+b") as opened_before:
        (tmp_path / "new").write_bytes(b"")
        (tmp_path / "new").replace(path)
        with pytest.raises(LeaseLost, match="another process is running this run"):
            _lock(path, opened_before.fileno())


def test_a_run_that_a_signal_ended_is_resumed_and_says_so(
    run: Run, words: list[str], whole: dict[str, Any], interrupted_after: Callable[[int], Any]
) -> None:
    with interrupted_after(15):
        ran = run(*words)
    assert ran.code == 128 + signal.SIGINT
    assert "the same command resumes the run" in ran.err
    cut = json.loads(ran.out)
    assert cut["resumed_at"] is None
    ran = run(*words[:-1])
    assert "this run was interrupted before, and resumed at 2018-01-10" in ran.out
    assert f"after {whole['ticks']} prices" in ran.out


def test_a_run_that_has_ended_is_not_resumed(run: Run, words: list[str]) -> None:
    first = json.loads(run(*words).out)
    second = json.loads(run(*words).out)
    assert second["resumed_at"] is None
    assert second == first


def test_with_new_an_interrupted_run_is_not_resumed(run: Run, words: list[str]) -> None:
    die(words, 9)
    document = json.loads(run(*words, "--new").out)
    assert document["resumed_at"] is None
    assert document["ticks"] > 0


@pytest.mark.parametrize("changed", ["--wave", "--plan", "--candles"])
def test_an_interrupted_run_is_resumed_only_with_the_same_files(
    run: Run, words: list[str], data: Path, changed: str
) -> None:
    die(words, 9)
    if changed == "--wave":
        (data / "wave.csv").write_text((data / "wave.csv").read_text().replace("long,10,100", "long,11,100"))
    elif changed == "--plan":
        (data / "plan.toml").write_text('initial_stop = "3%"\n')
        words += ["--plan", str(data / "plan.toml")]
    else:
        words[words.index("high-first")] = "low-first"
    before = snapshot(data.parent)
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert f"had another {changed}. Give the same to resume it, or --new to start a new run" in line
    assert snapshot(data.parent) == before


def test_a_partial_line_of_a_process_that_died_is_ignored(
    run: Run, words: list[str], whole: dict[str, Any], tmp_path: Path
) -> None:
    die(words, 9)
    saved = tmp_path / "state.db-paper"
    saved.write_bytes(saved.read_bytes() + b'{"type":"Booked","fed":')
    document = json.loads(run(*words).out)
    assert figures(document) == figures(whole)
    assert b'"fed":{' not in saved.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{}\n", "line 1: not a saved paper account: Object missing required field"),
        (b'{"type":"Ended"}\n', "line 1: not a saved paper account: its first line does not describe a run"),
        (b"\xff\n", "line 1: not a saved paper account"),
    ],
)
def test_a_file_that_is_no_paper_account_is_not_changed(
    run: Run, words: list[str], tmp_path: Path, text: bytes, message: str
) -> None:
    saved = tmp_path / "state.db-paper"
    saved.write_bytes(text)
    ran = run(*words)
    assert ran.code == 2
    assert f"{saved}, {message}" in ran.err
    assert saved.read_bytes() == text


def test_an_unreadable_paper_account_is_one_line(run: Run, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "state.db-paper").mkdir()
    ran = run(*words)
    assert ran.code == 2
    assert "state.db-paper can't be read" in ran.err


def recover_words(words: list[str]) -> list[str]:
    return ["recover", "--paper", "--store", words[words.index("--store") + 1]]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_shows_the_differences_and_changes_nothing(run: Run, words: list[str], tmp_path: Path) -> None:
    die(words, 9)
    before = snapshot(tmp_path)
    ran = run(*recover_words(words), "--dry-run")
    assert ran.code == 0
    assert "AAA/BTC:BTC  long" in ran.out
    assert "its stop is live at" in ran.out
    assert "dry run: nothing was changed" in ran.out
    after = snapshot(tmp_path)
    assert after.keys() - before.keys() <= {"state.db-shm", "state.db-wal"}  # SQLite makes them for each reader
    for name in ("state.db", "state.db-paper"):
        assert after[name] == before[name]


def test_a_recovery_fixes_the_differences_and_the_run_is_resumed_after_it(
    run: Run, words: list[str], whole: dict[str, Any]
) -> None:
    die(words, 4)  # the first stop is booked, and the process got no answer
    dry_run = json.loads(run(*recover_words(words), "--dry-run", "--json").out)
    ran = run(*recover_words(words), "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert [action["action"] for action in document["actions"]] == [action["action"] for action in dry_run["actions"]]
    assert "AdoptStop" in {action["action"] for action in document["actions"]}
    assert (document["dry_run"], document["unprotected"]) == (False, 0)
    assert document["stops"] >= 1
    again = run(*recover_words(words))
    assert "positions without a stop: 0" in again.out
    assert figures(json.loads(run(*words).out)) == figures(whole)


def test_a_recovery_requires_an_interrupted_run(run: Run, words: list[str]) -> None:
    ran = run(*recover_words(words))
    assert (ran.code, "there is no file" in ran.err) == (2, True)
    assert run(*words).code == 0
    ran = run(*recover_words(words))
    assert (ran.code, "has no interrupted run" in ran.err) == (2, True)
    ran = run("recover", "--store", "memory:")
    assert "exactly one of --paper and --exchange VENUE must be given" in ran.err


def test_only_its_owner_can_read_the_account_of_a_run(run: Run, words: list[str], tmp_path: Path) -> None:
    run(*words)
    assert (tmp_path / "state.db-paper").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("further", [[], ["--new"]])
def test_a_running_run_is_not_resumed_by_another_process_and_loses_nothing(
    further: list[str], run: Run, words: list[str], tmp_path: Path
) -> None:
    die(words, 6)
    saved = tmp_path / "state.db-paper"
    before = saved.read_bytes()
    with saved.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = run(*words, *further)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"trailing: {saved}: another process is running this run")
    assert saved.read_bytes() == before


def test_a_run_whose_account_another_process_owns_is_refused_in_one_line(
    run: Run, words: list[str], tmp_path: Path
) -> None:
    die(words, 6)
    (path,) = tmp_path.glob("state.db-lease-run-*@paper")  # left by the one that died
    account = path.name.removeprefix("state.db-lease-").removesuffix("@paper")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = run(*words)
    assert ran.code == 2
    assert ran.err.startswith(f"trailing: paper {unquote(account)} is owned by process ")
    assert ran.err.count("\n") == 1
    assert run(*words).code == 0
