"""Entries: what a caller hands in to open a position, and the facts of the entry order that are stored."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from trailing.core.checks import check_id, check_money, check_side, check_symbol, check_utc
from trailing.core.entry_checks import coverable
from trailing.core.model import Market, Percent, Position, Side
from trailing.core.prices import floor_quantity, is_crossed, remainder
from trailing.errors import UsageError

_FOUR_PLACES: Final = Decimal("0.0001")

NOTHING_ENTERED: Final = "nothing of its entry was filled"
"""Why a position has ended that never was one."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A position to open, whose stop is placed from its first fill on.

    Args:
        symbol: a linear contract in ccxt's unified form, ``"BTC/USDT:USDT"``.
        side: ``"long"`` or ``"short"``.
        quantity: in base units, above 0. It is rounded down to the market's step.
        limit: the worst price to accept, above 0, a multiple of the market's tick. The order rests until it is filled or
            the deadline strikes. None: at market.
        stop_price: the initial stop, above 0, in place of the plan's.
        id: distinguishes the position from an earlier or later one of the same symbol and side; None: a new text does.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    symbol: str
    side: Side
    quantity: Decimal
    limit: Decimal | None = None
    stop_price: Decimal | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        check_symbol("Entry.symbol", self.symbol)
        check_side("Entry.side", self.side)
        check_money("Entry.quantity", self.quantity)
        if self.limit is not None:
            check_money("Entry.limit", self.limit)
        if self.stop_price is not None:
            check_money("Entry.stop_price", self.stop_price)
        check_id("Entry.id", self.id)


class EntryFacts(msgspec.Struct, frozen=True, gc=False):
    """The entry order of a position: what was requested, and what the exchange has reported of it.

    Args:
        id: our client order id of it.
        quantity: in base units, a multiple of the market's step.
        reference: the limit, or the market price before it was sent, by which slippage is measured.
        handed_in: when it was handed in, aware UTC. `PositionState.claimed_at` is the same moment on the running clock.
        limit: the worst price to accept; None: at market.
        rests: whether what is not filled at once waits for its price. Otherwise it is cancelled.
        stop_id: the client order id of the stop that the order carries; None: it carries none. It is the entry's own id
            if `Market.attached_stop` is ``"bridge"``.
        stop_price: the trigger price of the stop that it carries.
        was_sent: whether it may have been executed. It is never sent again then.
        is_over: whether nothing more of it is to be filled.
        filled: its filled quantity by its own reports, in base units.
        entered: the quantity that counts as entered: what is filled, or what a list of positions showed more while the
            order could not be looked up.
        added: the quantity that a person has added while it was working. It is no part of `entered`.
        average_price: the average price of its fills; None: nothing is filled.
        first_filled_at: the time of the first fill by the exchange's clock, aware UTC; None: unknown.
        reason: why the exchange ended it, in its own words; "": unknown.
    """

    id: str
    quantity: Decimal
    reference: Decimal
    handed_in: datetime
    limit: Decimal | None = None
    rests: bool = True
    stop_id: str | None = None
    stop_price: Decimal | None = None
    was_sent: bool = False
    is_over: bool = False
    filled: Decimal = Decimal(0)
    entered: Decimal = Decimal(0)
    added: Decimal = Decimal(0)
    average_price: Decimal | None = None
    first_filled_at: datetime | None = None
    reason: str = ""

    def check(self) -> None:
        """Refuse figures that a stored entry can't have. Raises UsageError."""
        check_money("EntryFacts.quantity", self.quantity)
        check_money("EntryFacts.filled", self.filled, zero=True)
        check_money("EntryFacts.entered", self.entered, zero=True)
        check_utc("EntryFacts.handed_in", self.handed_in)

    @property
    def is_wanted(self) -> bool:
        """Return whether it is still to be sent."""
        return not (self.was_sent or self.is_over)

    @property
    def unfilled(self) -> Decimal:
        """Return the quantity that did not become a position, in base units."""
        return max(Decimal(0), self.quantity - self.entered)

    def slippage(self, side: Side) -> Decimal | None:
        """Return the slippage of its average price; None: nothing is filled."""
        return None if self.average_price is None else slippage(side, self.reference, self.average_price)

    @property
    def has_own_stop(self) -> bool:
        """Return whether the stop that it carries is an order of its own."""
        return self.stop_id is not None and self.stop_id != self.id

    @property
    def has_bridge(self) -> bool:
        """Return whether it carries a stop of the whole position, under its own id."""
        return self.stop_id == self.id


def slippage(side: Side, reference: Decimal, average_price: Decimal) -> Decimal:
    """Return how much worse than the reference an average price is, in percent of the reference; below 0 if it is better.

    It is rounded to 4 decimal places.
    """
    worse = average_price - reference if side == "long" else reference - average_price
    return (worse * 100 / reference).quantize(_FOUR_PLACES)


def position_of(entry: Entry, market: Market, reference: Decimal, at: datetime, identity: str) -> Position:
    """Return the position that an entry would open as a whole at a reference price.

    Args:
        reference: the limit, or the market price now.
        at: the time of day, aware UTC.
        identity: the id of the position, if the entry has none.

    Raises:
        UsageError: the quantity is too small for the market, or a price lies between two ticks.
    """
    quantity = floor_quantity(entry.quantity, market.quantity_step)
    if not coverable(market, quantity):
        least = max(market.min_quantity, market.quantity_step)
        raise UsageError(f"Entry.quantity of {entry.symbol} got {entry.quantity}, wants at least {least}")
    if quantity * reference < market.min_notional:
        raise UsageError(
            f"Entry.quantity of {entry.symbol} got {entry.quantity}, worth {quantity * reference}, wants a value of at "
            f"least {market.min_notional}"
        )
    if entry.limit is not None and remainder(entry.limit, market.price_tick):
        raise UsageError(f"Entry.limit of {entry.symbol} got {entry.limit}, wants a multiple of {market.price_tick}")
    identity = entry.id if entry.id is not None else identity
    return Position(entry.symbol, entry.side, quantity, reference, at, entry.stop_price, identity)


def check_prices(entry: Entry, price: Decimal | None, most: Percent) -> None:
    """Refuse a limit or a stop on the wrong side.

    Args:
        price: the last known one; None: none is known, and the limit is not checked.
        most: how far a limit may be beyond the price, because it would be filled at once then. A limit that waits for a
            better price may be at any distance.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    side, limit, stop = entry.side, entry.limit, entry.stop_price
    below = "below" if side == "long" else "above"
    if limit is not None and price is not None:
        worst = price + most.of(price) if side == "long" else price - most.of(price)
        if limit > worst if side == "long" else limit < worst:
            wants = "at most" if side == "long" else "at least"
            raise UsageError(
                f"Entry.limit of {entry.symbol} got {limit}, which is on the wrong side of the price {price}; wants "
                f"{wants} {worst.normalize():f}"
            )
    reference = limit if limit is not None else price
    if stop is not None and reference is not None and is_crossed(side, reference, stop):
        what = "the limit" if limit is not None else "the price"
        raise UsageError(f"Entry.stop_price of {entry.symbol} got {stop}, wants it {below} {what}, {reference}")
