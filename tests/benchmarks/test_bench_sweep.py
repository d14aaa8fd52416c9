"""What a sweep costs: per bar and plan, beside vectorbt's trailing stop, in two processes, and in memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from figures import best, report

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))
from market_data import EXTRACTS, FULL
from markets import SYMBOL, random_walk

from trailing import Breakeven, Callback, Market, Percent, TrailPlan
from trailing.backtest import AlwaysIn
from trailing.backtest.series import Series
from trailing.price_files import Bars, read_prices
from trailing.sweep import run
from trailing.sweep.encoding import PlanTable
from trailing.sweep.lanes import make_lanes, make_timeline
from trailing.sweep.pieces import make_pieces, walk_piece

PAIRS = ("ada", "dash", "etc", "eth", "ltc", "nxt", "trx", "xlm", "xmr", "zec")
PLANS = [
    TrailPlan(
        initial_stop=Percent(Decimal(stop) / 2),
        rules=(Callback(Percent(Decimal(callback) / 2), activation=Percent(Decimal(activation) / 2)),),
    )
    for stop in range(4, 14)
    for callback in range(1, 11)
    for activation in range(10)
]
MEMORY = "--memory"
"""The argument with which this file, run as a script, sweeps once and prints its peak of memory."""


def prices() -> Mapping[str, Bars]:
    """The ten pairs: the full files where they are beside the repository, else the extracts."""
    folder = FULL if FULL.is_dir() else EXTRACTS
    found = {}
    for pair in PAIRS:
        bars = read_prices(folder / f"{pair}-btc-5m.csv")
        assert isinstance(bars, Bars)
        found[f"{pair.upper()}/BTC:BTC"] = bars
    return found


def timed_kernel(data: Mapping[str, Series], plans: list[TrailPlan]) -> float:
    """Return the nanoseconds per bar and plan of this process's own time, for the walk alone."""
    markets = {symbol: Market(symbol) for symbol in data}
    tables: dict[object, PlanTable] = {}
    pieces = [
        piece
        for lane in make_lanes(plans, data, AlwaysIn(), markets)
        for piece in make_pieces(
            lane, plans, (0.0, 0.0), make_timeline(data, 64, Decimal("0.7")), high_first=True, tables=tables
        )
    ]
    assert all(piece.by_kernel for piece in pieces)
    started = time.process_time()
    for piece in pieces:
        walk_piece(piece)
    return (time.process_time() - started) / sum(piece.steps for piece in pieces) * 1e9


def timed_vectorbt(data: Mapping[str, Bars], callbacks: list[float]) -> float:
    """Return the nanoseconds per bar and plan of vectorbt's trailing stop, which is always in the market, too."""
    import vectorbt  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - it is not installed everywhere

    cells, seconds = 0, 0.0
    for bars in data.values():
        columns = {
            name: np.repeat(np.array(getattr(bars, name), float)[:, None], len(callbacks), axis=1)
            for name in ("open", "high", "low", "close")
        }
        entries = np.ones(columns["close"].shape, bool)
        started = time.process_time()
        vectorbt.Portfolio.from_signals(
            **columns, entries=entries, exits=False, sl_stop=np.array(callbacks), sl_trail=True, accumulate=False
        )
        seconds += time.process_time() - started
        cells += entries.size
    return seconds / cells * 1e9


def test_a_bar_and_plan_of_a_sweep_beside_vectorbt() -> None:
    data = prices()
    with_breakeven = [
        TrailPlan(initial_stop=plan.initial_stop, rules=(*plan.rules, Breakeven(at=Percent("0.8")))) for plan in PLANS
    ]
    timed_kernel(data, PLANS[:1])  # compiled, or loaded from the cache
    timed_kernel(data, with_breakeven[:1])
    with report("sweep: 1,000 plans, ten pairs, always in, own time of one process") as figures:
        ours = best(lambda: timed_kernel(data, PLANS), 7)
        figures.add("a bar and plan", f"{ours:.1f} ns", "at most 6 ns")
        figures.add("… with a breakeven", f"{best(lambda: timed_kernel(data, with_breakeven), 3):.1f} ns")
        plain = [
            TrailPlan(initial_stop=Percent(Decimal(step) / 10), rules=(Callback(Percent(Decimal(step) / 10)),))
            for step in range(5, 105)
        ]
        alike = best(lambda: timed_kernel(data, plain), 5)
        figures.add("a bar and plan, callback alone", f"{alike:.1f} ns")
        if find_spec("vectorbt") is None:
            figures.add("vectorbt's trailing stop", "not installed", "")
        else:
            callbacks = [step / 1000 for step in range(5, 105)]
            timed_vectorbt(data, callbacks)
            theirs = best(lambda: timed_vectorbt(data, callbacks), 3)
            figures.add("vectorbt's trailing stop, same callbacks", f"{theirs:.0f} ns")
            figures.add("… beside the callback alone", f"{theirs / alike:.0f} x", "at least 15 x")
            figures.add("… beside 1,000 plans", f"{theirs / ours:.0f} x", "at least 15 x")


def test_two_jobs_beside_one() -> None:
    # Half a minute of work, because each process first imports numba, for more than a second.
    data, plans = prices(), PLANS * 30
    options: dict[str, Any] = {"resamples": 10, "best": 1}
    seconds = {}
    for jobs in (1, 2):
        started = time.perf_counter()
        run(data, plans, AlwaysIn(sides=("long", "short")), jobs=jobs, **options)
        seconds[jobs] = time.perf_counter() - started
    with report(
        f"sweep: {len(plans):,} plans, ten pairs, both sides and orders; load {os.getloadavg()[0]:.1f}"
    ) as figures:
        for jobs, taken in seconds.items():
            figures.add(f"{jobs} jobs", f"{taken:.1f} s")
        figures.add("two beside one", f"{seconds[1] / seconds[2]:.2f} x", "at least 1.7 x on an idle machine")


def test_memory_of_ten_thousand_plans_on_a_hundred_thousand_bars() -> None:
    printed = subprocess.run([sys.executable, __file__, MEMORY], check=True, capture_output=True, text=True).stdout
    before, after, seconds = map(float, printed.split())
    with report("sweep: 10,000 plans x 100,000 bars, both orders") as figures:
        figures.add("peak of memory, all imports included", f"{after:.0f} MB", "at most 500 MB")
        figures.add("… before the sweep", f"{before:.0f} MB")
        figures.add("seconds", f"{seconds:.1f} s")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    assert sys.argv[1] == MEMORY
    walk = {SYMBOL: random_walk(1, 100_000)}
    before, began = peak(), time.perf_counter()
    many = [
        TrailPlan(initial_stop=Percent(Decimal(stop) / 10), rules=(Callback(Percent(Decimal(step) / 20)),))
        for stop in range(5, 105)
        for step in range(10, 110)
    ]
    run(walk, many, AlwaysIn(), markets={SYMBOL: Market(SYMBOL, price_tick=Decimal("0.2"))})
    print(before, peak(), time.perf_counter() - began)  # noqa: T201 - the other process reads it
