"""Walk one position along its prices, to its exit or to the end of the data."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TypeAlias

import msgspec

from trailing.backtest.series import BarSeries, Series, TradeSeries, first_index, is_bars, times_of
from trailing.backtest.simulated import SimulatedPosition
from trailing.core.model import Market, Position
from trailing.core.paths import CLOSE_AHEAD, point_prices, point_times
from trailing.core.plan import TrailPlan
from trailing.core.prices import EXACT

Stops: TypeAlias = tuple[tuple[float, Decimal], ...]
"""The time (seconds since 1970) and the price of each acknowledged stop of a position, the first one included."""


class Walk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one position.

    Args:
        position: the position.
        first: the index of the first bar or trade that counted.
        last: the index of the bar or trade in which it ended, or of the last one.
        exit_at: when it ended, in seconds since 1970; None: it is open when the data end.
        exit_price: the price at which it was closed, before slippage. If it is open, the last price.
        reason: why it was closed; None: it is open.
        stop: the price of its live stop at the end.
        moves: how often the stop was moved.
        worst, best: the prices of its time that were worst and best for it, its entry and its exit included.
        stops: its stops; empty unless they were kept.
    """

    position: Position
    first: int
    last: int
    exit_at: float | None
    exit_price: Decimal
    reason: str | None
    stop: Decimal
    moves: int
    worst: Decimal
    best: Decimal
    stops: Stops = ()


def walk(
    position: Position,
    plan: TrailPlan,
    market: Market,
    series: Series,
    *,
    high_first: bool = True,
    keeps_stops: bool = False,
) -> Walk | None:
    """Walk a position under a plan, with the core's own decisions.

    Args:
        series: the prices of its symbol.
        high_first: whether every bar is assumed to have reached its high before its low. Trades have no such order.
        keeps_stops: whether `Walk.stops` is filled.

    Returns:
        What became of it; None: no price counts for it, because the data end before.

    Raises:
        UsageError: the position, the plan and the market can't be right together, or a rule of the plan failed.
    """
    first, times = first_index(series, position.opened_at), times_of(series)
    if first == len(times):
        return None
    simulated = SimulatedPosition(position, plan, market, times[first] / 1000, keeps_stops=keeps_stops)
    if is_bars(series):
        last, worst = _walk_bars(simulated, series, first, high_first=high_first)
    else:
        last, worst = _walk_trades(simulated, series, first)
    return _result(simulated, series, first, last, worst)


def _result(simulated: SimulatedPosition, series: Series, first: int, last: int, worst: int) -> Walk:
    position = simulated.position
    exit_price = simulated.price if simulated.exit_price is None else simulated.exit_price
    pick = min if position.side == "long" else max
    return Walk(
        position=position,
        first=first,
        last=last,
        exit_at=simulated.exit_at,
        exit_price=exit_price,
        reason=simulated.exit_reason,
        stop=simulated.stop,
        moves=simulated.moves,
        worst=pick(series.price(worst), position.entry_price, exit_price),
        best=simulated.ratchet.best,
        stops=tuple(simulated.stops),
    )


def _walk_bars(simulated: SimulatedPosition, bars: BarSeries, first: int, *, high_first: bool) -> tuple[int, int]:
    """Return the index of the last bar, and the worst price before the exit, in units of the series.

    Most prices change nothing. They are compared as whole numbers with the core's own limits, and the state takes only
    the last of them in a row, before the next price that may change something.
    """
    opens, highs, lows, closes, times = bars.open, bars.high, bars.low, bars.close, bars.opened_at
    seconds, is_long, decimals = bars.seconds, simulated.position.side == "long", bars.decimals
    milliseconds = seconds * 1000
    pick = min if is_long else max
    worst = opens[first]
    below, above = _band(simulated, decimals)
    quiet: tuple[int, int] | None = None  # the bar and the number of the last price that the state has not taken
    last = len(times) - 1
    for index in range(first, last + 1):
        low, high = lows[index], highs[index]
        if low > below and high < above and (times[index] + milliseconds) / 1000 < simulated.due:
            quiet = (index, 3)
            worst = min(worst, low) if is_long else max(worst, high)
            continue
        prices = point_prices(opens[index], high, low, closes[index], high_first=high_first)
        moments = point_times(times[index], seconds)
        for number, units in enumerate(prices):
            at = moments[number]
            if below < units < above and at < simulated.due:
                quiet = (index, number)
            else:
                if quiet is not None:
                    _take_point(simulated, bars, *quiet, high_first=high_first)
                    quiet = None
                if _take_point(simulated, bars, index, number, high_first=high_first):
                    return index, worst
                below, above = _band(simulated, decimals)
            worst = pick(worst, units)
    if quiet is not None:
        _take_point(simulated, bars, *quiet, high_first=high_first)
    return last, worst


def _take_point(simulated: SimulatedPosition, bars: BarSeries, index: int, number: int, *, high_first: bool) -> bool:
    units = point_prices(bars.open[index], bars.high[index], bars.low[index], bars.close[index], high_first=high_first)[
        number
    ]
    at = point_times(bars.opened_at[index], bars.seconds)[number]
    dated = at - CLOSE_AHEAD if number == 3 else at
    return simulated.take(bars.price(units), at, continuous=number > 0, dated=dated)


def _walk_trades(simulated: SimulatedPosition, trades: TradeSeries, first: int) -> tuple[int, int]:
    """Return the index of the last trade, and the worst price before the exit, in units of the series."""
    times, prices, is_long = trades.at, trades.price_units, simulated.position.side == "long"
    worst = prices[first]
    below, above = _band(simulated, trades.decimals)
    quiet = -1
    last = len(times) - 1
    for index in range(first, last + 1):
        units, at = prices[index], times[index] / 1000
        if below < units < above and at < simulated.due:
            quiet = index
            if (units < worst) if is_long else (units > worst):
                worst = units
            continue
        if quiet >= 0:
            simulated.take(
                trades.price(prices[quiet]), times[quiet] / 1000, continuous=False, dated=times[quiet] / 1000
            )
            quiet = -1
        if simulated.take(trades.price(units), at, continuous=False, dated=at):
            return index, worst
        worst = min(worst, units) if is_long else max(worst, units)
        below, above = _band(simulated, trades.decimals)
    if quiet >= 0:
        simulated.take(trades.price(prices[quiet]), times[quiet] / 1000, continuous=False, dated=times[quiet] / 1000)
    return last, worst


def _band(simulated: SimulatedPosition, decimals: int) -> tuple[float, float]:
    """Return the limits of the prices that change nothing, both excluded, in units of the series."""
    if simulated.takes_candles:
        return math.inf, -math.inf
    low, high = simulated.ratchet.quiet_band
    below = low.scaleb(decimals, EXACT).to_integral_value(ROUND_FLOOR, EXACT) if low.is_finite() else low
    above = high.scaleb(decimals, EXACT).to_integral_value(ROUND_CEILING, EXACT) if high.is_finite() else high
    return (int(below) if below.is_finite() else float(below)), (int(above) if above.is_finite() else float(above))
