"""The page of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trailing.plots.page import Section, Table, make_page
from trailing.plots.trades import trade_sections
from trailing.unprotected import UnprotectedStretch

if TYPE_CHECKING:
    from trailing.sweep import SweepResult


def sweep_page(
    result: SweepResult,
    *,
    title: str = "Sweep",
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
    unprotected: Sequence[UnprotectedStretch] = (),
) -> str:
    """Return a page about a sweep: the heat map of its grid, its best plans, and the trades of the best one.

    Args:
        title: of the page.
        lines: what is to be read first, a sentence each.
        notes: the fill model, the costs and other notes, a sentence each.
        unprotected: times in which a position had no live stop, drawn in red.
    """
    return make_page(title, lines, [*_sections(result, unprotected)], notes)


def _sections(result: SweepResult, unprotected: Sequence[UnprotectedStretch]) -> Iterator[Section]:
    from trailing.plots.equity import growth_figure  # noqa: PLC0415
    from trailing.plots.heat_map import heat_map  # noqa: PLC0415 - it needs the extra `sweep`

    profits = [result.plan_result(number).profit for number in range(len(result.plans))]
    drawn = heat_map(result, profits, name="heat_map") if result.axes else None
    if drawn is not None:
        caption = "The profit of each plan, in percent of the value of an entry. The star is the best plan; the white line is "
        caption += "around the plateau."
        if drawn.fixed:
            others = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in drawn.fixed.items())
            caption += f" The other values are those of the best plan: {others}."
        yield Section(heading="Heat map", caption=caption, figure=drawn.figure)
    yield Section(heading="Best plans", table=_best(result))
    number = result.best[0].number
    lines = [(each.candles, result.edges, [0.0, *(100 * each.profits[number]).cumsum()]) for each in result.orders]
    yield Section(
        heading="Equity of the best plan",
        caption="Its profit in percent of the value of an entry, after costs; open trades count at the last price. The walk-"
        "forward chooses before the dashed line.",
        figure=growth_figure(lines, border=result.walk_forward.border, name="equity"),
    )
    refused = result.best[0].refused
    if refused:
        entries = "1 entry" if refused == 1 else f"{refused} entries"
        yield Section(heading="Trades", caption=f"Not shown: the best plan has no possible first stop for {entries}.")
        return
    worse = result.worse_order_of(number).candles
    (run,) = result.backtest(number, candles=worse, keeps_stops=True).runs
    yield from trade_sections(run, result.inputs.prices, unprotected)


def _best(result: SweepResult) -> Table:
    from trailing.sweep.results import write_percent  # noqa: PLC0415 - it needs the extra `sweep`

    axes = tuple(name.replace("_", " ") for name in result.axes)
    figures = ("profit %", "high-first", "low-first", "drawdown %", "trades", "won", "open", "moves")
    rows = [
        (
            str(each.number),
            *each.values.values(),
            *map(write_percent, (each.profit, each.profit_high_first, each.profit_low_first, each.drawdown)),
            *map(str, (each.trades, each.won, each.still_open, each.moves)),
        )
        for each in result.best
    ]
    return Table(columns=("plan", *axes, *figures), right=("plan", *axes, *figures), rows=tuple(rows))
