"""What an emergency exit finds at first, and its result."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trailing.core.model import Side


class FoundPosition(msgspec.Struct, frozen=True):
    """An open position that would be closed.

    Args:
        quantity: in base units.
        stops: the number of live stops behind it, ours and foreign.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    stops: int


class Survey(msgspec.Struct, frozen=True):
    """What an emergency exit would close and cancel, by one snapshot of the account.

    Args:
        positions: by symbol and side.
        covering_orders: the reduce-only orders that would be cancelled first, because they cover a position, in words.
        stops_without_position: the stops of ours whose position is not listed, in words.
        problems: what could not be read, in words.
    """

    positions: tuple[FoundPosition, ...]
    covering_orders: tuple[str, ...]
    stops_without_position: tuple[str, ...]
    problems: tuple[str, ...]


class ClosedPosition(msgspec.Struct, frozen=True):
    """A position that is confirmed flat.

    Args:
        quantity: the quantity that the closes filled, in base units, as far as the exchange stated it.
        price: their average price; None: the exchange stated no fill, for example because a stop was filled meanwhile.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal | None


class OpenPosition(msgspec.Struct, frozen=True):
    """A position that is open, or is not confirmed flat.

    Args:
        quantity: as the exchange listed it last, in base units; None: it listed none that could be read.
        reason: in words.
    """

    symbol: str
    side: Side
    quantity: Decimal | None
    reason: str

    def __str__(self) -> str:
        quantity = "" if self.quantity is None else f" {self.quantity}"
        return f"{self.symbol} {self.side}{quantity}: {self.reason}"


class FlattenResult(msgspec.Struct, frozen=True):
    """The result of an emergency exit, at whatever moment it ended.

    Args:
        closed: the positions that are confirmed flat.
        still_open: every other position that it found.
        cancelled: the orders that it cancelled, in words.
        not_cancelled: reduce-only orders of flat positions that could not be cancelled, in words.
        left: open orders of the symbols that may open a position, and were left alone, in words.
        is_flat: whether two snapshots at the end listed no position that was to be closed.
        reason: why that is not proved; "": it is.
        elapsed: seconds.
    """

    exchange: str
    account: str
    closed: tuple[ClosedPosition, ...]
    still_open: tuple[OpenPosition, ...]
    cancelled: tuple[str, ...]
    not_cancelled: tuple[str, ...]
    left: tuple[str, ...]
    is_flat: bool
    reason: str
    elapsed: float

    @property
    def is_done(self) -> bool:
        """Whether everything is closed and cancelled, and that is proved."""
        return self.is_flat and not self.still_open and not self.not_cancelled
