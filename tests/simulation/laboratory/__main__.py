"""``python -m simulation.laboratory --seeds 2000``: print the violations and a table; exit with 1 if there are any."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from simulation.laboratory.harsh_table import (
    ALL,
    CALM,
    ROWS,
    KindReport,
    classes_table,
    count_kinds,
    kinds_table,
    replay,
    run_kinds,
    scenario_of,
)
from simulation.laboratory.quiet import quiet_log
from simulation.laboratory.report import WorldReport
from simulation.laboratory.scenario import Scenario
from simulation.laboratory.summary import summary_table
from simulation.laboratory.world import run_world
from trailing.stores.urls import is_postgres

TABLE_WIDTH = 140


def main(arguments: Sequence[str]) -> int:
    """Run and print. Returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    console = Console(soft_wrap=True)
    seeds = range(options.first, options.first + options.seeds)
    if options.table:
        return _tabulate(console, ROWS if options.harsh in {None, ALL} else [options.harsh], seeds, options.json)
    started, kind = time.monotonic(), CALM if options.calm else options.harsh or ALL
    if options.day:
        reports = [a_day(options.seed or options.first, options.store)]
    elif options.seed is not None:
        quiet_log()
        reports = [run_world(scenario_of(kind, options.seed), store=options.store, keep_events=True)]
        for event in reports[0].events:
            console.print(*event, highlight=False, markup=False)
    else:
        worlds = run_kinds([kind], seeds, options.store)
        reports = [report for _, report in track(worlds, "worlds", total=len(seeds), console=console)]
    for report in reports:
        for broken in report.broken[: None if options.seed is not None else 5]:
            console.print(f"[red]seed {report.seed}[/red] {escape(broken)}", highlight=False)
        if report.broken and options.seed is None:
            # The store's address may contain a password, so that it is not printed.
            others = f"{'--day ' if options.day else ''}{'--store … ' if options.store else ''}"
            replayed = f"--seed {report.seed}" if options.day else replay(kind, report.seed)
            console.print(f"replay it with: python -m simulation.laboratory {others}{replayed}", highlight=False)
    console.print(summary_table(reports, time.monotonic() - started))
    return 1 if any(report.broken for report in reports) else 0


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that don't go together."""
    if options.harsh is not None and (options.day or options.calm):
        parser.error("--harsh can't be combined with --day or --calm")
    if options.table and (options.day or options.calm or options.store):
        parser.error("--table can't be combined with --day, --calm or --store")
    if options.json is not None and not options.table:
        parser.error("--json needs --table")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation.laboratory", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds (200)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one (0)")
    parser.add_argument(
        "--seed", type=int, help="run only the world of this seed, and print all bookings of its exchange"
    )
    parser.add_argument("--day", action="store_true", help="run 24 hours with 50 positions a wave instead")
    parser.add_argument(
        "--store",
        type=_postgres,
        metavar="URL",
        help="keep the stores on this server (postgresql://…) instead of in memory",
    )
    parser.add_argument(
        "--harsh",
        nargs="?",
        const=ALL,
        choices=ROWS,
        metavar="KIND",
        help=f"harsh faults of one kind only; default: all. Kinds: {', '.join(ROWS)}",
    )
    parser.add_argument("--calm", action="store_true", help="without the harsh faults and their checks")
    parser.add_argument("--table", action="store_true", help="print a table: each kind of harsh faults alone, then all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --table: write the table to this file too")
    return parser


def _tabulate(console: Console, kinds: Sequence[str], seeds: Sequence[int], file: Path | None) -> int:
    total = len(kinds) * len(seeds)
    rows: list[KindReport] = count_kinds(track(run_kinds(kinds, seeds), "worlds", total=total, console=console))
    wide = Console(width=max(console.width, TABLE_WIDTH))  # without a terminal, rich assumes a narrow console
    for row in rows:
        if row.failing:
            wide.print(classes_table(row))
    wide.print(kinds_table(rows))
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    return 1 if any(row.failing for row in rows) else 0


def a_day(seed: int, store: str | None = None) -> WorldReport:
    """Run a day; see `run_world`."""
    quiet_log()
    return run_world(Scenario.a_day(seed), store=store)


def _postgres(address: str) -> str:
    if not is_postgres(address):
        raise argparse.ArgumentTypeError("needs the address of a Postgres server, postgresql://…")
    return address


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
