"""The path of the price in a file: one point of a trade, four of a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cache

from trailing.core.model import Source, Tick
from trailing.core.paths import point_prices, point_times
from trailing.core.prices import EXACT
from trailing.exchanges.prices import PricePoint


@cache
def price_writer(decimals: int) -> Callable[[int], Decimal]:
    """Return a function from whole units of ``10 ** -decimals`` to the price, without trailing zeros."""
    units_by_decimals = [Decimal((0, (1,), -number)) for number in range(decimals + 1)]
    multiply = EXACT.multiply

    def price(units: int) -> Decimal:
        left = decimals
        while left and not units % 10:
            units //= 10
            left -= 1
        return multiply(units, units_by_decimals[left])

    return price


def trade_points(symbol: str, source: Source, decimals: int, trades: Iterable[tuple[int, int]]) -> Iterator[PricePoint]:
    """Yield a jump to each trade.

    Args:
        decimals: a price is a whole number times ``10 ** -decimals``.
        trades: the UTC milliseconds and the price of each.
    """
    price = price_writer(decimals)
    for at, units in trades:
        yield PricePoint(Tick(symbol, price(units), at / 1000, source))


def bar_points(
    symbol: str,
    source: Source,
    decimals: int,
    seconds: float,
    bars: Iterable[tuple[int, tuple[int, int, int, int]]],
    *,
    high_first: bool,
) -> Iterator[PricePoint]:
    """Yield four points of each bar, as `trailing.core.paths` describes them.

    Args:
        decimals: as `trade_points`.
        seconds: the length of a bar.
        bars: the UTC milliseconds of the open, and open, high, low and close, of each.
        high_first: whether the high comes before the low.
    """
    price = price_writer(decimals)
    for opened_at, units in bars:
        path = zip(point_prices(*units, high_first=high_first), point_times(opened_at, seconds), strict=True)
        for number, (each, at) in enumerate(path):
            yield PricePoint(Tick(symbol, price(each), at, source), continuous=number > 0, ends_bar=number == 3)
