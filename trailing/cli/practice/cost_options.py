"""The costs of a replay or a backtest, from the options ``--slippage``, ``--fee`` and ``--funding``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from trailing.backtest import Costs, FundingRate
from trailing.cli.parser import Option
from trailing.config.text_files import read_csv
from trailing.core.model import Percent, refuse
from trailing.errors import UsageError, suggest

_MOST_BYTES: Final = 16 * 2**20

COST_OPTIONS: Final = (
    Option(
        name="--slippage",
        value="PERCENT",
        default="0",
        help="how much worse than the model's price each fill at market is, in percent of the price",
    ),
    Option(name="--fee", value="PERCENT", default="0", help="the fee of each entry and exit, in percent of its value"),
    Option(
        name="--funding",
        value="WHERE",
        repeats=True,
        help="payments of funding, as FILE for every symbol or SYMBOL=FILE: CSV with timestamp_ms,rate; a rate of 0.0001 is "
        "0.01% of the position's value, which a long pays; may be given several times",
        completes="files",
    ),
)


def costs_reader(slippage: str, fee: str, funding: Sequence[str] | None) -> Callable[[Iterable[str]], Costs]:
    """Return a function that reads the costs for some symbols.

    Raises:
        UsageError: a percentage can't be right. The function raises it for a file or a symbol.
    """
    slipping, paying = _percent("--slippage", slippage), _percent("--fee", fee)

    def read(symbols: Iterable[str]) -> Costs:
        known = tuple(symbols)
        rates = dict[str, tuple[FundingRate, ...]]()
        for word in funding or ():
            symbol, equals, name = word.partition("=")
            if not equals or Path(word).exists():
                every = read_funding(Path(word))
                rates = dict.fromkeys(known, every) | rates  # a symbol's own file counts, whatever the order
                continue
            if symbol not in known:
                raise UsageError(f"--funding: {symbol} has no prices.{suggest(symbol, known)}")
            rates[symbol] = read_funding(Path(name))
        return Costs(slippage=slipping, fee=paying, funding=rates)

    return read


def _percent(option: str, text: str) -> Percent:
    try:
        percent = Percent(text.removesuffix("%").strip())
        if percent < Percent(100):
            return percent
    except UsageError:
        pass
    raise refuse(option, text, "a percentage of at least 0 and below 100, such as 0.05")


def read_funding(path: Path) -> tuple[FundingRate, ...]:
    """Read payments of funding from a CSV file with the columns ``timestamp_ms`` and ``rate``.

    Raises:
        UsageError: the file can't be read, or has a bad value. The message names file, line, field and value.
    """
    rates = list[FundingRate]()
    for number, row in read_csv(path, required=("timestamp_ms", "rate"), most_bytes=_MOST_BYTES):
        rates.append(_rate(path, number, row["timestamp_ms"], row["rate"]))
        if len(rates) > 1 and rates[-2].at >= rates[-1].at:
            raise UsageError(
                f"{path}, line {number}: timestamp_ms got {rates[-1].at}, wants a later time than the line before"
            )
    if not rates:
        raise UsageError(f"{path} has no payment")
    return tuple(rates)


def _rate(path: Path, number: int, at: str, rate: str) -> FundingRate:
    try:
        if not (at.isascii() and at.isdigit()):
            raise refuse("timestamp_ms", at, "UTC milliseconds, a whole number")
        try:
            return FundingRate(int(at), Decimal(rate))
        except InvalidOperation:
            raise refuse("rate", rate, "a number such as 0.0001") from None
    except UsageError as wrong:
        raise UsageError(f"{path}, line {number}: {str(wrong).removeprefix('FundingRate.')}") from None
