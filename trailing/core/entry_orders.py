"""Entry orders: the request for one, and the order as the exchange states it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

import msgspec

from trailing.core.checks import check_money, check_one_of, check_side, check_source, check_symbol, check_utc, refuse
from trailing.core.model import Side, Source

AttachedStopKind: TypeAlias = Literal["own", "bridge"]
"""How an exchange lets an entry carry its stop.

``"own"``: the stop becomes a stop order of its own, under its own client order id, when the entry has ended with a filled
quantity. It covers that quantity. While a part of the entry still works, the filled part has no stop.

``"bridge"``: from the first fill on, a stop of the whole position is live under the client order id of the entry. The
exchange keeps it as large as the position.
"""


MarginMode: TypeAlias = Literal["cross", "isolated", "portfolio"]
"""The margin mode of an entry. Which one is in use decides what a loss can cost beyond the position's own margin."""


class AttachedStop(msgspec.Struct, frozen=True, gc=False):
    """The stop that an entry carries.

    Args:
        price: the trigger price, above 0, a multiple of the market's tick.
        client_order_id: of the stop. If `Market.attached_stop` is ``"bridge"``, it is the entry's.
        source: the price source by which it triggers.
    """

    price: Decimal
    client_order_id: str
    source: Source = "last"

    def __post_init__(self) -> None:
        check_money("AttachedStop.price", self.price)
        check_source("AttachedStop.source", self.source)
        _check_id("AttachedStop.client_order_id", self.client_order_id)


class EntryRequest(msgspec.Struct, frozen=True, gc=False):
    """An order that opens a position.

    Args:
        symbol: ccxt's unified symbol.
        side: the side of the position.
        quantity: in base units, above 0, a multiple of the market's step.
        client_order_id: unique in the account.
        limit: the worst price to accept, above 0, a multiple of the market's tick; None: at market.
        stop: the stop that the entry carries, if `Market.attached_stop` allows one; None: none.

    Raises:
        UsageError: a value is invalid.
    """

    symbol: str
    side: Side
    quantity: Decimal
    client_order_id: str
    limit: Decimal | None = None
    stop: AttachedStop | None = None

    def __post_init__(self) -> None:
        check_symbol("EntryRequest.symbol", self.symbol)
        check_side("EntryRequest.side", self.side)
        check_money("EntryRequest.quantity", self.quantity)
        _check_id("EntryRequest.client_order_id", self.client_order_id)
        if self.limit is not None:
            check_money("EntryRequest.limit", self.limit)


class EntryOrder(msgspec.Struct, frozen=True, gc=False):
    """An entry order, working or ended, as the exchange states it.

    Args:
        symbol: ccxt's unified symbol.
        side: the side of the position.
        quantity: in base units, as requested.
        client_order_id, order_id: our id and the exchange's id.
        is_working: whether more of it may be filled.
        filled: the filled quantity so far, in base units.
        average_price: the average price of its fills; None: nothing is filled.
        first_filled_at: the time of the first fill by the exchange's clock, UTC; None: nothing is filled, or the exchange
            does not state it.
        limit: the worst price that it accepts; None: it is at market.
        reason: why the exchange ended it, in its own words, escaped; "": it states none.

    Raises:
        UsageError: a value is invalid, more is filled than was requested, or a filled quantity has no average price.
    """

    symbol: str
    side: Side
    quantity: Decimal
    client_order_id: str
    order_id: str
    is_working: bool
    filled: Decimal
    average_price: Decimal | None = None
    first_filled_at: datetime | None = None
    limit: Decimal | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        check_symbol("EntryOrder.symbol", self.symbol)
        check_side("EntryOrder.side", self.side)
        check_money("EntryOrder.quantity", self.quantity)
        check_money("EntryOrder.filled", self.filled, zero=True)
        if self.filled > self.quantity:
            raise refuse("EntryOrder.filled", self.filled, f"at most the quantity, {self.quantity}")
        if self.average_price is not None:
            check_money("EntryOrder.average_price", self.average_price)
        elif self.filled:
            raise refuse("EntryOrder.average_price", None, "a price, because a quantity is filled")
        if self.first_filled_at is not None:
            check_utc("EntryOrder.first_filled_at", self.first_filled_at)

    @property
    def unfilled(self) -> Decimal:
        """The quantity that is not filled, in base units."""
        return self.quantity - self.filled


class EntrySettings(msgspec.Struct, frozen=True, gc=False):
    """What an exchange has set for entries in a symbol.

    Args:
        symbol: ccxt's unified symbol.
        hedged: whether a long and a short position may be open at the same time.
        margin_mode: of an entry; None: the two sides differ.
        long_leverage, short_leverage: of an entry of each side, above 0; None: the exchange does not state it.

    Raises:
        UsageError: a value is invalid.
    """

    symbol: str
    hedged: bool
    margin_mode: MarginMode | None = None
    long_leverage: Decimal | None = None
    short_leverage: Decimal | None = None

    def __post_init__(self) -> None:
        check_symbol("EntrySettings.symbol", self.symbol)
        if type(self.hedged) is not bool:
            raise refuse("EntrySettings.hedged", self.hedged, "True or False")
        if self.margin_mode is not None:
            check_one_of("EntrySettings.margin_mode", self.margin_mode, get_args(MarginMode))
        for name, leverage in (("long_leverage", self.long_leverage), ("short_leverage", self.short_leverage)):
            if leverage is not None:
                check_money(f"EntrySettings.{name}", leverage)

    def leverage(self, side: Side) -> Decimal | None:
        """Return the leverage of an entry of a side; None: the exchange does not state it."""
        return self.long_leverage if side == "long" else self.short_leverage


def _check_id(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise refuse(name, value, "a text that is not empty")
