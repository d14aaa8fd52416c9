"""List the failure modes for their page, each with the tests that are named after it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NAMED = re.compile(r"^ *(?:async )?def (?P<test>test_fm(?P<number>\d\d)_\w+)", re.MULTILINE)


def write(folder: Path) -> None:
    """Write `failure-modes.md` into a folder, where it differs from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "failure-modes.md", listing(modes(), tests(ROOT / "tests"))
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def modes() -> dict[str, dict[str, str]]:
    """Return each failure mode by its number: what went wrong, and what holds instead."""
    return tomllib.loads((DOCS / "failure-modes.toml").read_text())


def tests(folder: Path) -> dict[str, list[str]]:
    """Return the tests below a folder, as file::test, by the number in their name. Nothing is imported."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        for name in NAMED.finditer(path.read_text()):
            found.setdefault(name["number"], []).append(f"{path.relative_to(folder).as_posix()}::{name['test']}")
    return found


def listing(known: Mapping[str, Mapping[str, str]], shown: Mapping[str, Sequence[str]]) -> str:
    """Return one item for each failure mode: what went wrong, what holds, and its tests, which a reader can unfold.

    Raises:
        ValueError: a mode has no test, or a test is named after no mode.
    """
    if known.keys() != shown.keys():
        raise ValueError(f"without a test, or without a mode: {sorted(known.keys() ^ shown.keys())}")
    return "\n".join(
        line
        for number, mode in sorted(known.items())
        for line in (
            f"(fm{number})=",
            f"**{number}** {mode['wrong']}",
            f": {mode['holds']}",
            "",
            *_folded(shown[number]),
        )
    )


def _folded(names: Sequence[str]) -> list[str]:
    count = "1 test" if len(names) == 1 else f"{len(names)} tests"
    files = groupby(names, key=lambda name: name.partition("::")[0])
    tests_of = [(path, [name.partition("::")[2] for name in group]) for path, group in files]
    return [
        f"  <details><summary>{count}</summary>",
        "",
        *(line for path, group in tests_of for line in (f"  `{path}`", *(f"  - `{name}`" for name in group), "")),
        "  </details>",
        "",
    ]
