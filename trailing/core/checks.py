"""Check single values, for the types that are validated when they are built.

Each check raises UsageError for a wrong value. The error names the field, the value and the values that are allowed.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Clamped, Context, Decimal, InvalidOperation, Overflow, Rounded, Subnormal
from functools import lru_cache
from typing import Any, Final

from trailing.errors import UsageError

_MOST_SHOWN: Final = 200

# Money has at most 30 digits, because the core calculates with 60 digits, so the product of two such numbers is exact.
# With 18 decimals, 30 digits reach up to a trillion. The method raises for a number that does not fit.
_as_money: Final = Context(
    prec=30, Emin=-18, Emax=17, traps=[Clamped, InvalidOperation, Overflow, Rounded, Subnormal]
).plus
_ZERO: Final = Decimal(0)

# ccxt's unified form of a linear contract is BASE/QUOTE:SETTLE, with a date if it expires.
# The contract is settled in the quote currency.
_LINEAR = re.compile(r"[^\s/:-]+/(?P<quote>[^\s/:-]+):(?P<settle>[^\s/:-]+)(-\d{6})?")

_SURROGATE = re.compile("[\ud800-\udfff]")
"""The half of a character, which no UTF-8 can hold, so that no store could."""


def refuse(field: str, got: object, wants: str) -> UsageError:
    """Return the error for a field with a wrong value.

    Its message names the field, the value that it got (at most 200 characters of it) and the values that it wants.
    """
    shown = repr(got)
    return UsageError(f"{field} got {shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + '…'}, wants {wants}")


def check_money(field: str, value: Any, *, zero: bool = False) -> None:
    """Refuse a value that can be neither a price nor a quantity.

    Money is a Decimal from 1e-18 to below 1e18, written with at most 30 digits. Zero is allowed if `zero` is true.
    """
    try:
        if type(value) is Decimal and value.is_finite() and (_as_money(value) > _ZERO or (zero and not value)):
            return
        wants = "a finite Decimal, at least 0" if zero else "a finite Decimal above 0"
    except ArithmeticError:  # the context's signal: too many digits, too large or too small
        wants = "a Decimal from 1e-18 to below 1e18 with at most 30 digits"
    raise refuse(field, value, wants)


def check_seconds(field: str, value: Any, *, zero: bool = True) -> None:
    """Refuse a value that is not a finite number of seconds of at least 0. Without `zero`, refuse 0, too."""
    wants = "seconds, a finite number " + ("of at least 0" if zero else "above 0")
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (not zero and value == 0):
        raise refuse(field, value, wants)


@lru_cache(maxsize=10_000)
def _is_linear(symbol: str) -> bool:
    match = _LINEAR.fullmatch(symbol)
    return match is not None and match["quote"] == match["settle"]


def check_symbol(field: str, value: Any) -> None:
    """Refuse a value that is not a linear contract in unified form, such as ``BTC/USDT:USDT``."""
    if not isinstance(value, str) or not _is_linear(value):
        raise refuse(field, value, "a linear contract in unified form, such as 'BTC/USDT:USDT'")


def check_id(field: str, value: Any) -> None:
    """Refuse a value that is neither None nor a text that UTF-8 can hold and that is not empty."""
    if value is not None and (not isinstance(value, str) or not value or _SURROGATE.search(value)):
        raise refuse(field, value, "a text that is not empty and has no surrogate, or None")


def check_one_of(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the allowed words."""
    if value not in allowed:
        raise refuse(field, value, "one of " + ", ".join(map(repr, allowed)))


def check_side(field: str, value: Any) -> None:
    """Refuse a value that is not ``"long"`` or ``"short"``."""
    check_one_of(field, value, ("long", "short"))


def check_source(field: str, value: Any) -> None:
    """Refuse a value that is not ``"last"``, ``"mark"`` or ``"index"``."""
    check_one_of(field, value, ("last", "mark", "index"))


def check_utc(field: str, value: Any) -> None:
    """Refuse a value that is not an aware datetime in UTC."""
    offset = value.utcoffset() if isinstance(value, datetime) else None
    if offset is None or offset:
        raise refuse(field, value, "an aware datetime in UTC")
