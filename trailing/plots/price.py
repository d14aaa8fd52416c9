"""The price of one symbol with its trades: entries, exits, the stop as a step line, and unprotected stretches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from bokeh.models import ColumnDataSource
from bokeh.models.annotations import BoxAnnotation
from bokeh.plotting import figure

from trailing.backtest import Trade
from trailing.backtest.series import Series, is_bars, times_of
from trailing.backtest.walk import Stops
from trailing.plots.excursions import kind_of
from trailing.plots.figures import (
    LOSS,
    MOST_POINTS,
    OPEN,
    PRICE,
    PROFIT,
    STOP,
    UNPROTECTED,
    add_hover,
    add_legend,
    new_figure,
)
from trailing.unprotected import UnprotectedStretch

MOST_TRADES: Final = 300
MOST_STOPS: Final = 4000
MOST_STRETCHES: Final = 300
"""The most trades, stops and unprotected stretches of one symbol. Of more, the latest are drawn."""


class Drawn(msgspec.Struct, frozen=True):
    """A figure, and how much of the data it has.

    Args:
        trades: how many trades it shows, the latest ones; `of`: of so many.
    """

    figure: figure
    trades: int
    of: int


def price_figure(
    series: Series,
    trades: Sequence[Trade],
    stops: Sequence[Stops],
    stretches: Sequence[UnprotectedStretch],
    *,
    name: str,
) -> Drawn:
    """Return the price with trades of one symbol.

    Args:
        trades: at least one, by time.
        stops: of each trade, the time and the price of each acknowledged stop.
        stretches: the times in which a position had no live stop.
    """
    stops = _without_short_lived(trades, stops, _end_of(series))
    shown = _last_that_fit(stops)
    trades, of, stops = trades[-shown:], len(trades), stops[-shown:]
    made = new_figure(name, height=360, x_label="time (UTC)", y_label="price", x_axis_type="datetime")
    for each in stretches[-MOST_STRETCHES:]:
        made.add_layout(
            BoxAnnotation(
                left=each.since.timestamp() * 1000,
                right=each.until.timestamp() * 1000,
                fill_color=UNPROTECTED,
                fill_alpha=0.3,
                line_color=UNPROTECTED,
                line_width=1,
            )
        )
    items: list[tuple[str, list[Any]]] = [("price", _draw_price(made, series, trades))]
    times, prices = _stairs(trades, stops, _end_of(series))
    items.append(("stop", [made.line(times, prices, color=STOP, line_width=2)]))
    items += _draw_trades(made, trades)
    if stretches:
        at = [trades[0].entered_at.timestamp() * 1000]  # no point is drawn, but the legend has its colour
        items.append(("unprotected", [made.scatter(at, [np.nan], marker="square", size=10, color=UNPROTECTED)]))
    add_legend(made, items)
    return Drawn(made, len(trades), of)


def _without_short_lived(trades: Sequence[Trade], stops: Sequence[Stops], end: float) -> Sequence[Stops]:
    """Leave out stops that were moved again within the width of one point of the picture."""
    begin = min(trade.entered_at for trade in trades).timestamp()
    width = (end / 1000 - begin) / MOST_POINTS

    def keep(each: Stops) -> Stops:
        last = {(at - begin) // width: number for number, (at, _) in enumerate(each)}
        return tuple(each[number] for number in sorted({*last.values(), 0}) if each)

    return [keep(each) for each in stops] if width else stops


def _last_that_fit(stops: Sequence[Stops]) -> int:
    """Return how many of the latest trades are drawn."""
    count, points = 0, 0
    for each in reversed(stops):
        points += len(each)
        if count == MOST_TRADES or (count and points > MOST_STOPS):
            break
        count += 1
    return count


def _end_of(series: Series) -> float:
    """Return when the data end, in UTC milliseconds."""
    return times_of(series)[-1] + (series.seconds * 1000 if is_bars(series) else 0)


def _draw_price(made: figure, series: Series, trades: Sequence[Trade]) -> list[Any]:
    """Draw the price around the trades. Of bars, and of many prices, there is a band from the lowest to the highest."""
    times = np.asarray(times_of(series), np.float64)
    begin = min(trade.entered_at for trade in trades).timestamp() * 1000
    ends = [times[-1] if trade.exited_at is None else trade.exited_at.timestamp() * 1000 for trade in trades]
    margin = 0.03 * (max(ends) - begin)
    first = max(0, int(np.searchsorted(times, begin - margin)) - 1)
    last = int(np.searchsorted(times, max(ends) + margin)) + 1
    unit = float(series.price(1))

    def column(units: Sequence[int]) -> npt.NDArray[np.float64]:
        return np.asarray(units[first:last], np.float64) * unit

    if is_bars(series):
        high, low, close = column(series.high), column(series.low), column(series.close)
        at = times[first:last] + series.seconds * 1000
    else:
        high = low = close = column(series.price_units)
        at = times[first:last]
    starts = np.arange(0, len(at), -(-len(at) // MOST_POINTS))
    ends_at = np.append(starts[1:], len(at)) - 1
    high, low = np.maximum.reduceat(high, starts), np.minimum.reduceat(low, starts)
    at, close = at[ends_at], close[ends_at]
    band = made.varea_step(at, low, high, step_mode="before", fill_color=PRICE, fill_alpha=0.25)
    return [band, made.line(at, close, color=PRICE, line_width=1.2)]


def _stairs(trades: Sequence[Trade], stops: Sequence[Stops], end: float) -> tuple[Any, Any]:
    """Return the corners of the stops' step lines. NaN is between two trades."""
    times, prices = list[float](), list[float]()
    for trade, each in zip(trades, stops, strict=True):
        for index, (at, price) in enumerate(each):
            if index:
                times.append(at * 1000)
                prices.append(prices[-1])
            times.append(at * 1000)
            prices.append(float(price))
        if each:
            times += [end if trade.exited_at is None else trade.exited_at.timestamp() * 1000, np.nan]
            prices += [prices[-1], np.nan]
    return np.array(times, np.float64), np.array(prices, np.float64)


def _draw_trades(made: figure, trades: Sequence[Trade]) -> list[tuple[str, list[Any]]]:
    """Draw the entries and the exits, and return their items of the legend."""
    entries = ColumnDataSource(
        {
            "at": np.array([trade.entered_at.timestamp() * 1000 for trade in trades], np.float64),
            "price": np.array([float(trade.entry_price) for trade in trades], np.float64),
            "what": [f"{trade.side} entry at {trade.entry_price:f}" for trade in trades],
            "marker": ["triangle" if trade.side == "long" else "inverted_triangle" for trade in trades],
        }
    )
    drawn = made.scatter("at", "price", source=entries, marker="marker", size=9, color=OPEN, alpha=0.9)
    items, hovered = [("entry", [drawn])], [drawn]
    for kind, colour in (("profit", PROFIT), ("loss", LOSS)):
        some = [trade for trade in trades if kind_of(trade) == kind]
        if not some:
            continue
        exits = ColumnDataSource(
            {
                "at": np.array([trade.exited_at.timestamp() * 1000 for trade in some if trade.exited_at], np.float64),
                "price": np.array([float(trade.exit_price or 0) for trade in some], np.float64),
                "what": [
                    f"{trade.side} exit at {trade.exit_price:f}, profit {trade.profit:f}: {trade.reason}"
                    for trade in some
                ],
            }
        )
        drawn = made.scatter("at", "price", source=exits, marker="x", size=9, line_width=2.5, color=colour)
        items.append((f"exit, {kind}", [drawn]))
        hovered.append(drawn)
    add_hover(made, hovered, [("", "@what"), ("time", "@at{%F %T}")], formatters={"@at": "datetime"})
    return items
