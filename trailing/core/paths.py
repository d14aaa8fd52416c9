"""The path of prices inside a bar: which prices come when, and which of them the price moves through.

Every replay uses it: the paper exchange's, the backtest on the core, and the sweep. A bar states its open, high, low and
close, and does not state whether its high came before its low. So the order is an assumption, and neither order is a
bound on the result.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, TypeVar

from trailing.core.model import refuse

CandleOrder: TypeAlias = Literal["both", "high-first", "low-first"]
"""Which extreme of a bar is assumed to come first. ``"both"``: each order is replayed, and the range is reported."""

AssumedOrder: TypeAlias = Literal["high-first", "low-first"]
"""The order of one replay."""

CANDLE_ORDERS: Final[tuple[CandleOrder, ...]] = ("both", "high-first", "low-first")

CLOSE_AHEAD: Final = 1e-3
"""Seconds by which a close is dated before the end of its bar where candles are built, so that it counts to its own bar."""

_P = TypeVar("_P")


def point_times(opened_at: int, seconds: float) -> tuple[float, float, float, float]:
    """Return the times of a bar's four points: 0, L/3, 2L/3 and L after its open, in seconds since 1970.

    The close of a bar and the open of the next one have the same time. The close comes first.

    Args:
        opened_at: UTC milliseconds.
        seconds: the length L of the bar, above 0.
    """
    began = opened_at / 1000
    return began, began + seconds / 3, began + 2 * seconds / 3, (opened_at + seconds * 1000) / 1000


def point_prices(first: _P, high: _P, low: _P, last: _P, *, high_first: bool) -> tuple[_P, _P, _P, _P]:
    """Return the prices of a bar's four points, in their order.

    The price jumps to the first one. It passes through every price on its way to each of the others.
    """
    return (first, high, low, last) if high_first else (first, low, high, last)


def name_order(high_first: bool | None) -> AssumedOrder | None:  # noqa: FBT001 - it is the value that is named
    """Return the name of a replay's order; None: there are no bars."""
    if high_first is None:
        return None
    return "high-first" if high_first else "low-first"


def assumed_orders(candles: CandleOrder) -> tuple[bool, ...]:
    """Return `high_first` of each replay that an order asks for.

    Raises:
        UsageError: there is no such order.
    """
    if candles == "both":
        return (True, False)
    if candles not in CANDLE_ORDERS:
        raise refuse("candles", candles, f"one of {', '.join(CANDLE_ORDERS)}")
    return (candles == "high-first",)
