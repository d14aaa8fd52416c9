"""A warning about payments of funding that no position can have paid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from trailing.backtest import Costs
from trailing.backtest.series import Series, is_bars, times_of
from trailing.cli.messages import print_message
from trailing.cli.tables import write_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def warn_of_unused_funding(costs: Costs, prices: Mapping[str, Series]) -> None:
    """Print a line for each symbol none of whose payments of funding lies within its prices."""
    for symbol, rates in costs.funding.items():
        series = prices[symbol]
        times = times_of(series)
        first, last = times[0], times[-1] + (round(1000 * series.seconds) if is_bars(series) else 0)
        if not any(first <= rate.at <= last for rate in rates):
            print_message(
                f"--funding: none of the payments for {symbol}, from {_write(rates[0].at)} to {_write(rates[-1].at)}, lies within its "
                f"prices, from {_write(first)} to {_write(last)}"
            )


def _write(milliseconds: int) -> str:
    return f"{write_time(_EPOCH + timedelta(milliseconds=milliseconds))} UTC"
