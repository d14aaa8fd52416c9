"""The page of the command states what the code does: commands, options with their defaults, and every field of a plan."""

from __future__ import annotations

import inspect
import json
import re
import signal
import tomllib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trailing.cli import INTERRUPTED, USAGE
from trailing.cli import app as commands
from trailing.cli.demo import DemoResult
from trailing.cli.plans import DEFAULT_PLAN
from trailing.cli.recoveries import Recovery
from trailing.cli.run import Result
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.rules import Breakeven, Callback, Chandelier, Steps

Run = Callable[..., Any]

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "command.md").read_text()
COMMANDS = ("demo", "run", "recover", "status", "events", "prune", "doctor", "report")
(PLAN,) = re.findall(r"^```toml\n(initial_stop.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct with their defaults; NODEFAULT for those without."""
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def test_every_command_stands_in_the_table_and_has_json() -> None:
    named = set(re.findall(r"^\| `trailing (\w+)", PAGE, re.MULTILINE))
    registered = {app.name[0] for app in commands.app.subapps} - {"help-print", "version-print"}
    assert named == registered == set(COMMANDS)
    assert all("json" in inspect.signature(getattr(commands, name)).parameters for name in COMMANDS)


def test_the_options_of_run_have_the_defaults_that_the_table_says() -> None:
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in PAGE.splitlines() if line.startswith("| `--")]
    stated = {option.removeprefix("--").replace("-", "_"): default for _, option, default, _, _ in rows}
    hidden = {"paper", "latency"}  # `--paper` is explained above the table, `--latency` is for the project's tests
    parameters = inspect.signature(commands.run).parameters
    assert set(stated) == set(parameters) - hidden
    assert f"an initial stop of {DEFAULT_PLAN.initial_stop}" in stated.pop("plan").replace(" %", "%")
    for name, text in stated.items():
        default = parameters[name].default
        if default in (inspect.Parameter.empty, False):
            assert text == "", name
        else:
            assert text == (default if isinstance(default, str) else f"{default:g}"), name


def defaults(name: str) -> dict[str, Any]:
    """The options of a command with their defaults; "" where there is none."""
    parameters = dict(inspect.signature(getattr(commands, name)).parameters)
    for hidden in ("venue", "svg"):  # an argument, and an option for the project's own pictures
        parameters.pop(hidden, None)
    given = {option.replace("_", "-"): parameter.default for option, parameter in parameters.items()}
    return {option: "" if default in (None, inspect.Parameter.empty) else default for option, default in given.items()}


def test_the_options_of_the_other_commands_have_the_defaults_that_the_table_says() -> None:
    (section,) = re.findall(r"^## Options of the other commands\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    flags = set(re.findall(r"`--([\w-]+)`", section.partition("|")[0]))
    stated: dict[str, dict[str, str]] = {name: {} for name in COMMANDS if name != "run"}
    named: list[str] = []
    for line in section.splitlines():
        if line.startswith("|") and "`" in line:
            _, command, options, default, *_ = line.split("|")
            named = re.findall(r"`(\w+)`", command) or named
            for name, option in product(named, re.findall(r"`--([\w-]+)`", options)):
                stated[name] |= {option: default.strip(" `")} if option in defaults(name) else {}
    for name, found in stated.items():
        expected = defaults(name)
        assert {option for option, default in expected.items() if default is False} <= flags
        assert {option: default for option, default in expected.items() if default is not False} == {
            option: default for option, default in found.items() if expected[option] is not False
        }


def test_the_exit_codes_are_those_that_the_table_says() -> None:
    codes = {int(code) for row in re.findall(r"^\| (\d[\d, ]*) \|", PAGE, re.MULTILINE) for code in row.split(",")}
    assert codes == {0, 1, USAGE, INTERRUPTED, 128 + signal.SIGTERM}


def keys(command: str) -> list[str]:
    """The keys that a command prints, as the page says."""
    (table,) = re.findall(r"^## What `--json` prints\n(.*?)^A `report`", PAGE, re.MULTILINE | re.DOTALL)
    (cell,) = re.findall(rf"^\| `{command}` \| (.*) \|$", table, re.MULTILINE)
    return re.findall(r"`(\w+)`", cell)


def names(kind: type[msgspec.Struct]) -> list[str]:
    return list(kind.__struct_fields__)


def test_json_has_the_keys_that_the_page_says(run: Run, replay: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    assert list(json.loads(replay("--json", "--store", url).out)) == keys("run") == ["plan", "candles", *names(Result)]
    first, *_ = run("events", "--json", "--store", url).out.splitlines()
    assert list(json.loads(first)) == keys("events")
    report, status, pruned = (
        json.loads(run(*words, "--json", "--store", url).out)
        for words in (("report",), ("status",), ("prune", "--older", "1d"))
    )
    assert [*report, *report["accounts"][0]] == keys("report")
    assert [*status, *status["accounts"][0], "at"] == keys("status")
    assert list(pruned) == keys("prune")
    assert keys("recover") == names(Recovery)
    assert keys("demo") == names(DemoResult)


def test_the_plan_names_every_field_with_its_default() -> None:
    stated = tomllib.loads(PLAN.replace("# override", "override"))
    decoded = decode_plan(stated)
    assert set(stated) == set(fields(TrailPlan))
    assert set(stated["pacing"]) == set(fields(Pacing))
    for name, default in fields(TrailPlan).items():
        if name not in {"initial_stop", "rules", "pacing"}:
            assert getattr(decoded, name) == default, name
    for name, default in fields(Pacing).items():
        if name != "override":
            assert getattr(decoded.pacing, name) == default, name


@pytest.mark.parametrize("kind", [Breakeven, Callback, Chandelier, Steps])
def test_the_plan_names_every_field_of_a_rule_and_says_which_have_no_default(kind: type[msgspec.Struct]) -> None:
    (stated,) = (rule for rule in tomllib.loads(PLAN)["rules"] if rule["type"] == kind.__name__)
    assert set(stated) - {"type"} == set(fields(kind))
    (decoded,) = decode_plan({"initial_stop": "2%", "rules": [stated]}).rules
    (table,) = (text for text in PLAN.split("[[rules]]") if f'"{kind.__name__}"' in text)
    lines = dict(re.findall(r"^(\w+) = (.*)$", table, re.MULTILINE))
    for name, default in fields(kind).items():
        assert ("no default" in lines[name]) == (default is msgspec.NODEFAULT), name
        if default is not msgspec.NODEFAULT:
            assert getattr(decoded, name) == default, name
