"""The demo's positions, and a market that reaches each of their stops within eight seconds."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from trailing.core.model import Market, Percent, Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.prices import ahead
from trailing.core.rules import Breakeven, Callback

PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(Breakeven(at=Percent("0.8"), offset=Percent("0.05")), Callback(Percent("0.5"), activation=Percent("1.5"))),
)

TICKS_A_SECOND = 20

_POSITIONS: tuple[tuple[str, Side, str, str], ...] = (
    ("BTC/USDT:USDT", "long", "0.05", "64250.0"),
    ("ETH/USDT:USDT", "long", "1.2", "3120.50"),
    ("SOL/USDT:USDT", "short", "30", "148.250"),
    ("XRP/USDT:USDT", "long", "5000", "0.52150"),
    ("ADA/USDT:USDT", "short", "8000", "0.38420"),
)

# (seconds, profit in percent): winners that are trailed, one that returns to breakeven, and one that only loses.
_PATHS = (
    ((0, 0), (3.0, 3.2), (3.8, 2.9), (5.5, 5.1), (7.5, 1.0)),
    ((0, 0), (2.0, 1.1), (4.0, 0.4), (6.0, -1.0)),
    ((0, 0), (1.5, -0.9), (4.5, 2.6), (6.5, 0.5)),
    ((0, 0), (1.0, 0.3), (4.0, -3.0)),
    ((0, 0), (2.5, 1.9), (3.2, 1.6), (6.0, 4.2), (8.0, 0.5)),
)
_NOISE = 0.04  # percent


def open_positions(at: datetime) -> tuple[Position, ...]:
    """Return the five positions, opened at a given time."""
    return tuple(
        Position(symbol, side, Decimal(quantity), Decimal(price), at) for symbol, side, quantity, price in _POSITIONS
    )


def demo_markets() -> tuple[Market, ...]:
    """Return their markets; the price tick has as many decimals as the entry price."""
    return tuple(
        Market(symbol, price_tick=Decimal(1).scaleb(int(Decimal(price).as_tuple().exponent)))
        for symbol, _, _, price in _POSITIONS
    )


def price_steps() -> Iterator[dict[str, Decimal]]:
    """Yield all prices by symbol, `TICKS_A_SECOND` times a second, the same ones in each run."""
    draw = random.Random(5)
    for step in range(int(max(path[-1][0] for path in _PATHS) * TICKS_A_SECOND) + 1):
        prices = {}
        for (symbol, side, _, entry), path in zip(_POSITIONS, _PATHS, strict=True):
            # Random numbers and times are floats; the percentage is written as text before it becomes money.
            percent = Percent(Decimal(f"{100 + _profit_at(path, step / TICKS_A_SECOND) + draw.gauss(0, _NOISE):.4f}"))
            gain = percent.of(Decimal(entry)) - Decimal(entry)
            prices[symbol] = ahead(side, Decimal(entry), gain).quantize(Decimal(entry))
        yield prices


def _profit_at(path: tuple[tuple[float, float], ...], seconds: float) -> float:
    index = bisect_right(path, seconds, key=lambda point: point[0])
    if index == len(path):
        return path[-1][1]
    (since, begin), (until, end) = path[index - 1], path[index]
    return begin + (end - begin) * (seconds - since) / (until - since)
