"""``python -m simulation.healing --seeds 500``: print the violations and a table; exit with 1 if there are any."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from simulation.healing.run import run_world
from simulation.healing.scenario import HostileScenario
from simulation.laboratory.parallel import run_parallel
from simulation.laboratory.quiet import quiet_log
from simulation.laboratory.report import WorldReport
from simulation.laboratory.summary import summary_table


def main(arguments: Sequence[str]) -> int:
    """Run and print. Returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(soft_wrap=True)
    started = time.monotonic()
    if options.seed is not None:
        quiet_log()
        reports = [run_seed(options.seed, keep_events=True)]
    else:
        seeds = range(options.first, options.first + options.seeds)
        reports = list(track(run_parallel(run_seed, seeds), "worlds", total=len(seeds), console=console))
    for report in reports:
        _print(console, report, is_only_one=options.seed is not None)
    seconds = time.monotonic() - started
    console.print(summary_table(reports, seconds, title="worlds that heal", strikes="steps"))
    return 1 if any(report.broken for report in reports) else 0


def run_seed(seed: int, *, keep_events: bool = False) -> WorldReport:
    """Run the world of a seed; see `run_world`."""
    return run_world(HostileScenario.from_seed(seed), keep_events=keep_events)


def _print(console: Console, report: WorldReport, *, is_only_one: bool) -> None:
    """Print the log of a world that failed or is the only one, its violations, and the command that replays it."""
    if report.broken or is_only_one:
        for line in report.events:
            console.print(" ".join(map(str, line)), highlight=False, markup=False)
    for broken in report.broken:
        console.print(f"[red]seed {report.seed}[/red] {escape(broken)}", highlight=False)
    if report.broken and not is_only_one:
        console.print(f"replay it with: python -m simulation.healing --seed {report.seed}", highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation.healing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one (0)")
    parser.add_argument(
        "--seed", type=int, help="run only the world of this seed, and print its steps, bookings and events"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
