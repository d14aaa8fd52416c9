"""With `--json`, standard output has JSON and nothing else; the log goes to standard error."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import structlog
from silent import closed

from trailing.cli.commands import GROUPS
from trailing.cli.signals import Interruption, run_until_signal
from trailing.stores.postgres_server import Timing

Run = Callable[..., Any]

INSPECTING: dict[str, list[str]] = {
    "status": [],
    "status --follow": [],
    "events": [],
    "events --follow": [],
    "report": [],
    "prune": ["--older", "1d"],
}


@pytest.fixture(autouse=True)
def _log_as_it_comes() -> None:
    """Log as a command in its own process does."""
    structlog.reset_defaults()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the address of a Postgres that is down; the store stops trying after half a second."""
    monkeypatch.setattr("trailing.stores.postgres.Timing", partial(Timing, reply=0.5))
    with closed() as port:
        yield f"postgresql://127.0.0.1:{port}/db"


def test_every_command_with_json_is_tried_here() -> None:
    commands = [command for group in GROUPS for command in group.commands]
    with_json = {command.name for command in commands if any(option.name == "--json" for option in command.options)}
    # `recover` is tried in tests/venues/test_ccxt_recover.py; `doctor` and `demo` have no store.
    assert with_json == {"run", "recover", "doctor", "demo", *(command.split()[0] for command in INSPECTING)}


@pytest.mark.parametrize("command", INSPECTING)
def test_nothing_is_on_standard_output_where_postgres_is_down(run: Run, down: str, command: str) -> None:
    ran = run(*command.split(), *INSPECTING[command], "--json", "--store", down)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("trailing: Postgres 127.0.0.1/db ")
    assert ran.err.count("\n") == 1


def test_nothing_is_on_standard_output_of_a_run_where_postgres_is_down(replay: Run, down: str) -> None:
    ran = replay("--json", "--store", down)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_the_log_of_a_command_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    async def work(_: Interruption) -> str:
        structlog.get_logger("trailing").warning("the store can't be reached")
        return json.dumps("done")

    result, _ = run_until_signal(work)
    told = capsys.readouterr()
    assert (result, told.out) == ('"done"', "")
    assert "the store can't be reached" in told.err
