"""Every command that a page shows works: it is run here, or its page or test is named that runs it.

`docs/howto/command.md` has tests of its own, in `tests/cli`.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trailing.cli import main
from trailing.cli.commands import GROUPS
from trailing.cli.parser import find_command, parse_options

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if "_build" not in path.parts and path.name != "command.md"
    ),
]
CONSOLE = re.compile(r"^\$ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```(?:sh)?\n((?:\.venv/bin/|python3? |trailing |nox ).*?)\n```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:\.venv/bin/)?(?:trailing|nox|pytest|python -m) [^`…]+)`")


def shown() -> set[str]:
    """Every command on the pages, on one line, as a reader types it without the path of the environment."""
    found = set[str]()
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        lines += CONSOLE.findall(text)
        lines += [" ".join(command.split()) for command in INLINE.findall(text)]
        found |= {part.removeprefix(".venv/bin/") for line in lines for part in line.split(" && ")}
    return found


SHOWN = shown()
TRAILING = sorted(command for command in SHOWN if command.startswith("trailing "))
NOX = sorted(command for command in SHOWN if re.match(r"nox\b", command))
# The installation: the session `package` of nox installs the wheel, every other session the project with its groups.
INSTALLING = {
    "python3 -m venv .venv",
    "pip install .",
    "pip install '.[alerts]'",
    "pip install '.[sweep]'",
    "pip install '.[web]'",
    "pip install 'nox[uv]'",
    "pip install --upgrade pip",
    "pip install --editable . --group dev",
}
# Programs, with the test that runs them.
RUN_BY = {
    "python -m pytest tests/exchanges/test_ccxt_requests.py tests/exchanges/test_polling.py -k NAME": "tests/exchanges",
    "python docs/examples/1_ten_lines.py": "tests/test_examples.py",
    "pytest -q tests/core/test_rules.py tests/test_architecture.py tests/cli/test_command_page.py": "noxfile.py",
    "ruff format .": "noxfile.py",
    'pytest -q tests/core -m "not slow"': "tests/core",
    "python -m pytest -s tests/benchmarks/test_bench_streams.py": "tests/benchmarks/test_bench_streams.py",
}
# Simulations, with smaller numbers: the large ones are run by `nox -s simulate`.
SIMULATIONS = {
    "python -m simulation.laboratory --seeds 200": ("--seeds", "1"),
    "python -m simulation.healing --seeds 500": ("--seeds", "1"),
    "python -m simulation.healing --seed 7": ("--seed", "7"),
    "python -m simulation.killing --kills 200": ("--help",),
    "python -m simulation.takeover --takeovers 50": ("--help",),
}


def test_every_command_on_a_page_is_run_by_a_test() -> None:
    assert sorted(SHOWN - {*TRAILING, *NOX, *INSTALLING, *RUN_BY, *SIMULATIONS}) == []
    assert sorted({*INSTALLING, *RUN_BY, *SIMULATIONS} - SHOWN) == []
    assert [path for path in RUN_BY.values() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("command", TRAILING)
def test_a_command_of_trailing_has_the_options_that_a_page_shows(command: str) -> None:
    words = shlex.split(command)[1:]
    # A page names some commands without their arguments.
    needed = {
        "doctor": ["bybit"],
        "check": ["bybit", "--symbol", "BTC/USDT:USDT"],
        "run": ["--wave", "w.csv", "--prices", "p/"],
        "prune": ["--older", "30d"],
        "backtest": ["--prices", "p/"],
        "sweep": ["--prices", "p/"],
    }
    named = [word for word in words[1:] if not word.startswith("-")]
    if (
        (words[0] in {"doctor", "check"} and not named)
        or words[0] == "run"
        or (words[0] in {"backtest", "sweep"} and "--prices" not in words)
        or (words[0] == "prune" and "--older" not in words)
    ):
        words += needed[words[0]]
    assert parse_options(find_command(words[0], GROUPS), words[1:]) is not None


@pytest.mark.parametrize(
    "command", ["trailing status", "trailing report", "trailing prune --store sqlite:///bot.db --older 90d"]
)
def test_a_command_for_a_store_works_on_the_tutorials_store(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command in TRAILING
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, ROOT / "docs/examples/5_restart.py"], check=True, capture_output=True, timeout=60)
    words = shlex.split(command)[1:]
    assert main([*words, *(() if "--store" in words else ("--store", "sqlite:///bot.db"))]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("command", NOX)
def test_a_session_of_nox_that_a_page_names_exists(command: str) -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    words = shlex.split(command)[1:]
    assert words[:1] in ([], ["-s"], ["-t"])
    if words[:1] == ["-s"]:
        assert re.sub(r"-3\.\d+$", "", words[1]) in sessions
    elif words:
        assert words == ["-t", "ci"]


@pytest.mark.parametrize("command", sorted(SIMULATIONS))
def test_a_simulation_that_a_page_names_runs(command: str, tmp_path: Path) -> None:
    module = shlex.split(command)[2]
    run = subprocess.run(
        [sys.executable, "-m", module, *SIMULATIONS[command]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
