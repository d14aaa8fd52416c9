"""Every failure mode has tests that are named after it, and the documentation lists them all."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TABLE: dict[str, Any] = runpy.run_path(str(DOCS / "failure_modes.py"))
NUMBERS = sorted(TABLE["modes"]())


def test_the_first_38_failure_modes_are_all_there() -> None:
    assert {f"{number:02}" for number in range(1, 39)} <= set(NUMBERS)


@cache
def shown() -> dict[str, list[str]]:
    """The tests of each failure mode: read from all test files, so not while tests are collected."""
    tests: dict[str, list[str]] = TABLE["tests"](DOCS.parent / "tests")
    return tests


@pytest.mark.parametrize("number", NUMBERS)
def test_each_failure_mode_has_a_test_that_is_named_after_it(number: str) -> None:
    assert shown().get(number)


def test_the_page_lists_all_failure_modes_with_all_of_their_tests(tmp_path: Path) -> None:
    TABLE["write"](tmp_path)
    text = (tmp_path / "failure-modes.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == NUMBERS
    for number, wrong, holds, names in rows:
        assert min(len(wrong), len(holds)) > 20
        assert all(f"`{name}`" in names for name in shown()[number.removeprefix("| ")])
    assert "_build/generated/failure-modes.md" in (DOCS / "failure-modes.md").read_text()
    assert "\nfailure-modes\n" in (DOCS / "index.md").read_text()


def test_a_failure_mode_without_a_test_and_a_test_without_a_failure_mode_break_the_page() -> None:
    mode = {"wrong": "it broke", "holds": "it holds"}
    assert "| 01 | it broke | it holds | `a.py::test_fm01_b` |" in TABLE["table"](
        {"01": mode}, {"01": ["a.py::test_fm01_b"]}
    )
    for known, shown in (({"01": mode}, {}), ({}, {"01": ["a.py::test_fm01_b"]})):
        with pytest.raises(ValueError, match=r"without a test, or without a mode: \['01'\]"):
            TABLE["table"](known, shown)
