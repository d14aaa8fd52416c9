"""Every example of the documentation runs to its end, and prints what its page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
PAGES = ("tutorial.md", "howto/enter.md", "howto/adopt.md", "howto/native.md", "howto/alerts.md", "howto/sweep.md")
INCLUDED = re.compile(
    r"^```\{literalinclude\} (?:\.\./)?examples/(\S+)$|^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

# The order in which a reader runs them, and one of them twice.
IN_ONE_FOLDER = (
    *("5_restart.py", "6_signals.py", "7_backtest.py", "8_testing_your_bot.py", "11_live_bot.py"),
    *("10_native.py", "10_native.py"),
)

SECONDS = re.compile(r"\b(\d+\.\d) s\b")


@cache
def shown() -> dict[str, str]:
    """What the pages show as the output of each example: the first block of text behind its code."""
    found: dict[str, str] = {}
    for page in PAGES:
        example = ""
        for code, output in INCLUDED.findall((DOCS / page).read_text()):
            if code:
                example = code
            else:
                found.setdefault(example, output)
    return found


def test_every_example_has_its_output_on_a_page() -> None:
    assert EXAMPLES
    assert shown().keys() == {path.name for path in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_to_its_end_and_prints_what_its_page_shows(example: Path, tmp_path: Path) -> None:
    check_example(example, tmp_path)


def test_the_examples_run_one_after_the_other_in_one_folder(tmp_path: Path) -> None:
    assert {path.name for path in EXAMPLES if "sqlite:///" in path.read_text()} <= set(IN_ONE_FOLDER)
    for name in IN_ONE_FOLDER:
        check_example(DOCS / "examples" / name, tmp_path)


def check_example(example: Path, folder: Path) -> None:
    """Run an example in a folder, and compare its output with its page."""
    run = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    # The number of cancellations differs from run to run: trio shuffles tasks.
    printed, wanted = (
        re.sub(r"^\d+ (?=cancellations)", "", text, flags=re.MULTILINE) for text in (run.stdout, shown()[example.name])
    )
    assert SECONDS.sub("… s", printed) == SECONDS.sub("… s", wanted)
    # The programs run on the real clock. On a busy machine they take a little more time; a pause of random length makes it less.
    pairs = zip(SECONDS.findall(printed), SECONDS.findall(wanted), strict=True)
    assert all(float(stated) - 0.3 <= float(measured) <= float(stated) + 1 for measured, stated in pairs), printed
