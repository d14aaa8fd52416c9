"""The closed positions of a bot as trades: what they really earned, and how far the price went meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from decimal import Decimal

import msgspec

from trailing.backtest.costs import Costs, settle
from trailing.backtest.entries import EntryPoint
from trailing.backtest.results import Trade, make_trade
from trailing.backtest.series import Series, first_index, is_bars, times_of
from trailing.backtest.walk import Stops, Walk
from trailing.core.model import Percent, Position, check_money, check_utc, refuse


class OwnPosition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A position that was really entered and closed.

    Args:
        closed_at: aware UTC, not before `Position.opened_at`.
        exit_price: the average price at which it was closed, in quote units.
        reason: why it was closed.
        moves: how often its stop was moved.
        stops: its acknowledged stops.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    position: Position
    closed_at: datetime
    exit_price: Decimal
    reason: str = ""
    moves: int = 0
    stops: Stops = ()

    def __post_init__(self) -> None:
        if not isinstance(self.position, Position):
            raise refuse("OwnPosition.position", self.position, "a Position")
        check_utc("OwnPosition.closed_at", self.closed_at)
        check_money("OwnPosition.exit_price", self.exit_price)
        if self.closed_at < self.position.opened_at:
            raise refuse("OwnPosition.closed_at", self.closed_at.isoformat(), "a time not before opened_at")


def is_covered(own: OwnPosition, series: Series) -> bool:
    """Return whether the prices reach from the entry of a position to its exit."""
    times = times_of(series)
    length = series.seconds * 1000 if is_bars(series) else 0
    return times[0] <= own.position.opened_at.timestamp() * 1000 and own.closed_at.timestamp() * 1000 <= (
        times[-1] + length
    )


def own_trade(own: OwnPosition, series: Series, costs: Costs) -> Trade:
    """Return a closed position as a trade.

    The excursions count the bars from the entry on that closed by the exit, and the exit's own price. The extremes of
    the bar in which the exit lies may have come after it.

    Args:
        series: the prices of its symbol, which reach from the entry to the exit.
        costs: of it only the fee counts, because slippage is in the prices of the fills.
    """
    position, times = own.position, times_of(series)
    first = first_index(series, position.opened_at)
    closed = own.closed_at.timestamp() * 1000
    last = bisect_right(times, closed) - 1  # the bar or trade of the exit
    if is_bars(series):
        whole = bisect_right(times, closed - series.seconds * 1000)
        highs, lows = series.high[first:whole], series.low[first:whole]
    else:
        highs = lows = series.price_units[first : last + 1]
    prices = [position.entry_price, own.exit_price]
    if highs:
        prices += [series.price(max(highs)), series.price(min(lows))]
    lowest, highest = min(prices), max(prices)
    is_long = position.side == "long"
    walked = Walk(
        position=position,
        first=first,
        last=max(first, last),
        exit_at=own.closed_at.timestamp(),
        exit_price=own.exit_price,
        reason=own.reason,
        stop=own.stops[-1][1] if own.stops else own.exit_price,
        moves=own.moves,
        worst=lowest if is_long else highest,
        best=highest if is_long else lowest,
    )
    paid = Costs(slippage=Percent(0), fee=costs.fee)
    account = settle(position, own.exit_price, paid, at_market=False, funding=Decimal(0))
    return make_trade(EntryPoint(position), walked, account)
