"""Count which kind of harsh fault breaks which invariant in how many worlds, as tables or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
from rich.table import Table

from simulation.laboratory.harsh_rates import KINDS, HarshRates
from simulation.laboratory.parallel import run_parallel
from simulation.laboratory.report import WorldReport
from simulation.laboratory.scenario import Scenario
from simulation.laboratory.world import run_world

NONE, ALL, CALM = "none", "all", "calm"

ROWS: Final = (NONE, *KINDS, ALL)
"""The rows of the table: the checks of a harsh world without its faults, each kind alone, and all kinds together."""


class KindReport(msgspec.Struct, frozen=True, kw_only=True):
    """The results of the worlds with one kind of fault.

    Args:
        kind: the name of the kind, or ``"none"`` or ``"all"``.
        seeds: the number of worlds, from seed `first` on.
        strikes: the number of strikes of each kind, in all worlds; `struck`: the number of worlds with a strike.
        failing: the seeds of the worlds with a violation.
        classes: the seeds of the worlds with each class of violations, the most frequent class first.
    """

    kind: str
    first: int
    seeds: int
    strikes: dict[str, int]
    struck: int
    failing: tuple[int, ...]
    classes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, kind: str, reports: Sequence[WorldReport]) -> KindReport:
        """Count the reports of a kind's worlds, which have to be in the order of their seeds."""
        classes: dict[str, list[int]] = {}
        for report in reports:
            for one in report.classes:
                classes.setdefault(one, []).append(report.seed)
        strikes = Counter[str]()
        for report in reports:
            strikes.update(report.strikes)
        return cls(
            kind=kind,
            first=reports[0].seed,
            seeds=len(reports),
            strikes=dict(strikes.most_common()),
            struck=sum(bool(report.strikes) for report in reports),
            failing=tuple(report.seed for report in reports if report.broken),
            classes={one: tuple(classes[one]) for one in sorted(classes, key=lambda one: (-len(classes[one]), one))},
        )

    def broken(self, invariant: str) -> int:
        """Return the number of worlds in which an invariant broke; see `invariants`."""
        return len({seed for one, seeds in self.classes.items() if _invariant_of(one) == invariant for seed in seeds})


def run_kinds(
    kinds: Sequence[str], seeds: Sequence[int], store: str | None = None
) -> Iterator[tuple[str, WorldReport]]:
    """Run the worlds of some seeds with each kind of fault, on all processors, and yield the reports in order.

    Args:
        kinds: rows of the table, or ``"calm"``: without harsh faults and their checks.
        store: as in `run_world`.
    """
    worlds = [(kind, seed) for kind in kinds for seed in seeds]
    reports = run_parallel(partial(_run, store=store), worlds)
    yield from zip((kind for kind, _ in worlds), reports, strict=True)


def _run(world: tuple[str, int], store: str | None) -> WorldReport:
    return run_world(scenario_of(*world), store=store)


def scenario_of(kind: str, seed: int) -> Scenario:
    """Return the world of a seed with one kind of fault, with all kinds, with none, or ``"calm"``."""
    return Scenario.from_seed(seed, None if kind == CALM else HarshRates.of(kind))


def count_kinds(worlds: Iterable[tuple[str, WorldReport]]) -> list[KindReport]:
    """Count the reports that `run_kinds` yields."""
    by_kind: dict[str, list[WorldReport]] = {}
    for kind, report in worlds:
        by_kind.setdefault(kind, []).append(report)
    return [KindReport.of(kind, reports) for kind, reports in by_kind.items()]


def kinds_table(rows: Sequence[KindReport]) -> Table:
    """Return the table of kinds: the strikes of each, and the number of worlds in which each invariant broke."""
    columns = invariants(rows)
    table = Table(title=f"harsh worlds: {rows[0].seeds} seeds for each kind", caption=_CAPTION)
    table.add_column("kind", no_wrap=True)
    for column in ("strikes", "struck", "failing", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        counts = [str(row.broken(one) or "") for one in columns]
        table.add_row(row.kind, f"{sum(row.strikes.values()):,}", str(row.struck), str(len(row.failing)), *counts)
    return table


_CAPTION: Final = (
    "strikes: faults that occurred; struck: worlds with such faults; failing: worlds with violations, then by invariant (FM: "
    "failure mode); none: the same checks without these faults"
)


def classes_table(row: KindReport) -> Table:
    """Return the table of one kind's violations by class, each with the options that replay one of its worlds."""
    table = Table(title=f"{row.kind}: {len(row.failing)} of {row.seeds} worlds failing", title_justify="left")
    table.add_column("worlds", justify="right")
    table.add_column("what")
    table.add_column("replay", no_wrap=True)
    for one, seeds in row.classes.items():
        table.add_row(str(len(seeds)), one, replay(row.kind, seeds[0]))
    return table


def replay(kind: str, seed: int) -> str:
    """Return the options that replay a world."""
    return f"{'--calm' if kind == CALM else f'--harsh {kind}'} --seed {seed}"


def invariants(rows: Iterable[KindReport]) -> tuple[str, ...]:
    """Return the invariants that broke, by their numbers in the design; ``"FM"`` for a failure mode."""
    found = {_invariant_of(one) for row in rows for one in row.classes}
    return tuple(sorted(found, key=lambda one: (one == "FM", one.rjust(3))))


def _invariant_of(failure: str) -> str:
    return "FM" if failure.startswith("FM") else failure.partition(".")[0]
