"""Every failure mode has tests that are named after it, and the documentation lists all of them."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
LISTED: dict[str, Any] = runpy.run_path(str(DOCS / "failure_modes.py"))
NUMBERS = sorted(LISTED["modes"]())


def test_the_first_38_failure_modes_are_all_there() -> None:
    assert {f"{number:02}" for number in range(1, 39)} <= set(NUMBERS)


@cache
def shown() -> dict[str, list[str]]:
    """The tests of each failure mode: read from all test files, so not while tests are collected."""
    tests: dict[str, list[str]] = LISTED["tests"](DOCS.parent / "tests")
    return tests


@pytest.mark.parametrize("number", NUMBERS)
def test_each_failure_mode_has_a_test_that_is_named_after_it(number: str) -> None:
    assert shown().get(number)


def test_the_page_lists_all_failure_modes_with_all_of_their_tests(tmp_path: Path) -> None:
    LISTED["write"](tmp_path)
    text = (tmp_path / "failure-modes.md").read_text()
    items = {item[:2]: item for item in text.split("(fm")[1:]}
    assert list(items) == NUMBERS
    for number, item in items.items():
        wrong, holds = LISTED["modes"]()[number].values()
        assert min(len(wrong), len(holds)) > 20
        assert f"**{number}** {wrong}\n: {holds}\n" in item
        for name in shown()[number]:
            path, _, test = name.partition("::")
            assert f"`{path}`" in item
            assert f"`{test}`" in item
    assert "_build/generated/failure-modes.md" in (DOCS / "explanation" / "failure-modes.md").read_text()
    assert "\nexplanation/failure-modes\n" in (DOCS / "index.md").read_text()


def test_a_failure_mode_without_a_test_and_a_test_without_a_failure_mode_break_the_page() -> None:
    mode = {"wrong": "it broke", "holds": "it holds"}
    assert "**01** it broke\n: it holds\n" in LISTED["listing"]({"01": mode}, {"01": ["a.py::test_fm01_b"]})
    for known, shown in (({"01": mode}, {}), ({}, {"01": ["a.py::test_fm01_b"]})):
        with pytest.raises(ValueError, match=r"without a test, or without a mode: \['01'\]"):
            LISTED["listing"](known, shown)
