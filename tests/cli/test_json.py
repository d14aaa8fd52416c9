"""With `--json`, standard output has JSON and nothing else; the log goes to standard error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
import structlog
from silent import closed

from trailing.cli.commands import GROUPS
from trailing.cli.parser import Command
from trailing.cli.signals import Interruption, run_until_signal
from trailing.stores.postgres_server import ServerTiming

Run = Callable[..., Any]

COMMANDS = [command for group in GROUPS for command in group.commands]
INSPECTING: dict[str, list[str]] = {
    "status": [],
    "status --follow": [],
    "events": [],
    "events --follow": [],
    "report": [],
    "web": ["--bind", "127.0.0.1:0"],
    "prune": ["--older", "1d"],
}


@pytest.fixture(autouse=True)
def _log_as_it_comes() -> None:
    """Log as a command in its own process does."""
    structlog.reset_defaults()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the address of a Postgres that is down; the store stops trying after half a second."""
    monkeypatch.setattr("trailing.stores.postgres.ServerTiming", partial(ServerTiming, reply=0.5))
    with closed() as port:
        yield f"postgresql://127.0.0.1:{port}/db"


def test_every_command_with_json_is_tested() -> None:
    with_json = {command.name for command in COMMANDS if any(option.name == "--json" for option in command.options)}
    # `recover` is tested in tests/venues/test_ccxt_recover.py, `backtest` in test_backtest.py,
    # `sweep` in test_sweep.py, `suggest` in test_suggest.py; the others have no store.
    others = {
        "run",
        "backtest",
        "sweep",
        "suggest",
        "recover",
        "flatten",
        "doctor",
        "check",
        "alerts",
        "candles",
        "demo",
    }
    assert with_json == {*others, *(command.split()[0] for command in INSPECTING)}


@pytest.mark.parametrize("command", INSPECTING)
def test_standard_output_is_empty_when_postgres_is_down(run: Run, down: str, command: str) -> None:
    ran = run(*command.split(), *INSPECTING[command], "--json", "--store", down)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("trailing: Postgres 127.0.0.1:")
    assert ran.err.count("\n") == 1


def test_the_standard_output_of_a_run_is_empty_when_postgres_is_down(replay: Run, down: str) -> None:
    ran = replay("--json", "--store", down)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


BREAKS = {
    "no database": None,
    "another database": "DROP TABLE events",
    "a newer schema": "PRAGMA user_version = 99",
    "an event that is no JSON": "UPDATE events SET body = 'not JSON' WHERE number = (SELECT max(number) FROM events)",
    "a record that is no JSON": "UPDATE stop_records SET body = 'not JSON'",
}


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize(
    "command", [command for command in INSPECTING if "--follow" not in command and command != "web"]
)
def test_standard_output_is_json_or_empty_when_a_store_is_broken(
    run: Run, replayed: Any, tmp_path: Path, command: str, broken: str
) -> None:
    database = Path(shutil.copy(replayed.database, tmp_path))
    if (statement := BREAKS[broken]) is None:
        database.write_bytes(b"no database" * 1000)
    else:
        with closing(connect(database)) as connection, connection:
            connection.execute(statement)
    ran = run(command, *INSPECTING[command], "--json", "--store", f"sqlite:///{database}")
    for text in ran.out.splitlines() if command == "events" else filter(None, [ran.out]):
        json.loads(text)
    assert (ran.code, ran.err.count("\n")) in {(0, 0), (2, 1)}
    assert ran.code == 2 or broken.startswith(("an event", "a record"))


@pytest.mark.parametrize(
    "words", [("recover", "--paper"), ("recover", "--paper", "--dry-run"), ("run", "--new"), ("run",)]
)
@pytest.mark.parametrize("broken", ["state.db", "state.db-paper"])
def test_standard_output_is_empty_when_the_files_of_a_run_are_broken(
    run: Run, data: Path, tmp_path: Path, words: tuple[str, ...], broken: str
) -> None:
    if words == ("run", "--new") and broken == "state.db-paper":
        pytest.skip("a new run does not read the account of the last one")
    (tmp_path / broken).write_bytes(b"broken\n" * 1000)
    if words[0] == "run":
        words = ("run", "--paper", *words[1:], "--wave", str(data / "wave.csv"), "--prices", str(data))
        words += ("--candles", "high-first")
    ran = run(*words, "--json", "--store", f"sqlite:///{tmp_path}/state.db")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_standard_output_is_empty_when_an_option_is_wrong(run: Run, command: Command) -> None:
    ran = run(command.name, "--json", "--bogus")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_the_log_of_a_command_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(_: Interruption) -> str:
        structlog.get_logger("trailing").warning("the store can't be reached")
        return json.dumps("done")

    result, _ = run_until_signal(work)
    captured = capsys.readouterr()
    assert (result, captured.out) == ('"done"', "")
    assert "the store can't be reached" in captured.err
