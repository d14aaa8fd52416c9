"""``python -m simulation.laboratory --seeds 2000``: what was wrong in which world, a table, exit code 1."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import structlog
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from simulation.laboratory.scenario import Scenario
from simulation.laboratory.world import WorldReport, run_world
from trailing.stores.urls import is_postgres


def main(arguments: Sequence[str]) -> int:
    """Run and print. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation.laboratory", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one (0)")
    parser.add_argument("--seed", type=int, help="only the world of this seed, and everything that its exchange booked")
    parser.add_argument("--day", action="store_true", help="24 hours with 50 positions a wave, instead")
    parser.add_argument(
        "--store", type=_postgres, metavar="URL", help="a postgresql://… for the stores, instead of memory"
    )
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    started = time.monotonic()
    if options.day:
        reports = [a_day(options.seed or options.first, options.store)]
    elif options.seed is not None:
        quiet_log()
        reports = [run_world(Scenario.from_seed(options.seed), store=options.store, keep_events=True)]
        for event in reports[0].events:
            console.print(*event, highlight=False, markup=False)
    else:
        seeds = range(options.first, options.first + options.seeds)
        reports = list(track(run_worlds(seeds, options.store), "worlds", total=len(seeds), console=console))
    for report in reports:
        for broken in report.broken[:5]:
            console.print(f"[red]seed {report.seed}[/red] {escape(broken)}", highlight=False)
    console.print(_table(reports, time.monotonic() - started))
    failing = [report.seed for report in reports if report.broken]
    if failing and options.seed is None:
        # The address may hold a password.
        others = f"{' --day' if options.day else ''}{' --store …' if options.store else ''}"
        console.print(f"replay it with: python -m simulation.laboratory{others} --seed {failing[0]}", highlight=False)
    return 1 if failing else 0


def run_worlds(seeds: Iterable[int], store: str | None = None) -> Iterator[WorldReport]:
    """Let the worlds of some seeds happen, on all processors; see `run_world`."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=quiet_log) as processes:
        yield from processes.map(partial(_run, store=store), seeds, chunksize=4)


def _run(seed: int, store: str | None) -> WorldReport:
    return run_world(Scenario.from_seed(seed), store=store)


def a_day(seed: int, store: str | None = None) -> WorldReport:
    """Let a day happen; see `run_world`."""
    quiet_log()
    return run_world(Scenario.a_day(seed), store=store)


def quiet_log() -> None:
    """Worlds log what happens to them, which is what they are for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _postgres(address: str) -> str:
    if not is_postgres(address):
        raise argparse.ArgumentTypeError("wants an address of Postgres, postgresql://…")
    return address


def _table(reports: Sequence[WorldReport], seconds: float) -> Table:
    table = Table(title="simulated worlds", show_header=False)
    open_seconds = sum(report.open_seconds for report in reports)
    bare = Counter[str]()
    for report in reports:
        bare.update(report.bare_seconds)
    rows = {
        "worlds": f"{len(reports)} in {seconds:.1f} s",
        "deaths": f"{sum(report.deaths for report in reports)}",
        "looks": f"{sum(report.steps for report in reports)}",
        "with something wrong": f"{sum(bool(report.broken) for report in reports)}",
        "position-seconds": f"{open_seconds:,.0f}",
        "covered": f"{1 - sum(bare.values()) / open_seconds:.4%}" if open_seconds else "none were open",
        **{f"bare: {why}": f"{seconds:,.1f} s" for why, seconds in sorted(bare.items())},
    }
    for report in reports:
        if report.objects:
            rows["objects of protection, every two hours"] = ", ".join(map(str, report.objects))
    for name, value in rows.items():
        table.add_row(name, value)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
