"""The prices that a command is given, and the option ``--tick``: the tick to which prices and stops are rounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import msgspec

from trailing.cli.parser import Option
from trailing.core.checks import check_money, check_symbol, refuse
from trailing.core.model import Market
from trailing.errors import UsageError, suggest
from trailing.price_files import Bars, Prices, describe_prices, find_price_files, read_prices
from trailing.price_files.origins import read_origin

TICK_OPTION: Final = Option(
    name="--tick",
    value="TICK",
    repeats=True,
    help="the market's tick, as 0.1 for every symbol or SYMBOL=0.1, to which prices and stops are rounded; without it: "
    "the tick that trailing candles recorded beside the file, else the finest decimal in the file for prices, and "
    "0.00000001 for stops; may be given several times",
)


class SymbolPrices(msgspec.Struct, frozen=True):
    """The prices of a symbol.

    Args:
        tick: the market's; None: it is not known.
    """

    prices: Prices
    tick: Decimal | None


class GivenPrices(msgspec.Struct, frozen=True):
    """The prices that a command was given, by symbol."""

    by_symbol: dict[str, SymbolPrices]

    @property
    def series(self) -> dict[str, Prices]:
        """The bars or trades of each symbol."""
        return {symbol: each.prices for symbol, each in self.by_symbol.items()}

    @property
    def markets(self) -> dict[str, Market]:
        """The markets whose tick is known."""
        ticks = {symbol: each.tick for symbol, each in self.by_symbol.items()}
        return {symbol: Market(symbol, price_tick=tick) for symbol, tick in ticks.items() if tick is not None}

    @property
    def has_trades(self) -> bool:
        """Whether some prices are trades."""
        return any(not isinstance(each.prices, Bars) for each in self.by_symbol.values())

    @property
    def longest_bar(self) -> float | None:
        """The seconds of the longest bar; None: all prices are trades."""
        bars = (each.prices for each in self.by_symbol.values())
        return max((each.seconds for each in bars if isinstance(each, Bars)), default=None)

    def describe(self) -> list[str]:
        """Return what is to be known about the files, a line each."""
        return [line for each in self.by_symbol.values() for line in describe_prices(each.prices)]


def parse_ticks(words: Sequence[str] | None) -> dict[str | None, Decimal]:
    """Return the ticks of ``--tick`` by symbol; that of None is for every other symbol.

    Raises:
        UsageError: a word can't be right.
    """
    ticks = dict[str | None, Decimal]()
    for word in words or ():
        symbol, equals, text = word.rpartition("=")
        if equals:
            check_symbol("--tick", symbol)
        try:
            tick = Decimal(text)
            check_money("--tick", tick)
        except (InvalidOperation, UsageError):
            raise refuse("--tick", word, "a number above 0, such as 0.1, or SYMBOL=0.1") from None
        key = symbol or None
        if key in ticks:
            raise UsageError(f"--tick is given twice for {symbol or 'every symbol'}")
        ticks[key] = tick
    return ticks


def read_with_ticks(given: Sequence[str], symbols: Iterable[str], ticks: Mapping[str | None, Decimal]) -> GivenPrices:
    """Read the price file of each symbol, rounded to the market's tick.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        ticks: as `parse_ticks` returns them.

    Raises:
        UsageError: a symbol has no file or several, a file can't be right, or a tick is of no symbol.
    """
    found = find_price_files(given, symbols)
    for symbol in ticks:
        if symbol is not None and symbol not in found:
            raise UsageError(f"--tick: {symbol} has no prices.{suggest(symbol, found)}")
    return GivenPrices({symbol: _read(path, ticks.get(symbol, ticks.get(None))) for symbol, path in found.items()})


def _read(path: Path, tick: Decimal | None) -> SymbolPrices:
    if tick is not None:
        return SymbolPrices(read_prices(path, tick=tick), tick)
    origin = read_origin(path)
    if origin is None or origin.tick is None:
        return SymbolPrices(read_prices(path), None)
    # Prices of indexes and marks have finer ticks than the market, whose stops they trigger.
    return SymbolPrices(read_prices(path, tick=origin.tick if origin.source == "last" else None), origin.tick)
