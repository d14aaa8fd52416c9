"""The entries of a backtest: given positions, signals, or generated ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from trailing.backtest.series import Series, first_index, is_bars, times_of
from trailing.core.model import Position, Side, check_money, check_seconds, check_side, check_symbol, check_utc, refuse
from trailing.errors import UsageError, suggest

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE: Final = Decimal(1)
_SECONDS_UNTIL_1980: Final = timedelta(days=3652)


class EntryPoint(msgspec.Struct, frozen=True, gc=False):
    """A position to walk.

    Args:
        position: the position.
        at_market: whether it was entered at market at the price of the data, so that its entry has slippage. The price of a
            position that was really entered contains it already.
    """

    position: Position
    at_market: bool = False


class Signal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry at the first price at or after a time: the open of the next bar, or the next trade.

    Args:
        at: aware UTC.
        quantity: in base units, above 0.
        stop_price: the initial stop in place of the plan's; None: the plan's.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    symbol: str
    side: Side
    at: datetime
    quantity: Decimal = _ONE
    stop_price: Decimal | None = None

    def __post_init__(self) -> None:
        check_symbol("Signal.symbol", self.symbol)
        check_side("Signal.side", self.side)
        check_utc("Signal.at", self.at)
        check_money("Signal.quantity", self.quantity)


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """An entry at the open of the first bar of each interval, whether earlier ones have ended or not.

    Args:
        seconds: the interval, above 0. Intervals begin at multiples of it since 1970, in UTC.
        sides: the sides to enter.
        quantity: of each entry, in base units.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    seconds: float
    sides: tuple[Side, ...] = ("long",)
    quantity: Decimal = _ONE

    def __post_init__(self) -> None:
        check_seconds("Every.seconds", self.seconds, zero=False)
        if self.seconds < 1e-3:
            raise refuse("Every.seconds", self.seconds, "at least a millisecond")
        _check_generated("Every", self.sides, self.quantity)


class AlwaysIn(msgspec.Struct, frozen=True, kw_only=True):
    """An entry at the first price, and another one at the open of the bar after each exit.

    Args:
        sides: the sides to enter, each on its own.
        quantity: of each entry, in base units.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    sides: tuple[Side, ...] = ("long",)
    quantity: Decimal = _ONE

    def __post_init__(self) -> None:
        _check_generated("AlwaysIn", self.sides, self.quantity)


def _check_generated(name: str, sides: Any, quantity: Any) -> None:
    if not isinstance(sides, tuple) or not sides or len(set(sides)) < len(sides):
        raise refuse(f"{name}.sides", sides, "a tuple of 'long', 'short' or both")
    for side in sides:
        check_side(f"{name}.sides", side)
    check_money(f"{name}.quantity", quantity)


def enter_at(series: Series, index: int, symbol: str, side: Side, quantity: Decimal) -> EntryPoint:
    """Return an entry at market at the open of a bar, or at the price of a trade."""
    price = series.price(series.open[index] if is_bars(series) else series.price_units[index])
    opened_at = _EPOCH + timedelta(milliseconds=times_of(series)[index])
    return EntryPoint(Position(symbol, side, quantity, price, opened_at), at_market=True)


def given_entries(
    given: Iterable[EntryPoint | Position | Signal], prices: Mapping[str, Series]
) -> Sequence[EntryPoint]:
    """Return the entries of positions and signals.

    Raises:
        UsageError: a symbol has no prices, or an entry lies before its first price or after its last one.
    """
    entries = []
    for each in given:
        if isinstance(each, Signal):
            series = _series_of(each.symbol, prices)
            index = _checked_index(series, each.symbol, each.side, each.at)
            entry = enter_at(series, index, each.symbol, each.side, each.quantity)
            if each.stop_price is not None:
                entry = EntryPoint(msgspec.structs.replace(entry.position, stop_price=each.stop_price), at_market=True)
        elif isinstance(each, (EntryPoint, Position)):
            entry = each if isinstance(each, EntryPoint) else EntryPoint(each)
            position = entry.position
            _checked_index(_series_of(position.symbol, prices), position.symbol, position.side, position.opened_at)
        else:
            raise refuse("entries", each, "Position, EntryPoint or Signal objects, or one Every or AlwaysIn")
        entries.append(entry)
    if not entries:
        raise UsageError("there is nothing to enter: give at least one position or signal")
    return entries


def generate_every(every: Every, symbol: str, series: Series) -> Iterator[EntryPoint]:
    """Yield the entries of one symbol, by time."""
    times, interval, following = times_of(series), round(every.seconds * 1000), 0
    for index, at in enumerate(times):
        if at < following:
            continue
        if following or not at % interval:
            for side in every.sides:
                yield enter_at(series, index, symbol, side, every.quantity)
        following = (at // interval + 1) * interval


def _series_of(symbol: str, prices: Mapping[str, Series]) -> Series:
    series = prices.get(symbol)
    if series is None:
        raise UsageError(f"{symbol} has no prices.{suggest(symbol, prices)}")
    return series


def _checked_index(series: Series, symbol: str, side: Side, at: datetime) -> int:
    """Return the index of the first price that counts."""
    times = times_of(series)
    index = first_index(series, at)
    begins = _EPOCH + timedelta(milliseconds=times[0])
    if at < begins:
        hint = ". Is it in seconds instead of milliseconds?" if at - _EPOCH < _SECONDS_UNTIL_1980 else ""
        raise UsageError(
            f"{symbol} {side}: opened at {at.isoformat()}, before its first price at {begins.isoformat()}{hint}"
        )
    if index == len(times):
        ends = _EPOCH + timedelta(milliseconds=times[-1])
        what = "the open of its last bar" if is_bars(series) else "its last price"
        raise UsageError(f"{symbol} {side}: opened at {at.isoformat()}, after {what} at {ends.isoformat()}")
    return index
