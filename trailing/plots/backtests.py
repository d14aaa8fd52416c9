"""The page of a backtest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trailing.backtest import Backtest
from trailing.backtest.series import Series
from trailing.errors import UsageError
from trailing.plots.equity import equity_figure
from trailing.plots.page import Section, Table, make_page
from trailing.plots.trades import lower_run, trade_sections
from trailing.unprotected import UnprotectedStretch


def backtest_page(
    result: Backtest,
    prices: Mapping[str, Series],
    *,
    title: str = "Backtest",
    notes: Sequence[str] = (),
    unprotected: Sequence[UnprotectedStretch] = (),
) -> str:
    """Return a page about a backtest: totals, equity, price with trades and stops, MAE and MFE.

    Args:
        result: of `trailing.backtest.run` with ``keeps_stops=True``.
        prices: those that it walked.
        title: of the page.
        notes: the fill model, the costs and warnings, a sentence each.
        unprotected: times in which a position had no live stop, drawn in red.

    Raises:
        UsageError: the result has no stops.
    """
    if any(len(run.stops) != len(run.trades) for run in result.runs):
        raise UsageError("a page needs the stops of a backtest: run it with keeps_stops=True")
    return make_page(title, (), [*_sections(result, prices, unprotected)], notes)


def _sections(
    result: Backtest, prices: Mapping[str, Series], unprotected: Sequence[UnprotectedStretch]
) -> Iterator[Section]:
    yield Section(heading="Totals", caption="Profits are after costs.", table=_totals(result))
    for number, currency in enumerate(result.profit_range):
        yield Section(
            heading=f"Equity in {currency}",
            caption="The sum of the profits of closed trades, after costs.",
            figure=equity_figure(result.runs, currency, name=f"equity_{number}"),
        )
    yield from trade_sections(lower_run(result.runs), prices, unprotected)


def _totals(result: Backtest) -> Table:
    right = ("trades", "closed", "won", "open", "profit", "before costs", "slippage", "fees", "funding", "moves")
    rows = [
        (
            run.candles or "trades",
            currency,
            *map(str, (totals.trades, totals.closed, totals.won, totals.open)),
            *(f"{value:f}" for value in (totals.profit, totals.gross, totals.slippage, totals.fees, totals.funding)),
            str(totals.moves),
        )
        for run in result.runs
        for currency, totals in run.totals.items()
    ]
    return Table(columns=("candles", "currency", *right), right=right, rows=tuple(rows))
