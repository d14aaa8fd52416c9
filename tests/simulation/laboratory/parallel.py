"""Run many worlds on all processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from simulation.laboratory.quiet import quiet_log

W = TypeVar("W")
R = TypeVar("R")


def run_parallel(run: Callable[[W], R], worlds: Sequence[W]) -> Iterator[R]:
    """Run a function for each world, in several processes, and yield its results in order."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=quiet_log) as processes:
        yield from processes.map(run, worlds, chunksize=4)
