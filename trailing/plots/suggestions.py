"""The page of suggestions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from trailing.backtest import Run
from trailing.backtest.series import Series
from trailing.plots.equity import equity_figure
from trailing.plots.page import Section, Table, make_page
from trailing.plots.trades import trade_sections
from trailing.unprotected import UnprotectedStretch

if TYPE_CHECKING:
    from trailing.sweep import Suggestion


def suggest_page(
    suggestions: Sequence[Suggestion],
    prices: Mapping[str, Series],
    *,
    title: str = "Suggestions",
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
    unprotected: Sequence[UnprotectedStretch] = (),
) -> str:
    """Return a page about own positions: the best plans, equity, price with the real stops, MAE and MFE.

    Args:
        suggestions: of `trailing.sweep.suggest`.
        prices: those that it was given.
        title: of the page.
        lines: what is to be read first, a sentence each.
        notes: the fill model, the costs and other notes, a sentence each.
        unprotected: times in which a position had no live stop, drawn in red.
    """
    sections = [
        section for number, each in enumerate(suggestions) for section in _sections(each, prices, unprotected, number)
    ]
    return make_page(title, lines, sections, notes)


def _sections(
    suggestion: Suggestion,
    prices: Mapping[str, Series],
    unprotected: Sequence[UnprotectedStretch],
    number: int,
) -> Iterator[Section]:
    currency = suggestion.currency
    if suggestion.best:
        yield Section(
            heading=f"Best plans on the own entries, {currency}",
            caption="Per trade, in percent of its entry's value, with 95 % intervals.",
            table=_plans(suggestion),
        )
    own_stops = tuple(own.stops for own in suggestion.positions)
    run = Run(candles=None, trades=suggestion.trades, totals={currency: suggestion.totals}, stops=own_stops)
    yield Section(
        heading=f"Own equity in {currency}",
        caption="The sum of the profits of the own closed positions, after fees.",
        figure=equity_figure([run], currency, name=f"own_equity_{number}"),
    )
    yield from trade_sections(run, prices, unprotected, prefix=f"own_{number}_", label=f", {currency}")


def _plans(suggestion: Suggestion) -> Table:
    axes = tuple(name.replace("_", " ") for name in suggestion.best[0].values)
    figures = ("profit %", "profit % interval", "more than own %", "more than own % interval", "open", "refused")
    rows = [
        (
            *each.values.values(),
            f"{each.mean.value:.2f}",
            f"{each.mean.low:.2f} to {each.mean.high:.2f}",
            f"{each.gain.value:.2f}",
            f"{each.gain.low:.2f} to {each.gain.high:.2f}",
            str(each.still_open),
            str(each.refused),
        )
        for each in suggestion.best
    ]
    return Table(columns=(*axes, *figures), right=(*axes, *figures), rows=tuple(rows))
