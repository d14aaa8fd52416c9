"""The sections about trades: excursions, the price of each symbol, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from trailing.backtest import Run, Trade
from trailing.backtest.series import Series
from trailing.backtest.walk import Stops
from trailing.plots.excursions import MOST_TRADES, excursion_figure
from trailing.plots.page import Section, Table
from trailing.plots.price import price_figure
from trailing.unprotected import UnprotectedStretch

MOST_SYMBOLS: Final = 6
"""The most symbols whose price is drawn, so that a page stays below 3 MB."""

MOST_ROWS: Final = 100
"""The most trades of the table."""

_RIGHT: Final = ("quantity", "entry", "exit", "profit", "moves", "MAE %", "MFE %", "bars")
_COLUMNS: Final = ("position", "side", *_RIGHT, "entered (UTC)", "exited (UTC)", "reason")


def lower_run(runs: Sequence[Run]) -> Run:
    """Return the run whose trades gained less, each in percent of its entry's value."""

    def gain(run: Run) -> Decimal:
        shares = (
            trade.profit / (trade.entry_price * trade.quantity) for trade in run.trades if trade.profit is not None
        )
        return sum(shares, Decimal(0))

    return min(runs, key=gain)


def trade_sections(
    run: Run,
    prices: Mapping[str, Series],
    unprotected: Sequence[UnprotectedStretch],
    *,
    prefix: str = "",
    label: str = "",
) -> Iterator[Section]:
    """Yield the sections about the trades of one order of a bar's extremes.

    Args:
        run: with its stops.
        unprotected: times in which a position had no live stop.
        prefix: of the names of the figures, which are unique in a page.
        label: what the headings have at their end.
    """
    order = "" if run.candles is None else f" Candles: {run.candles}, the order in which the trades gained less."
    yield from _price_sections(run, prices, unprotected, order, prefix)
    step = -(-len(run.trades) // MOST_TRADES)
    some = f" Every {step}th trade is shown." if step > 1 else ""
    yield Section(
        heading=f"MAE and MFE{label}",
        caption=f"How far the price went against each trade, and how far for it, in percent of its entry.{order}{some}",
        figure=excursion_figure(run.trades, name=f"{prefix}excursions"),
    )
    rows = tuple(map(_row, run.trades[:MOST_ROWS]))
    count = len(run.trades)
    yield Section(
        heading=f"Trades{label}",
        caption=(f"The first {MOST_ROWS} of {count} trades." if count > MOST_ROWS else "") + order,
        table=Table(columns=_COLUMNS, right=_RIGHT, rows=rows),
        is_folded=True,
    )


def _price_sections(
    run: Run, prices: Mapping[str, Series], unprotected: Sequence[UnprotectedStretch], order: str, prefix: str
) -> Iterator[Section]:
    groups: dict[str, list[tuple[Trade, Stops]]] = {}
    for trade, stops in zip(run.trades, run.stops, strict=True):
        groups.setdefault(trade.symbol, []).append((trade, stops))
    shown = sorted(groups, key=lambda symbol: -len(groups[symbol]))[:MOST_SYMBOLS]
    for number, symbol in enumerate(shown):
        group = sorted(groups[symbol], key=lambda each: each[0].entered_at)
        stretches = [each for each in unprotected if each.symbol == symbol]
        drawn = price_figure(
            prices[symbol],
            [trade for trade, _ in group],
            [stops for _, stops in group],
            stretches,
            name=f"{prefix}price_{number}",
        )
        caption = "The price with the entries, the exits and the stop." + order
        if drawn.trades < drawn.of:
            caption += f" The last {drawn.trades} of {drawn.of} trades are drawn."
        if stretches:
            count = "1 stretch" if len(stretches) == 1 else f"{len(stretches)} stretches"
            caption += f" Red: no live stop, in {count}."
        if number == len(shown) - 1 and len(shown) < len(groups):
            caption += f" {len(shown)} of {len(groups)} symbols are drawn, those with the most trades."
        yield Section(heading=f"Price of {symbol}", caption=caption, figure=drawn.figure)


def _row(trade: Trade) -> tuple[str, ...]:
    return (
        trade.symbol,
        trade.side,
        _money(trade.quantity),
        _money(trade.entry_price),
        _money(trade.exit_price),
        _money(trade.profit),
        str(trade.moves),
        f"{trade.mae:.2f}",
        f"{trade.mfe:.2f}",
        str(trade.bars),
        _time(trade.entered_at),
        _time(trade.exited_at),
        trade.reason or f"open; the last price is {_money(trade.last_price)}",
    )


def _money(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _time(value: datetime | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"
