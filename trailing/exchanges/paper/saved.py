"""The state of a paper account as values, so that it can be saved and loaded in another process."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trailing.core.account import OpenOrder
from trailing.core.entry_orders import AttachedStop, EntryOrder
from trailing.core.model import Side, Source, StopOrder


class SavedHolding(msgspec.Struct, frozen=True):
    """An open position.

    Args:
        quantity: in base units.
        entry_price: the average entry price.
        liquidation_price: None: it is not liquidated.
    """

    quantity: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None


class SavedStop(msgspec.Struct, frozen=True):
    """A live stop.

    Args:
        order: with the quantity that is not filled.
        whole: the quantity with which it was placed or amended.
        triggered: it is a market order now. After it is loaded, it fills at the next price of its source.
        best: the best price that a trailing order has followed; None: it is not active yet, or is a plain stop.
        is_bridge: an entry carried it, and it is as large as the position.
    """

    order: StopOrder
    whole: Decimal
    triggered: bool = False
    best: Decimal | None = None
    is_bridge: bool = False


class SavedEntry(msgspec.Struct, frozen=True):
    """A working entry order, and the stop that it carries (None: none)."""

    order: EntryOrder
    stop: AttachedStop | None = None


class SavedMarketBook(msgspec.Struct, frozen=True):
    """The state of one symbol.

    Args:
        symbol: ccxt's unified symbol.
        prices: the last price by source.
        holdings: the open positions by side.
        stops: the live stops.
        orders: how many orders it had so far.
        first_entry_price: of the first entry; None: there was none.
        trades: how many trades it had so far.
        take_profits: the open reduce-only limit orders of a user.
        entries: the working entry orders.
    """

    symbol: str
    prices: dict[Source, Decimal]
    holdings: dict[Side, SavedHolding]
    stops: tuple[SavedStop, ...]
    orders: int
    first_entry_price: Decimal | None = None
    trades: int = 0
    take_profits: tuple[OpenOrder, ...] = ()
    entries: tuple[SavedEntry, ...] = ()
