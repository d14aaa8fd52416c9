"""How a figure is taken and shown: the best of several runs, beside what it is aimed at."""

from __future__ import annotations

import gc
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from rich.console import Console
from rich.table import Table


class Report:
    """A table of figures, printed at once."""

    def __init__(self, title: str) -> None:
        self._table = Table("what", "measured", "aim", title=f"{title} (Python {platform.python_version()})")

    def add(self, what: str, measured: str, aim: str = "") -> None:
        """Add a figure."""
        self._table.add_row(what, measured, aim)

    def show(self) -> None:
        """Print it."""
        Console(width=120).print(self._table)


@contextmanager
def report(title: str) -> Iterator[Report]:
    """A report that is printed at the end, with the log kept quiet meanwhile."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    figures = Report(title)
    try:
        yield figures
    finally:
        structlog.reset_defaults()
        figures.show()


def best(measure: Callable[[], float], runs: int = 5) -> float:
    """The best of several runs: the one that the rest of the machine disturbed least.

    What lived before is frozen meanwhile, so that no run pays for looking through the objects of the test runner; what
    a run itself leaves to the collector counts.
    """
    return min(_sample(measure) for _ in range(runs))


def best_in_turn(floor: Callable[[], float], measure: Callable[[], float], runs: int = 5) -> tuple[float, float]:
    """The best of several runs of each of two, one after the other, so that both see the same machine.

    A short one finds a moment in which the machine is quick far more easily than a long one. So a run of `floor` is as
    many as take as long as one of `measure`, and counts with their mean.
    """
    floors, measured = [], []
    for _ in range(runs):
        measured.append(_sample(measure))
        times = max(1, round(measured[-1] / _sample(floor)))
        floors.append(sum(_sample(floor) for _ in range(times)) / times)
    return min(floors), min(measured)


def _sample(measure: Callable[[], float]) -> float:
    gc.collect()
    gc.freeze()
    try:
        return measure()
    finally:
        gc.unfreeze()
