"""``python -m simulation.killing --kills 200 --seed 1``: print each kill and a table; exit with 1 on violations."""

from __future__ import annotations

import argparse
import secrets
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.killing.run import KillingReport, Phase, kill_and_restart


def main(arguments: list[str]) -> int:
    """Run and print. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation.killing", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="number of kills (200)")
    parser.add_argument(
        "--seed", type=int, help="seed of the prices and of the times of the kills; default: a random one"
    )
    parser.add_argument("--positions", type=int, default=30, help="number of open positions at a time (30)")
    parser.add_argument("--folder", type=Path, help="folder for the store, which is kept; it must not contain one yet")
    parser.add_argument(
        "--store", metavar="URL", help="keep the store on this server (postgresql://…) instead of in a file"
    )
    parser.add_argument(
        "--entries", action="store_true", help="the bots open their positions with entries, and are killed during these"
    )
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    console = Console(soft_wrap=True)

    def progress(number: int, phase: Phase, seconds: float) -> None:
        console.print(f"kill {number:>3} of {options.kills}: {phase:<9} after {seconds:.2f} s", highlight=False)

    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run = partial(
            kill_and_restart,
            options.kills,
            seed=seed,
            folder=folder,
            positions=options.positions,
            store=options.store,
            entries=options.entries,
            progress=progress,
        )
        report = trio.run(run)
    console.print(_table(report, seed))
    for violation in report.violations:
        console.print(f"[red]violation[/red] {escape(violation)}", highlight=False)
    if report.violations:
        again = f"--kills {options.kills} --seed {seed} --positions {options.positions}{' --store …' if options.store else ''}{' --entries' if options.entries else ''}"
        console.print(f"repeat it with: python -m simulation.killing {again}", highlight=False)
    return 1 if report.violations else 0


def _table(report: KillingReport, seed: int) -> Table:
    table = Table(title=f"killed and restarted, seed {seed}", show_header=False)
    phases = ", ".join(f"{count} in {phase}" for phase, count in sorted(report.phases.items()))
    for name, value in (
        ("kills", f"{report.kills}: {phases}"),
        ("restarts", report.restarts),
        ("seconds", f"{report.seconds:.1f}"),
        ("checks", report.checks),
        ("positions", f"{report.positions} entered, {report.ended} closed"),
        ("stops", f"{report.stops} accepted"),
        (
            "at the kills",
            f"{report.unprotected_at_kill} unprotected positions, {report.pending_at_kill} with an order in flight",
        ),
        ("waited for the account", f"{report.slowest_wait:.2f} s at most, {report.waited:.1f} s in all"),
        ("slowest recovery", f"{report.slowest_recovery:.2f} s"),
        ("slowest protection", f"{report.slowest_protection:.2f} s after the account was owned"),
        ("violations", len(report.violations)),
    ):
        table.add_row(name, str(value))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
