"""The failure modes and the tests that are named after them, as a table for their page."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NAMED = re.compile(r"^ *(?:async )?def (?P<test>test_fm(?P<number>\d\d)_\w+)", re.MULTILINE)


def write(folder: Path) -> None:
    """Write `failure-modes.md` into a folder, where it differs from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "failure-modes.md", table(modes(), tests(ROOT / "tests"))
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def modes() -> dict[str, dict[str, str]]:
    """Each failure mode by its number: what was wrong, and what holds."""
    return tomllib.loads((DOCS / "failure-modes.toml").read_text())


def tests(folder: Path) -> dict[str, list[str]]:
    """The tests below a folder by the number that they are named after, each as file::test. Nothing is imported."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for name in NAMED.finditer(path.read_text()):
            found.setdefault(name["number"], []).append(f"{path.relative_to(folder).as_posix()}::{name['test']}")
    return found


def table(known: Mapping[str, Mapping[str, str]], shown: Mapping[str, Sequence[str]]) -> str:
    """One row a failure mode.

    Raises:
        ValueError: one has no test, or a test is named after none.
    """
    if known.keys() != shown.keys():
        raise ValueError(f"without a test, or without a mode: {sorted(known.keys() ^ shown.keys())}")
    lines = ["| # | what went wrong | what holds | shown by |", "| --- | --- | --- | --- |"]
    for number, mode in sorted(known.items()):
        names = "<br>".join(f"`{name}`" for name in shown[number])
        lines.append(f"| {number} | {mode['wrong']} | {mode['holds']} | {names} |")
    return "\n".join([*lines, ""])
