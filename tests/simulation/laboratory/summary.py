"""Sum up the reports of many worlds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from simulation.laboratory.report import WorldReport


def summary_table(
    reports: Sequence[WorldReport], seconds: float, *, title: str = "simulated worlds", strikes: str = "faults"
) -> Table:
    """Return the table of some worlds.

    Args:
        seconds: how long they took.
        strikes: the name of their strikes.
    """
    table = Table(title=title, show_header=False)
    open_seconds = sum(report.open_seconds for report in reports)
    unprotected = Counter[str]()
    for report in reports:
        unprotected.update(report.unprotected_seconds)
    rows = {
        "worlds": f"{len(reports)} in {seconds:.1f} s",
        "kills": f"{sum(report.deaths for report in reports)}",
        "checks": f"{sum(report.steps for report in reports)}",
        "worlds with violations": f"{sum(bool(report.broken) for report in reports)}",
        "position-seconds": f"{open_seconds:,.0f}",
        "protected": f"{1 - sum(unprotected.values()) / open_seconds:.4%}" if open_seconds else "no position was open",
        **{f"unprotected: {why}": f"{seconds:,.1f} s" for why, seconds in sorted(unprotected.items())},
    }
    struck = Counter[str]()
    for report in reports:
        struck.update(report.strikes)
    rows |= {f"{strikes}: {kind}": f"{count:,}" for kind, count in struck.most_common()}
    for report in reports:
        if report.objects:
            rows["objects of trailing.protection, every two hours"] = ", ".join(map(str, report.objects))
    for name, value in rows.items():
        table.add_row(name, value)
    return table
