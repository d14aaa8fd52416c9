"""The page of the command is right: its commands run in its order and print what it shows, and its tables are complete."""

from __future__ import annotations

import json
import re
import signal
import tomllib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

import trailing
from trailing.alerts.trial import TrialResult
from trailing.cli import INTERRUPTED, LEFT_OVER, USAGE
from trailing.cli.commands import GROUPS
from trailing.cli.operate.alerts import AlertsDocument
from trailing.cli.operate.check import CheckDocument
from trailing.cli.operate.check_account import Left
from trailing.cli.operate.check_run import StepResult
from trailing.cli.operate.recovery_result import Recovery
from trailing.cli.practice.candles import CandleFile, CandlesDocument
from trailing.cli.practice.demo import DemoResult
from trailing.cli.practice.plan_files import DEFAULT_PLAN
from trailing.cli.practice.run_report import Result
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.rules import Rule
from trailing.sweep import Suggestion

Run = Callable[..., Any]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "command.md").read_text()
COMMANDS = {command.name: command for group in GROUPS for command in group.commands}
(PLAN,) = re.findall(r"^```toml\n(initial_stop.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

BOOKINGS = 5
"""After so many bookings of the exchange comes the SIGINT that the page shows as ^C: both stops are live, one was moved."""


def write_files(folder: Path) -> None:
    """Write the files that the page shows."""
    files = re.findall(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(files) == 4
    for name, text in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def sessions() -> Iterator[tuple[str, list[str]]]:
    """The commands of the page in its order, without `trailing`, each with the lines that the page shows after it."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for session in block.removeprefix("$ trailing ").split("\n$ trailing "):
            command, *lines = session.splitlines()
            yield command, [line for line in lines if line]


def without_ids(text: str) -> str:
    """What differs from run to run in a fixed form: ids of orders, names of runs, and times of day of this machine."""
    text = re.sub(r"run-\d{8}T[\d.]+Z", "run-20260101T000000.000000Z", text)
    text = re.sub(r"\btr[0-9a-f]{20}\b", "tr00000000000000000000", text)
    return re.sub(r"before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "before 2026-01-01 00:00:00 UTC", text)


def played(run: Run, command: str, shown: list[str], interrupted_after: Callable[[int], Any]) -> list[str]:
    """Run a command of the page; return its lines, as a terminal shows them."""
    interrupted = shown[:1] == ["^C"]
    with interrupted_after(BOOKINGS) if interrupted else nullcontext():
        ran = run(*command.split())
    lines = [*(["^C"] if interrupted else []), *ran.err.splitlines(), *ran.out.splitlines()]
    return [without_ids(line.rstrip()) for line in lines if line.strip()]


def test_every_command_of_the_page_prints_what_the_page_shows(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted_after: Callable[[int], Any]
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "88")
    commands = set()
    for command, shown in sessions():
        commands.add(command.split()[0])
        if command == "demo" or (command.startswith("web ") and "--help" not in command):
            continue  # the one takes half a minute, the other runs until a signal; they have tests of their own
        lines = played(run, command, shown, interrupted_after)
        # sorted, because the events of one moment come in any order
        for line, wanted in zip(sorted(lines), sorted(map(without_ids, shown)), strict=True):
            cut, mark, _ = wanted.partition("…")
            assert line.startswith(cut) if mark else line == wanted
    assert commands - {"--help", "stauts"} == set(COMMANDS)


def test_the_commands_that_the_page_names_have_the_options_that_it_gives_them() -> None:
    for name, rest in re.findall(rf"[`$\s]trailing ({'|'.join(COMMANDS)})\b([^`\n]*)", PAGE):
        known = {"--help", "--stroe", *(option.name for option in COMMANDS[name].options)}  # one is misspelt on purpose
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest.partition("#")[0])) - known == set(), name


def fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct with their defaults; NODEFAULT for those without."""
    return {field.name: field.default for field in msgspec.structs.fields(kind)}


def test_the_table_has_every_command_in_the_groups_of_the_help() -> None:
    (table,) = re.findall(r"^\| \| \| \|\n\|---\|---\|---\|\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows == [
        ["" if number else f"**{group.title}**", f"`trailing {command.name}`", command.summary]
        for group in GROUPS
        for number, command in enumerate(group.commands)
    ]


def test_the_default_plan_is_the_one_that_the_page_names() -> None:
    (stated,) = re.findall(r"Without `--plan`, the plan is an initial stop of (\d+) %", PAGE)
    assert str(DEFAULT_PLAN.initial_stop) == f"{stated}%"


def test_the_exit_codes_are_those_of_the_table() -> None:
    codes = {int(code) for row in re.findall(r"^\| (\d[\d, ]*) \|", PAGE, re.MULTILINE) for code in row.split(",")}
    assert codes == {0, 1, USAGE, LEFT_OVER, INTERRUPTED, 128 + signal.SIGTERM}


def keys(command: str) -> list[str]:
    """The keys that a command prints, as the page says."""
    (table,) = re.findall(r"^### What `--json` prints\n(.*?)^With both orders", PAGE, re.MULTILINE | re.DOTALL)
    (cell,) = re.findall(rf"^\| `{command}` \| (.*) \|$", table, re.MULTILINE)
    return re.findall(r"`(\w+)`", cell)


def names(kind: type[msgspec.Struct]) -> list[str]:
    return list(kind.__struct_fields__)


def test_json_has_the_keys_that_the_page_says(run: Run, replay: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    assert list(json.loads(replay("--json", "--store", url).out)) == keys("run") == ["plan", "costs", *names(Result)]
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
    assert keys("check") == [*names(CheckDocument), *names(StepResult), *names(Left)]
    assert keys("alerts") == [*names(AlertsDocument), *names(TrialResult)]
    assert keys("demo") == names(DemoResult)
    assert keys("candles") == [*names(CandlesDocument), *names(CandleFile)]


def test_every_command_with_json_has_its_row_of_keys() -> None:
    (table,) = re.findall(r"^### What `--json` prints\n(.*?)^With both orders", PAGE, re.MULTILINE | re.DOTALL)
    with_json = {name for name, command in COMMANDS.items() if "--json" in {option.name for option in command.options}}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == with_json
    suggested = [name for name in names(Suggestion) if name != "positions"]
    assert keys("suggest") == ["least_trades", "costs", "candles", "currencies", *suggested, "enough_trades"]


def test_every_policy_has_its_row_on_the_page_of_policies() -> None:
    page = (ROOT / "docs" / "howto" / "policies.md").read_text()
    stated = dict(re.findall(r'^\| `(on_\w+)` \| `"(\w+)"` \|', page, re.MULTILINE))
    assert stated == {name: value for name, value in fields(TrailPlan).items() if name.startswith("on_")}


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


RULES = [
    each for each in vars(trailing).values() if isinstance(each, type) and issubclass(each, Rule) and each is not Rule
]


@pytest.mark.parametrize("kind", RULES)
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
