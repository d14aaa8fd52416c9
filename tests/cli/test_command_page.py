"""The page of the command states what the code does: commands, options with their defaults, and every field of a plan."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trailing.cli import app as commands
from trailing.cli.plans import DEFAULT_PLAN
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.rules import Breakeven, Callback, Chandelier, Steps

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
