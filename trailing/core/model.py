"""The values that all other modules use, validated when they are built.

Money and sizes are `decimal.Decimal`, never float. Times of day are aware UTC datetimes. A field called `at` is in
seconds on the running clock, whose zero is arbitrary.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trailing.core.checks import (
    check_id,
    check_money,
    check_one_of,
    check_seconds,
    check_side,
    check_source,
    check_symbol,
    check_utc,
    refuse,
)

__all__ = [
    "CallbackRange",
    "Candle",
    "Fill",
    "Market",
    "Percent",
    "Position",
    "Side",
    "Source",
    "StopOrder",
    "Tick",
    "check_money",
    "check_one_of",
    "check_seconds",
    "check_side",
    "check_source",
    "check_symbol",
    "check_utc",
    "refuse",
]

Side = Literal["long", "short"]
Source = Literal["last", "mark", "index"]


@lru_cache(maxsize=1024)
def _written(at: datetime) -> str:
    """Return a time as text. The result is cached, because the positions of a wave often share one time."""
    return at.isoformat()


class Percent(msgspec.Struct, frozen=True, order=True, gc=False):
    """A percentage. ``Percent("1.5")`` is 1.5 %.

    It is a type of its own so that no plain number is taken for a fraction.

    Args:
        value: a str, int or Decimal, finite and at least 0; never a float.

    Raises:
        UsageError: the value is anything else.
    """

    value: Decimal = msgspec.field(name="percent")

    if TYPE_CHECKING:

        def __init__(self, value: str | int | Decimal) -> None: ...

    def __post_init__(self) -> None:
        value: Any = self.value
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            try:
                value = Decimal(value)
            except InvalidOperation:
                raise refuse("Percent", value, "a number such as '1.5'") from None
            msgspec.structs.force_setattr(self, "value", value)
        elif isinstance(value, float):  # its digits may be others than those that were written
            raise refuse("Percent", value, "a text, a whole number or a Decimal, such as Percent('1.5'), never a float")
        check_money("Percent", value, zero=True)

    def of(self, price: Decimal) -> Decimal:
        """Return this percentage of a price."""
        return price * self.value / 100

    def above(self, price: Decimal) -> Decimal:
        """Return the price raised by this percentage."""
        return price + price * self.value / 100

    def below(self, price: Decimal) -> Decimal:
        """Return the price lowered by this percentage."""
        return price - price * self.value / 100

    def __str__(self) -> str:
        return f"{self.value}%"


class Position(msgspec.Struct, frozen=True, gc=False):
    """An open futures position to protect with a stop.

    Args:
        symbol: a linear contract in ccxt's unified form, ``"BTC/USDT:USDT"``; spot and inverse are refused.
        side: ``"long"`` or ``"short"``.
        quantity: in base units, above 0.
        entry_price: the price at which the entry was filled, above 0. The initial stop derives from it.
        opened_at: when the entry was filled, an aware UTC datetime.
        stop_price: the initial stop, above 0, in place of the plan's. It is checked when the position is protected, and
            refused if it is on the wrong side of both the price and the entry price. So it may lie beyond the entry
            price, as that of an adopted position in profit may.
        id: distinguishes this position from an earlier or later one of the same symbol and side; None: `opened_at`
            does.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    opened_at: datetime
    stop_price: Decimal | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        check_symbol("Position.symbol", self.symbol)
        check_side("Position.side", self.side)
        check_money("Position.quantity", self.quantity)
        check_money("Position.entry_price", self.entry_price)
        check_utc("Position.opened_at", self.opened_at)
        if self.stop_price is not None:
            check_money("Position.stop_price", self.stop_price)
        check_id("Position.id", self.id)

    @property
    def identity(self) -> str:
        """The text that distinguishes this position from others of its symbol and side."""
        return self.id if self.id is not None else _written(self.opened_at)


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One price of one symbol.

    Args:
        symbol: in unified form.
        price: above 0.
        at: seconds on the running clock.
        source: the kind of price: ``"last"``, ``"mark"`` or ``"index"``.
    """

    symbol: str
    price: Decimal
    at: float
    source: Source = "last"

    def __post_init__(self) -> None:
        check_symbol("Tick.symbol", self.symbol)
        check_money("Tick.price", self.price)
        check_source("Tick.source", self.source)
        if not isinstance(self.at, (int, float)) or not math.isfinite(self.at):
            raise refuse("Tick.at", self.at, "seconds on the running clock")


class Candle(msgspec.Struct, frozen=True, gc=False):
    """A closed bar of prices of one source.

    Args:
        opened_at: when the bar began, an aware UTC datetime.
        seconds: the length of the bar, above 0.
    """

    symbol: str
    opened_at: datetime
    seconds: float
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    source: Source = "last"

    def __post_init__(self) -> None:
        check_symbol("Candle.symbol", self.symbol)
        check_utc("Candle.opened_at", self.opened_at)
        check_seconds("Candle.seconds", self.seconds, zero=False)
        for name in ("open", "high", "low", "close"):
            check_money(f"Candle.{name}", getattr(self, name))
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise refuse("Candle", (self.open, self.high, self.low, self.close), "low <= open, close <= high")
        check_source("Candle.source", self.source)


class CallbackRange(msgspec.Struct, frozen=True, gc=False):
    """The distances at which a venue's own trailing orders can follow the best price.

    They are in percent of that price.

    Args:
        least, most, step: each above 0. The distances are the multiples of `step` from `least` to `most`, both
            included.

    Raises:
        UsageError: one of them is no Percent above 0.
    """

    least: Percent
    most: Percent
    step: Percent

    def __post_init__(self) -> None:
        if not all(isinstance(value, Percent) and value.value for value in (self.least, self.most, self.step)):
            raise refuse("CallbackRange", (self.least, self.most, self.step), "three Percent above 0")

    def takes(self, callback: Percent) -> bool:
        """Return whether a callback is one of these distances."""
        return self.least <= callback <= self.most and not callback.value % self.step.value

    def __str__(self) -> str:
        return f"{self.least} to {self.most} in steps of {self.step}"


class Market(msgspec.Struct, frozen=True, gc=False):
    """The rules of an exchange for one symbol.

    The defaults allow almost every order, but no amending in place and no trailing order of the exchange.

    Args:
        price_tick: prices are multiples of it.
        quantity_step: quantities are multiples of it.
        min_quantity: the smallest order, in base units, at least 0.
        min_notional: the smallest product of quantity and price, in quote units, at least 0.
        contract_size: base units in one contract.
        can_amend: whether a live stop can be changed in place.
        two_stops: whether two reduce-only stops of one position may be live at once.
        most_stops: the largest number of live stops and other conditional orders of the account, of all symbols
            together, at least 1; None: no limit is known.
        native_callbacks: the callbacks of the exchange's own trailing orders; None: it has none, or none that trailing
            could recognize as ours.
        attached_stop: how an entry carries its stop; None: it can't. `AttachedStopKind` describes the values.
    """

    symbol: str
    price_tick: Decimal = Decimal("1e-8")
    quantity_step: Decimal = Decimal("1e-8")
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    contract_size: Decimal = Decimal(1)
    can_amend: bool = False
    two_stops: bool = True
    native_callbacks: CallbackRange | None = None
    most_stops: int | None = None
    attached_stop: Literal["own", "bridge"] | None = None

    def __post_init__(self) -> None:
        check_symbol("Market.symbol", self.symbol)
        if self.most_stops is not None and (type(self.most_stops) is not int or self.most_stops < 1):
            raise refuse("Market.most_stops", self.most_stops, "a whole number of at least 1, or None")
        if self.attached_stop is not None:
            check_one_of("Market.attached_stop", self.attached_stop, ("own", "bridge"))
        for name in ("price_tick", "quantity_step", "contract_size"):
            check_money(f"Market.{name}", getattr(self, name))
        for name in ("min_quantity", "min_notional"):
            check_money(f"Market.{name}", getattr(self, name), zero=True)


class StopOrder(msgspec.Struct, frozen=True, gc=False):
    """A live stop order, as the exchange acknowledged it. The exchange itself moves a trailing one.

    Args:
        side: the position's side, not the order's.
        quantity: the unfilled quantity, in base units, above 0.
        price: the trigger price; of a trailing one, the price from which on it trails.
        client_order_id: the id that its sender chose. A position's record knows its stops by it.
        order_id: the exchange's id of it.
        source: the kind of price that triggers it.
        callback: of a trailing one, how far behind the best price since then it triggers; None: it is a plain stop.
        triggered: whether the exchange has triggered it and has not filled it completely yet.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    client_order_id: str
    order_id: str
    source: Source = "last"
    callback: Percent | None = None
    triggered: bool = False

    def __post_init__(self) -> None:
        check_symbol("StopOrder.symbol", self.symbol)
        check_side("StopOrder.side", self.side)
        check_money("StopOrder.quantity", self.quantity)
        check_money("StopOrder.price", self.price)
        check_source("StopOrder.source", self.source)


class Fill(msgspec.Struct, frozen=True, gc=False):
    """A part of a position that one of its orders has closed.

    Args:
        side: the position's side, not the order's.
        quantity: in base units, above 0.
        at: seconds on the running clock.
        trade_id: the exchange's id of the trade, unique per account and symbol; None: the exchange gives none, or the
            fill combines several trades.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    order_id: str
    client_order_id: str
    at: float
    trade_id: str | None = None

    def __post_init__(self) -> None:
        check_symbol("Fill.symbol", self.symbol)
        check_side("Fill.side", self.side)
        check_money("Fill.quantity", self.quantity)
        check_money("Fill.price", self.price)
