"""README.md beside this file says which tests belong to which module of `trailing/protection`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from pathlib import Path

import trailing

HERE = Path(__file__).parent
MODULES = {path.stem for path in (Path(trailing.__file__).parent / "protection").rglob("*.py")} - {"__init__"}
TESTS = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}


def rows() -> dict[str, Set[str]]:
    """The test files of each module, as the table names them."""
    found = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", (HERE / "README.md").read_text(), re.MULTILINE)
    return {module: set(re.findall(r"`(test_\w+\.py)`", tests)) for module, tests in found}


def imported(test: str) -> Iterator[str]:
    """The modules of `trailing.protection` that a test file imports from."""
    for node in ast.walk(ast.parse((HERE / test).read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if found := re.match(r"trailing\.protection\.(?:waves\.)?(\w+)", f"{node.module}.{alias.name}"):
                    yield found[1]


def test_each_module_has_a_row_with_tests_that_exist() -> None:
    assert rows().keys() == MODULES
    for module, tests in rows().items():
        assert tests, module
        assert tests <= TESTS, module


def test_each_test_file_stands_in_a_row() -> None:
    assert set().union(*rows().values()) == TESTS


def test_a_test_file_that_imports_a_module_stands_in_its_row() -> None:
    missing = [(test, module) for test in TESTS for module in imported(test) if test not in rows()[module]]
    assert missing == []
