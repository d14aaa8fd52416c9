"""The sum of profits over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models.annotations import Span
from bokeh.plotting import figure

from trailing.backtest import Run
from trailing.plots.figures import LOSS, PRICE, STOP, add_hover, add_legend, new_figure, thin

_COLOURS = {"high-first": STOP, "low-first": LOSS}


def equity_figure(runs: Sequence[Run], currency: str, *, name: str) -> figure:
    """Return the sum of the profits of closed trades of a currency, a line for each order of a bar's extremes.

    It is 0 at the first entry.

    Args:
        runs: some of which have trades of the currency.
    """
    lines = []
    for run in runs:
        if currency not in run.totals:
            continue
        closed = [
            (trade.exited_at, trade.profit)
            for trade in run.trades
            if trade.currency == currency and trade.exited_at is not None and trade.profit is not None
        ]
        closed.sort(key=lambda each: each[0])
        began = min(trade.entered_at for trade in run.trades if trade.currency == currency)
        times = np.array([at.timestamp() * 1000 for at in (began, *(at for at, _ in closed))], np.float64)
        profits = np.array([0.0, *(float(profit) for _, profit in closed)], np.float64)
        lines.append((run.candles, times, np.cumsum(profits)))
    return _figure(lines, name=name, y_label=f"profit, {currency}")


def growth_figure(
    lines: Sequence[tuple[str | None, Sequence[int], Sequence[float]]], *, border: int, name: str
) -> figure:
    """Return the profit of a plan over the segments of a sweep, in percent of the value of one entry.

    Args:
        lines: for each order of a bar's extremes its name, UTC milliseconds, and the profit until then.
        border: when the second part of the walk-forward begins, UTC milliseconds.
    """
    arrays = [(order, np.array(times, np.float64), np.array(values, np.float64)) for order, times, values in lines]
    made = _figure(arrays, name=name, y_label="profit, % of an entry")
    made.add_layout(Span(location=border, dimension="height", line_dash="dashed", line_color=PRICE))
    return made


def _figure(lines: Sequence[tuple[str | None, Any, Any]], *, name: str, y_label: str) -> figure:
    made = new_figure(name, height=280, x_label="time (UTC)", y_label=y_label, x_axis_type="datetime")
    made.add_layout(Span(location=0, dimension="width", line_color=PRICE, line_width=1))
    items = []
    for number, (order, times, values) in enumerate(lines):
        kept = thin(values)
        drawn = made.line(
            *_stairs(times[kept], values[kept]),
            line_width=2,
            line_dash="dashed" if number else "solid",  # the lines often lie on each other
            color=_COLOURS.get(order or "", STOP),
        )
        items.append((order or "trades", [drawn]))
    add_hover(
        made,
        [drawn for _, (drawn,) in items],
        [("time", "@x{%F %T}"), ("profit", "@y{0,0.[00000000]}")],
        formatters={"@x": "datetime"},
        mode="vline",
    )
    add_legend(made, items)
    return made


def _stairs(times: Any, values: Any) -> tuple[Any, Any]:
    """Return the corners of a line that jumps at each time."""
    if not len(times):
        return times, values
    return np.repeat(times, 2)[1:], np.repeat(values, 2)[:-1]
