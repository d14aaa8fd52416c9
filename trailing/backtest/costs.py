"""The costs of a trade: slippage, fees and funding. The rules of a plan never see them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Final

import msgspec

from trailing.backtest.series import Series, is_bars
from trailing.core.model import Percent, Position, refuse
from trailing.core.prices import EXACT
from trailing.errors import UsageError

_NONE: Final = Percent(0)
_HUNDRED: Final = Percent(100)
_ZERO: Final = Decimal(0)


class FundingRate(msgspec.Struct, frozen=True, gc=False):
    """One payment of funding.

    Args:
        at: UTC milliseconds.
        rate: the part of a position's value that a long pays to a short; negative: a short pays.

    Raises:
        UsageError: the rate is not a finite Decimal.
    """

    at: int
    rate: Decimal

    def __post_init__(self) -> None:
        if type(self.at) is not int or self.at < 0:
            raise refuse("FundingRate.at", self.at, "UTC milliseconds, a whole number")
        if not isinstance(self.rate, Decimal) or not self.rate.is_finite() or abs(self.rate) >= 1:
            raise refuse("FundingRate.rate", self.rate, "a Decimal between -1 and 1, such as 0.0001")


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a trade costs. Everything is 0 unless it is given.

    Args:
        slippage: how much worse than the model's price each fill at market is, in percent of the price, below 100. Every exit
            is such a fill, and so is a generated entry.
        fee: the fee of each fill, entry and exit, in percent of its value, below 100.
        funding: the payments of each symbol, by time.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    slippage: Percent = _NONE
    fee: Percent = _NONE
    funding: Mapping[str, tuple[FundingRate, ...]] = {}

    def __post_init__(self) -> None:
        for name in ("slippage", "fee"):
            value = getattr(self, name)
            if not isinstance(value, Percent) or value >= _HUNDRED:
                raise refuse(f"Costs.{name}", value, "a Percent below 100")
        for symbol, rates in self.funding.items():
            times = [rate.at for rate in rates]
            if any(later <= earlier for earlier, later in pairwise(times)):
                raise UsageError(f"Costs.funding of {symbol} has times that do not increase")

    def __str__(self) -> str:
        funding = f"funding of {', '.join(sorted(self.funding))}" if self.funding else "no funding"
        return f"slippage {self.slippage} per fill at market, fee {self.fee} per fill, {funding}"


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The profit of a closed position and its parts, in quote units. Each cost is positive if it is paid.

    Args:
        gross: the profit at the model's prices.
        profit: `gross` less `slippage`, `fees` and `funding`.
    """

    gross: Decimal
    slippage: Decimal
    fees: Decimal
    funding: Decimal
    profit: Decimal


def settle(position: Position, exit_price: Decimal, costs: Costs, *, at_market: bool, funding: Decimal) -> Account:
    """Return the account of a closed position. It is exact: nothing is rounded.

    Args:
        at_market: whether the entry was a fill at market at `Position.entry_price`. Otherwise that price was paid.
        funding: the sum of the payments, as `pay_funding` returns it.
    """
    quantity, entry, is_long = position.quantity, position.entry_price, position.side == "long"
    with localcontext(EXACT):
        share, fee = costs.slippage.value.scaleb(-2), costs.fee.value.scaleb(-2)
        entry_loss = entry * share if at_market else _ZERO
        exit_loss = exit_price * share
        gain = exit_price - entry if is_long else entry - exit_price
        paid = entry + entry_loss if is_long else entry - entry_loss
        received = exit_price - exit_loss if is_long else exit_price + exit_loss
        gross, slippage = gain * quantity, (entry_loss + exit_loss) * quantity
        fees = (paid + received) * fee * quantity
        return Account(
            gross=gross, slippage=slippage, fees=fees, funding=funding, profit=gross - slippage - fees - funding
        )


def pay_funding(
    position: Position, series: Series, rates: Sequence[FundingRate], entered_at: float, exit_at: float
) -> Decimal:
    """Return the funding that a position paid; negative: it received more.

    A payment counts if the position was entered before it and closed at or after it. Its value is the quantity times the open
    of the bar that contains that time, or the last price before, so that it does not depend on the order inside a bar.

    Args:
        rates: by time.
        entered_at, exit_at: seconds since 1970.
    """
    times = [rate.at for rate in rates]
    first, last = bisect_right(times, entered_at * 1000), bisect_right(times, exit_at * 1000)
    with localcontext(EXACT):
        paid = sum((rate.rate * _price_at(series, rate.at) for rate in rates[first:last]), _ZERO) * position.quantity
        return paid if position.side == "long" else -paid


def _price_at(series: Series, at: int) -> Decimal:
    if is_bars(series):
        index = bisect_right(series.opened_at, at) - 1
        is_inside = at < series.opened_at[index] + series.seconds * 1000
        return series.price(series.open[index] if is_inside else series.close[index])
    index = bisect_left(series.at, at + 1) - 1
    return series.price(series.price_units[index])
