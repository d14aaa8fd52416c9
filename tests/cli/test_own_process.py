"""Settings that the command makes in its own process and not in that of a caller."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from trailing.cli import GC_THRESHOLDS, main


@pytest.fixture
def of_python() -> Iterator[tuple[int, int, int]]:
    thresholds = gc.get_threshold()
    yield thresholds
    gc.set_threshold(*thresholds)


def test_the_garbage_collector_runs_less_often_in_the_commands_own_process_only(
    of_python: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--version"]) == 0
    assert gc.get_threshold() == of_python
    monkeypatch.setattr(sys, "argv", ["trailing", "--version"])
    assert main() == 0
    assert gc.get_threshold() == GC_THRESHOLDS
