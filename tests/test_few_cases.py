"""`--few-cases`, which the oldest Python's tests run with, leaves no test out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from few_cases import few


class Item(NamedTuple):
    path: Path
    nodeid: str


def items(path: str, *names: str) -> list[Item]:
    return [Item(Path(path), f"{path}::{name}") for name in names]


def kept(found: list[Item]) -> list[str]:
    return [item.nodeid for item in few(found)]


def test_each_test_keeps_one_case_and_the_next_test_of_the_file_its_next() -> None:
    found = items("a.py", "one", "two[x-1]", "two[x-2]", "two[y-1]", "three[x]", "three[y]", "four[x]", "four[y]")
    assert kept(found) == ["a.py::one", "a.py::two[x-1]", "a.py::three[y]", "a.py::four[x]"]


def test_files_are_counted_apart_whatever_the_order_of_their_tests() -> None:
    found = items("a.py", "one[x]") + items("b.py", "one[x]", "one[y]") + items("a.py", "one[y]")
    assert kept(found) == ["a.py::one[x]", "b.py::one[x]"]


def test_every_example_is_kept() -> None:
    found = items("tests/test_examples.py", "runs[first]", "runs[second]", "runs[third]")
    assert few(found) == found
