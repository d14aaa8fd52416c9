"""The help and the version: what they show, and what they don't import."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from trailing.cli.commands import GROUPS
from trailing.cli.parser import Command, Group

Run = Callable[..., Any]

COMMANDS = [command for group in GROUPS for command in group.commands]


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_help_shows_the_groups_with_one_line_per_command_and_the_exit_codes(
    run: Run, words: tuple[str, ...]
) -> None:
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    for group in GROUPS:
        at = lines.index(f"{group.title}:")
        for number, command in enumerate(group.commands, 1):
            assert lines[at + number].split(maxsplit=1) == [command.name, command.summary]
    codes = re.findall(r"^  (\d+) ", ran.out.partition("exit codes:")[2], re.MULTILINE)
    assert codes == ["0", "1", "2", "130", "143"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_shows_every_option_that_is_not_hidden(run: Run, command: Command) -> None:
    ran = run(command.name, "--help")
    assert (ran.code, ran.err) == (0, "")
    for option in command.options:
        assert (f"  {option.name}" in ran.out) == (not option.hidden)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_options_of_a_command_are_the_parameters_of_its_function(command: Command) -> None:
    parameters = inspect.signature(import_module(command.module).main).parameters
    assert {option.parameter for option in command.options} == set(parameters)


@pytest.mark.parametrize("group", GROUPS[:3], ids=lambda group: group.title)
def test_the_module_of_a_command_is_in_the_folder_of_its_group(group: Group) -> None:
    folder = group.title.split()[0].lower()
    assert [command.module for command in group.commands] == [
        f"trailing.cli.{folder}.{command.name}" for command in group.commands
    ]


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("--version",), ("completion", "bash"), ("stauts",)])
def test_help_version_and_completion_import_nothing_that_is_slow(words: tuple[str, ...]) -> None:
    code = (
        "import sys; from trailing.cli import main; main(sys.argv[1:]);"
        "print(*[name for name in ('ccxt', 'rich', 'asyncio', 'structlog', 'psycopg') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_that_of_the_package(run: Run, option: str) -> None:
    assert run(option) == (0, f"{version('trailing')}\n", "")


def test_a_missing_package_is_one_sentence_that_says_what_to_install(
    replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(module: str) -> object:
        raise ModuleNotFoundError(f"No module named {module!r}", name="psycopg.rows")

    monkeypatch.setattr("trailing.cli.import_module", without)
    ran = replay()
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(
        r"trailing: the package psycopg is not installed\. Install it with: pip install 'psycopg\[binary\][<>=.,\d]+'\n",
        ran.err,
    )


def test_a_missing_package_of_an_extra_is_installed_by_the_extra(replay: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_: str) -> object:
        error = ModuleNotFoundError("No module named 'fancy_plots'", name="fancy_plots")
        raise ExceptionGroup("in a nursery", [error])

    monkeypatch.setattr("trailing.cli.import_module", without)
    monkeypatch.setattr("trailing.cli.messages.requires", lambda _: ["fancy-plots>=3; extra == 'plot'"])
    assert replay().err == (
        "trailing: the package fancy-plots is not installed. Install it with: pip install 'trailing[plot]'\n"
    )


def test_a_module_that_is_missing_by_a_bug_keeps_its_traceback(replay: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(_: str) -> object:
        raise ModuleNotFoundError("No module named 'trailing.nowhere'", name="trailing.nowhere")

    monkeypatch.setattr("trailing.cli.import_module", without)
    with pytest.raises(ModuleNotFoundError):
        replay()


@pytest.mark.parametrize("words", [("run",), ("status",), ("report",)])
def test_a_normal_start_warns_of_nothing(replayed: Any, data: Path, words: tuple[str, ...]) -> None:
    url = f"sqlite:///{shutil.copy(replayed.database, data)}"
    if words == ("run",):
        words = ("run", "--paper", "--wave", f"{data}/wave.csv", "--prices", str(data), "--log-level", "info")
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "trailing", *words, "--store", url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "arning" not in ran.stderr
