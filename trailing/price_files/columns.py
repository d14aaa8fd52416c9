"""Columns of numbers, made from texts: times in milliseconds, and prices in whole units."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

import msgspec

from trailing.core.checks import check_money
from trailing.core.prices import EXACT
from trailing.errors import UsageError
from trailing.price_files.tables import Table
from trailing.price_files.values import Column

_YEAR_10000: Final = 253_402_300_800_000  # in milliseconds; a larger value was given in another unit
_SMALLEST, _TOO_LARGE = Decimal("1e-18"), Decimal("1e18")
_MOST_DIGITS: Final = 30
_WANTS_PRICE: Final = "a price above 0, below 1e18, with at most 30 digits"

_FLOAT: Final = Context(prec=15)
"""The digits to which a float is exact. The result of a calculation with floats can have noise in the 16th and 17th."""

_CLEAN_DIGITS: Final = 12
"""The most digits of a price that is taken for one with noise, without its noise."""


class PriceColumns(msgspec.Struct, frozen=True):
    """Prices in whole units.

    Args:
        columns: in the order of the fields.
        decimals: the unit is ``10 ** -decimals``.
        tick: every price is a multiple of it.
        off_tick: how many prices were rounded.
    """

    columns: tuple[Column, ...]
    decimals: int
    tick: Decimal
    off_tick: int


def times_of(table: Table, field: str) -> array[int]:
    """Return a column of UTC milliseconds.

    Raises:
        UsageError: a value is no such number.
    """
    texts = table.column(field)
    if not all(map(str.isdigit, texts)) or not all(map(str.isascii, texts)):
        bad = next(row for row, text in enumerate(texts) if not (text.isdigit() and text.isascii()))
        raise _refuse_time(table, bad, field)
    times = list(map(int, texts))
    if max(times) >= _YEAR_10000:
        raise _refuse_time(table, next(row for row, at in enumerate(times) if at >= _YEAR_10000), field)
    return array("q", times)


def prices_of(table: Table, fields: Sequence[str], tick: Decimal | None) -> PriceColumns:
    """Return columns of prices, rounded to a tick.

    Args:
        tick: the market's; None: a unit of the finest decimal in the file. The noise of floats does not count.

    Raises:
        UsageError: a value is no price, or is rounded to 0.
    """
    texts = [table.column(field) for field in fields]
    distinct = set[str]().union(*texts)
    try:
        prices = [list(map(Decimal, column)) for column in texts]
        right = all(min(column) >= _SMALLEST and max(column) < _TOO_LARGE for column in prices)
        right = right and all(len(text) <= _MOST_DIGITS or _is_price(text) for text in distinct)
    except InvalidOperation:  # it is no number, or it is NaN, which can't be compared
        right = False
    if not right or not all(map(_is_price, (column[0] for column in texts))):  # a single NaN is not compared
        raise _find_bad(table, fields)
    if tick is None:
        decimals = max(map(_decimals, distinct))
        tick = Decimal((0, (1,), -decimals))
    else:
        decimals = max(0, _exponent(tick))
    scale = Decimal(10) ** decimals
    columns, off_tick = list[Column](), 0
    for field, column in zip(fields, prices, strict=True):
        units, off = _rounded(column, scale, int(tick * scale))
        if not all(units):
            raise table.refuse(units.index(0), field, f"at least the tick {tick:f}")
        columns.append(_packed(units))
        off_tick += off
    return PriceColumns(tuple(columns), decimals, tick, off_tick)


def _rounded(prices: Sequence[Decimal], scale: Decimal, step: int) -> tuple[list[int], int]:
    """Return prices in units, each a multiple of `step`, and how many were rounded."""
    scaled = [EXACT.multiply(price, scale) for price in prices]
    units = list(map(int, scaled))
    if scaled == units and (step == 1 or not any(each % step for each in units)):
        return units, 0
    off = [row for row, each in enumerate(scaled) if each != units[row] or units[row] % step]
    for row in off:
        units[row] = round(Fraction(scaled[row]) / step) * step  # to the nearest, and half to even
    return units, len(off)


def _packed(units: list[int]) -> Column:
    try:
        return array("q", units)
    except OverflowError:
        return units


def _decimals(text: str) -> int:
    """Return the decimals of a price, without the noise of floats."""
    if len(text) <= _FLOAT.prec + 1 and text.replace(".", "", 1).isdigit():  # too short for noise
        return len(text.partition(".")[2].rstrip("0"))
    price = Decimal(text)
    clean = price.normalize(_FLOAT)
    if len(clean.as_tuple().digits) > _CLEAN_DIGITS:
        clean = price
    return max(0, _exponent(clean))


def _exponent(value: Decimal) -> int:
    """Return the decimals that a number needs; below 0 if it is a multiple of 10."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent


def _is_price(text: str) -> bool:
    try:
        check_money("price", Decimal(text))
    except (InvalidOperation, UsageError):
        return False
    return True


def _find_bad(table: Table, fields: Sequence[str]) -> UsageError:
    """Return the error for the first row with a value that is no price."""
    rows = enumerate(zip(*map(table.column, fields), strict=True))
    bad = next((row, at) for row, texts in rows for at, text in enumerate(texts) if not _is_price(text))
    return table.refuse(bad[0], fields[bad[1]], _WANTS_PRICE)


def _refuse_time(table: Table, row: int, field: str) -> UsageError:
    return table.refuse(row, field, "UTC milliseconds, a whole number")
