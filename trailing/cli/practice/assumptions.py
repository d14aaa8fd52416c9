"""The assumptions of a replay or a backtest, in words. Every report prints them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trailing.backtest import Costs
from trailing.cli.tables import write_money
from trailing.core.paths import CandleOrder


def describe_assumptions(costs: Costs, candles: CandleOrder | None, *, has_trades: bool) -> list[str]:
    """Return the fill model and the costs.

    Args:
        candles: the assumed order of a candle's high and low; None: there are no candles.
        has_trades: whether there are trades.
    """
    lines = []
    if candles is not None:
        lines.append(
            "inside a candle the price passes every price, and a stop fills at its own price; to the next open it jumps"
        )
        if candles == "both":
            lines.append(
                "which extreme of a candle came first is unknown: both orders were replayed, and neither is a bound"
            )
        else:
            lines.append(f"which extreme of a candle came first is unknown; assumed: {candles}, which is no bound")
    if has_trades:
        lines.append("a stop fills at the first trade at or beyond its price, at the price of that trade")
    lines.append(f"costs: {costs}")
    return lines


def describe_range(profits: Mapping[str, tuple[Decimal, Decimal]]) -> list[str]:
    """Return the range of the profits under both orders, one line for each quote currency."""
    return [
        f"profit after costs: from {write_money(lowest)} to {write_money(highest)} {currency}, by the order of high and low"
        for currency, (lowest, highest) in profits.items()
    ]


def describe_costs(costs: Costs) -> dict[str, Any]:
    """Return the costs as JSON can hold them."""
    return {
        "slippage_percent": costs.slippage.value,
        "fee_percent": costs.fee.value,
        "funding": {symbol: len(rates) for symbol, rates in sorted(costs.funding.items())},
    }
