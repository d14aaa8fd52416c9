"""Check that a closed position reports no more fills than its own orders had (failure mode 45)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from simulation.laboratory.position_history import Key
from trailing.core.model import Fill
from trailing.core.record import StopRecord
from trailing.events import PositionClosed
from trailing.stores.port import Intent


class CountedFills:
    """The fills of each order, and the position that each order was placed for.

    Args:
        report_violation: called with the class of a violation and its details.
    """

    def __init__(self, report_violation: Callable[[str, str], object]) -> None:
        self._report_violation = report_violation
        self._entry_prices: dict[tuple[Key, str], Decimal] = {}  # on record, by key and identity of the position
        self._intended_for: dict[str, tuple[Key, str]] = {}  # the same, by client order id
        self._fills: dict[str, Decimal] = {}  # the filled quantity of each order, by client order id

    def note_intent(self, intent: Intent) -> None:
        """Take the intent of an order."""
        self._intended_for[intent.client_order_id] = ((intent.symbol, intent.side), intent.identity)

    def note_record(self, record: StopRecord) -> None:
        """Take a record, open or closed. Its entry may carry a stop."""
        owner = ((record.position.symbol, record.position.side), record.position.identity)
        self._entry_prices[owner] = record.position.entry_price
        if record.entry is not None and record.entry.stop_id is not None:
            self._intended_for[record.entry.stop_id] = owner

    def note_fill(self, fill: Fill) -> None:
        """Take a fill of the exchange."""
        self._fills[fill.client_order_id] = self._fills.get(fill.client_order_id, Decimal(0)) + fill.quantity

    def check(self, key: Key, event: PositionClosed) -> None:
        """Check the quantity that a closed position reports."""
        filled = Decimal(0)
        for own, quantity in self._fills.items():
            owner = self._intended_for.get(own)
            if owner is not None and owner[0] == key and self._entry_prices.get(owner) == event.entry_price:
                filled += quantity
        if event.quantity > filled:
            self._report_violation(
                "FM 45. a fill was counted twice", f"{key[1]} {key[0]}: {event.quantity} of {filled}"
            )
