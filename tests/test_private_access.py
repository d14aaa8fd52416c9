"""Tests reach the library by its public names. The package `inspection` translates the rest; at most ten uses are left.

What counts as a use of a private name, in every Python file under `tests`:

- an attribute `anything._name`, where `anything` is not `self` or `cls`, and the library gives the name `_name` to an
  attribute, function, class, constant or module of its own;
- an import from `trailing` of such a name, or from a module with such a name;
- a string that stands for one: `"trailing.module._name"` anywhere, or `"_name"` as an argument of `getattr`, `setattr`
  or a method called `setattr`.

A name that only a test double, trio or another library has doesn't count. Names with two leading underscores don't either.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

import trailing

TESTS = Path(__file__).parent
MOST = 10
EXEMPT = {
    "simulation/planted.py",  # plants bugs in the library on purpose, by replacing private functions
}
FACE = TESTS / "inspection"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(tree: ast.AST) -> Iterator[str]:
    """The names that a module defines: of functions, classes, variables, and attributes of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            yield node.attr


def is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}


@cache
def private_names() -> Set[str]:
    """Every private name of the library."""
    paths = sorted(Path(trailing.__file__).parent.rglob("*.py"))
    names = {path.stem for path in paths} | {name for path in paths for name in defined(ast.parse(path.read_text()))}
    return {name for name in names if is_private(name)}


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every use of a private name of the library."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private_names() and not is_own(node):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "trailing":
            names = (*(node.module or "").split("."), *(alias.name for alias in node.names))
            yield from ((node.lineno, name) for name in names if is_private(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"trailing(\.\w+)*\._[a-zA-Z]\w*(\.\w+)*", node.value):
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and called_name(node) in {"getattr", "setattr"}:
            texts = (each.value for each in node.args if isinstance(each, ast.Constant))
            yield from ((node.lineno, text) for text in texts if isinstance(text, str) and text in private_names())


def called_name(node: ast.Call) -> str:
    """The name of a called function or method; empty: what is called has none."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def test_tests_reach_into_the_library_at_ten_places_at_most() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path in sorted(TESTS.rglob("*.py"))
        if FACE not in path.parents and path.relative_to(TESTS).as_posix() not in EXEMPT
        for line, text in uses(ast.parse(path.read_text()))
    ]
    assert len(found) <= MOST, "put these into tests/inspection:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("manager._supervision.registry", 1),
        ("world.paper._book._places", 2),
        ("self._supervision", 0),
        ("super()._note_change()", 1),
        ("double._attribute_of_its_own", 0),
        ("struct.__struct_fields__", 0),
        ("from trailing.stores.lock_file import _take, POLL_SECONDS", 1),
        ("from trio._core import _run", 0),
        ("patch.setattr('trailing.exchanges.ccxt.websocket._OVERDUE_SECONDS', 0.1)", 1),
        ("patch.setattr('trailing.exchanges.ccxt.websocket.SILENCE_SECONDS', 0.1)", 0),
        ("patch.setattr(Books, '_write', write)", 1),
        ("getattr(manager, '_orders')", 1),
        ("'_orders'", 0),
    ],
)
def test_a_use_of_a_private_name_is_counted_by_the_rule(text: str, count: int) -> None:
    assert len(list(uses(ast.parse(text)))) == count
