"""What a venue knows of one symbol of an account, as a value: so that a paper account can outlive its process."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trailing.core.model import Side, Source, StopOrder


class SavedHolding(msgspec.Struct, frozen=True):
    """An open position."""

    quantity: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None


class SavedStop(msgspec.Struct, frozen=True):
    """A live stop.

    Args:
        order: with what is left of it.
        whole: the quantity that it began with.
        triggered: it is a market order by now; a restored one is filled at the next price of its source.
        best: the best price that a trailing one has followed; None: it does not trail yet, or is no trailing one.
    """

    order: StopOrder
    whole: Decimal
    triggered: bool = False
    best: Decimal | None = None


class SavedPlace(msgspec.Struct, frozen=True):
    """One symbol: its last prices, what is open, its live stops, how many orders and trades it has seen, its first entry's price."""

    symbol: str
    prices: dict[Source, Decimal]
    holdings: dict[Side, SavedHolding]
    stops: tuple[SavedStop, ...]
    orders: int
    first_entry_price: Decimal | None = None
    trades: int = 0
