"""The option `--few-cases`: hooks for a conftest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

Case = TypeVar("Case", bound=Any)
"""A `pytest.Item`, or another hashable value with its `path` and its `nodeid`."""

EACH_CASE = ("test_examples.py",)
"""Files whose cases run code of their own: each example."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--few-cases", action="store_true", help="run one case of each parametrized test")


def few(items: Sequence[Case]) -> list[Case]:
    """Return the items with one case of each parametrized test.

    The first such test of a file keeps its first case, the second its second, and so on round its cases. So the tests of a
    file meet different venues.
    """
    cases: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for item in items:
        cases[str(item.path), item.nodeid.partition("[")[0]].append(item)
    kept: set[Case] = set()
    chosen: Counter[str] = Counter()
    for (path, _), each in cases.items():
        if len(each) == 1 or path.endswith(EACH_CASE):
            kept.update(each)
        else:
            kept.add(each[chosen[path] % len(each)])
            chosen[path] += 1
    return [item for item in items if item in kept]
