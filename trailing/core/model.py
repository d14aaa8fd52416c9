"""The values that everything else speaks in, validated when they are built.

Money and sizes are `decimal.Decimal`, never float; times of day are aware UTC datetimes; a field called `at` is in
seconds on the running clock, whose zero is anywhere.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trailing.core.checks import (
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
    """A time as text, once for all positions of a wave."""
    return at.isoformat()


class Percent(msgspec.Struct, frozen=True, order=True, gc=False):
    """A percentage, so that no bare number is ever taken for a fraction: ``Percent("1.5")`` is 1.5 %.

    Args:
        value: a str, int or Decimal, finite and at least 0; never a float.

    Raises:
        UsageError: for anything else.
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
        check_money("Percent", value, zero=True)

    def of(self, price: Decimal) -> Decimal:
        """This share of a price."""
        return price * self.value / 100

    def above(self, price: Decimal) -> Decimal:
        """The price raised by this percentage."""
        return price + price * self.value / 100

    def below(self, price: Decimal) -> Decimal:
        """The price lowered by this percentage."""
        return price - price * self.value / 100

    def __str__(self) -> str:
        return f"{self.value}%"


class Position(msgspec.Struct, frozen=True, gc=False):
    """An open futures position that wants a stop behind it.

    Args:
        symbol: a linear contract in ccxt's unified form, ``"BTC/USDT:USDT"``; spot and inverse are refused.
        side: ``"long"`` or ``"short"``.
        quantity: in base units, above 0.
        entry_price: what the entry was filled at, above 0. The initial stop derives from it.
        opened_at: when it was filled, an aware UTC datetime.
        stop_price: the initial stop, above 0, in place of the plan's; it is checked against the market when the
            position is protected, and not against the entry (an adopted winner's stop may be beyond it).
        id: what tells this position from an earlier or later one of the same symbol and side; without it,
            `opened_at` does.

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
        if self.id is not None and (not isinstance(self.id, str) or not self.id):
            raise refuse("Position.id", self.id, "a text that is not empty, or None")

    @property
    def identity(self) -> str:
        """What tells this position from another one of its symbol and side."""
        return self.id if self.id is not None else _written(self.opened_at)


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One price of one symbol.

    Args:
        symbol: in unified form.
        price: above 0.
        at: seconds on the running clock.
        source: which price: ``"last"``, ``"mark"`` or ``"index"``.
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
        seconds: how long it lasted, above 0.
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
    """How far behind the best price a venue's own trailing orders can follow it, in percent of that price.

    Args:
        least, most, step: above 0; from `least` to `most`, both included, in multiples of `step`.
    """

    least: Percent
    most: Percent
    step: Percent

    def __post_init__(self) -> None:
        if not all(isinstance(value, Percent) and value.value for value in (self.least, self.most, self.step)):
            raise refuse("CallbackRange", (self.least, self.most, self.step), "three Percent above 0")

    def takes(self, callback: Percent) -> bool:
        """Whether it is one of them."""
        return self.least <= callback <= self.most and not callback.value % self.step.value

    def __str__(self) -> str:
        return f"{self.least} to {self.most} in steps of {self.step}"


class Market(msgspec.Struct, frozen=True, gc=False):
    """What an exchange allows for one symbol. Every default permits all.

    Args:
        price_tick: prices are multiples of it.
        quantity_step: quantities are multiples of it.
        min_quantity: the smallest order, in base units, at least 0.
        min_notional: the smallest quantity times price, at least 0.
        contract_size: base units in one contract.
        can_amend: a live stop can be changed in place.
        two_stops: two reduce-only stops of one position may stand at once.
        most_stops: how many live stops and other conditional orders the account may have, of all symbols together, at least
            1; None: no limit is known.
        native_callbacks: what its own trailing orders take; None: it has none, or none that could be known as ours.
        attached_stop: how an entry carries its stop; None: it can't.
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
    """A live stop order, as the exchange acknowledged it; a trailing one is moved by the exchange.

    Args:
        side: the position's side, not the order's.
        quantity: what is still to be filled, in base units, above 0.
        price: the trigger price; of a trailing one, the price from which on it trails.
        client_order_id: ours; a stop belongs to a position by it.
        order_id: the exchange's.
        source: which price triggers it.
        callback: of a trailing one, how far behind the best price since then it triggers; None: it is a plain stop.
        triggered: the exchange has triggered it, and has not filled it yet, or not wholly.
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
        trade_id: the exchange's id of the trade, unique per account and symbol; None: the exchange gives none, or the fill is
            of several trades.
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
