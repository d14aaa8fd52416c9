"""Finds the price file of each symbol by its name.

A file's name has base and quote, then ``-trades`` for trades or ``-5m`` (any number of ``m``, ``h``, ``d`` or ``w``) for bars,
and ``.csv`` or ``.parquet``. For example, ``ada-btc-5m.csv`` has bars of ``ADA/BTC:BTC``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from trailing.core.checks import refuse
from trailing.errors import UsageError, suggest
from trailing.price_files.reading import NAME
from trailing.price_files.tables import SUFFIXES


def find_price_files(given: Sequence[str], symbols: Iterable[str], *, option: str = "--prices") -> dict[str, Path]:
    """Return the price file of each symbol, in their order.

    Args:
        given: directories, files, or ``SYMBOL=FILE``.
        symbols: ccxt's unified symbols.
        option: the option that has `given`, for errors.

    Raises:
        UsageError: a symbol has no file or several, or a file's name has no known ending.
    """
    wanted = tuple(dict.fromkeys(symbols))
    named, files = _sort_out(given, option)
    unknown = named.keys() - set(wanted)
    if unknown:
        symbol = min(unknown)
        raise UsageError(f"{option}: {symbol} is not in the wave.{suggest(symbol, wanted)}")
    return {symbol: named.get(symbol) or _find(symbol, given, files, option) for symbol in wanted}


def _sort_out(given: Sequence[str], option: str) -> tuple[dict[str, Path], list[Path]]:
    named: dict[str, Path] = {}
    files: list[Path] = []
    for word in given:
        symbol, equals, name = word.partition("=")
        if equals and not (symbol and name) and not Path(word).exists():
            raise refuse(option, word, "a directory, a file, or SYMBOL=FILE")
        path = Path(name if equals and not Path(word).exists() else word)
        if not path.exists():
            raise UsageError(f"{option}: {path} does not exist")
        if path != Path(word):
            if path.is_dir():
                raise UsageError(f"{option}: {path} for {symbol} is a directory; give a file")
            if path.suffix.lower() not in SUFFIXES:
                raise UsageError(f"{option}: the name of {path} has to end in .csv or .parquet")
            named[symbol] = path
        elif path.is_dir():
            files += sorted(path.iterdir())
        else:
            files.append(path)
    return named, files


def _find(symbol: str, given: Sequence[str], files: Sequence[Path], option: str) -> Path:
    base, quote, settle = re.split(r"[/:]", symbol.lower())
    stems = {f"{base}-{quote}", f"{base}-{quote}-{settle}"}
    found = [path for path in files if (name := NAME.fullmatch(path.name)) and name["stem"].lower() in stems]
    if not found:
        wants = f"{base}-{quote}-5m.csv or {base}-{quote}-trades.csv"
        raise UsageError(
            f"{option}: {', '.join(given)} has no file for {symbol}; name it {wants}, or give {option} {symbol}=FILE"
        )
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise UsageError(f"{option}: several files for {symbol}: {names}; choose one with {option} {symbol}=FILE")
    return found[0]
