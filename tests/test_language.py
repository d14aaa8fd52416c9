"""The words of the house: none that CONTRIBUTING.md forbids, and short first lines of docstrings.

Checked are the package, the docs and the root's pages as a whole, and the names of tests.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

import trailing

ROOT = Path(__file__).parents[1]
PACKAGE = Path(trailing.__file__).parent
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
MEDIAN_WORDS = 15
MIGRATIONS = {"trailing/stores/postgres_migrations.py", "trailing/stores/sqlite_schema.py"}

# Persons instead of components, and the glossary's "do not say" that can mean nothing else.
FORBIDDEN = re.compile(
    r"\b(?:nobody|somebody|whoever|who(?:se|m)?soever|whosever|those who|"
    r"(?:stands?|stood|standing|stay|left) bare|bare (?:positions?|seconds?|time|spell|window)|naked|"
    r"unheard|sightings?|held? beside|holds? (?:\w+ ){0,6}beside|keepers?|audiences?|weather|exposure)\b",
    re.IGNORECASE,
)


@cache
def texts() -> dict[str, str]:
    """Every file that is checked as a whole, by its path in the repository."""
    paths = [
        *PACKAGE.rglob("*.py"),
        *(path for ending in ("md", "py", "toml", "svg") for path in (ROOT / "docs").rglob(f"*.{ending}")),
        *(ROOT / page for page in PAGES),
    ]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths) if "_build" not in path.parts}


@cache
def names_of_tests() -> dict[str, str]:
    """The names of the tests in each file, as words."""
    return {
        path.relative_to(ROOT).as_posix(): "\n".join(names_in(path.read_text()))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }


def names_in(text: str) -> Iterator[str]:
    yield from (name.replace("_", " ") for name in re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE))


def forbidden(text: str) -> list[str]:
    """Return the forbidden words of a text, each with its line."""
    plain = text.replace("&#160;", " ")
    return [f"{plain.count(chr(10), 0, hit.start()) + 1}: {hit.group()}" for hit in FORBIDDEN.finditer(plain)]


def forbidden_in(path: str, text: str) -> list[str]:
    """Return the forbidden words of a file; a migration has to name the fields of older versions."""
    return [hit for hit in forbidden(text) if path not in MIGRATIONS or not hit.endswith("exposure")]


@pytest.mark.parametrize("checked", [texts, names_of_tests])
def test_no_file_and_no_name_of_a_test_has_a_forbidden_word(checked: Callable[[], dict[str, str]]) -> None:
    assert {path: words for path, text in checked().items() if (words := forbidden_in(path, text))} == {}


@pytest.mark.parametrize(
    "sentence",
    [
        "Nobody waits.",
        "whoever asks",
        "Those who wait",
        "it stands bare",
        "ten bare seconds",
        "held beside the store",
        "orders&#160;that&#160;nobody&#160;tracks",
    ],
)
def test_a_forbidden_word_is_found(sentence: str) -> None:
    assert len(forbidden(sentence)) == 1


@pytest.mark.parametrize("sentence", ["a bare `raise`", "a live stop beside the plain one", "unprotected seconds"])
def test_other_words_pass(sentence: str) -> None:
    assert forbidden(sentence) == []


def first_sentences() -> Iterator[str]:
    """The summary of every docstring of the package: its first paragraph."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    yield docstring.partition("\n\n")[0]


def test_the_median_summary_of_a_docstring_is_short() -> None:
    words = [len(summary.split()) for summary in first_sentences()]
    assert len(words) > 1000
    assert median(words) <= MEDIAN_WORDS
