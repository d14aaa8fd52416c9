"""How far the price went against and for each trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

from trailing.backtest import Trade
from trailing.plots.figures import LOSS, OPEN, PROFIT, add_hover, add_legend, new_figure

MOST_TRADES: Final = 3000
"""The most trades of a scatter."""

_KINDS: Final = (("profit", PROFIT, "circle"), ("loss", LOSS, "triangle"), ("open", OPEN, "square"))


def excursion_figure(trades: Sequence[Trade], *, name: str) -> figure:
    """Return a scatter of the maximum adverse and the maximum favourable excursion of trades, in percent of the entry."""
    made = new_figure(name, height=340, x_label="MAE, %", y_label="MFE, %")
    step = -(-len(trades) // MOST_TRADES)
    shown, items, drawn_all = trades[:: max(1, step)], [], []
    for kind, colour, marker in _KINDS:
        some = [trade for trade in shown if kind_of(trade) == kind]
        if not some:
            continue
        source = ColumnDataSource(
            {
                "mae": np.array([float(trade.mae) for trade in some], np.float32),
                "mfe": np.array([float(trade.mfe) for trade in some], np.float32),
                "symbol": [trade.symbol for trade in some],
                "side": [trade.side for trade in some],
                "at": np.array([trade.entered_at.timestamp() * 1000 for trade in some], np.float64),
            }
        )
        drawn = made.scatter("mae", "mfe", source=source, color=colour, marker=marker, size=7, alpha=0.65)
        items.append((kind, [drawn]))
        drawn_all.append(drawn)
    add_hover(
        made,
        drawn_all,
        [("", "@symbol @side"), ("entered", "@at{%F %T}"), ("MAE", "@mae{0.00} %"), ("MFE", "@mfe{0.00} %")],
        formatters={"@at": "datetime"},
    )
    add_legend(made, items)
    return made


def kind_of(trade: Trade) -> str:
    """Return whether a trade ended with a profit, with a loss, or is open."""
    if trade.profit is None:
        return "open"
    return "profit" if trade.profit > 0 else "loss"
