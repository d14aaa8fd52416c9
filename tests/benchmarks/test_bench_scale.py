"""What a position costs in waves of different sizes, with Python's thresholds of garbage collection and the command's."""

from __future__ import annotations

import gc

import trio
from figures import report
from test_bench_waves import timed_wave

from trailing.cli import GC_THRESHOLDS

SIZES = (1_000, 5_000, 20_000)
RUNS = 3


def test_what_a_position_costs_in_waves_of_different_sizes() -> None:
    of_python = gc.get_threshold()
    least: dict[tuple[int, bool], float] = {}
    with report("waves without latency, memory: the best of several runs, in turn") as figures:
        for _ in range(RUNS):
            for size in SIZES:
                for raised in (False, True):
                    gc.collect()
                    gc.set_threshold(*(GC_THRESHOLDS if raised else of_python))
                    try:
                        each = trio.run(timed_wave, size, 0.0, "memory:") / size
                    finally:
                        gc.set_threshold(*of_python)
                    least[size, raised] = min(each, least.get((size, raised), each))
        for raised, of in ((False, "Python's thresholds"), (True, "the command's")):
            for size in SIZES:
                figures.add(f"{size:,} positions, {of}", f"{least[size, raised] * 1e6:.0f} µs each")
            growth = least[SIZES[-1], raised] / least[SIZES[0], raised]
            figures.add(f"… {SIZES[-1]:,} beside {SIZES[0]:,}", f"{growth:.2f} x", "at most 1.3 x" if raised else "")
