"""Updates of entry orders in a venue's stream, with the time of each entry's first fill."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from trailing.core.entry_orders import EntryOrder
from trailing.exchanges.ccxt.conversion import is_ours
from trailing.exchanges.ccxt.stream_protocol import Instrument, opens_position, order_side
from trailing.exchanges.port import EntryUpdate

_REMEMBERED: Final = 1_000
"""Of how many entries the first fill is remembered."""


def is_entry(client_order_id: str, order: str, leg: str, *, reduces: bool) -> bool:
    """Return whether an order of the stream is an entry: it has a client order id of ours, and opens a position.

    Args:
        client_order_id: as we write it.
        order, leg, reduces: as in `opens_position`.
    """
    return is_ours(client_order_id) and opens_position(order, leg, reduces=reduces)


class EntryUpdates:
    """Converts the frames of entry orders. It remembers when each entry was filled first."""

    def __init__(self) -> None:
        self._first_fills: OrderedDict[str, datetime] = OrderedDict()  # by order id
        self._untimed: OrderedDict[str, EntryOrder] = OrderedDict()  # filled, at an unknown time; by order id

    def update(
        self,
        instrument: Instrument,
        side: str,
        leg: str,
        ids: tuple[str, str],
        now: float,
        *,
        quantity: Any,
        filled: Any,
        average_price: Any,
        limit: Any,
        is_working: bool,
        reason: str = "",
        first_fill_ms: Any = None,
    ) -> EntryUpdate:
        """Return the update of an entry. Quantities are in contracts.

        Args:
            instrument: its market.
            side, leg: of the order, as in `opens_position`.
            ids: the client order id and the order id.
            now: when the frame arrived, in seconds on the running clock.
            quantity, filled, average_price, limit, is_working, reason: as in `EntryOrder`; a figure may be empty or 0.
            first_fill_ms: when it was filled first, in UTC milliseconds; None: this frame does not state it.

        Raises one of `UNREADABLE` if a value can be none.
        """
        if first_fill_ms:
            self._remember(self._first_fills, ids[1], _utc(first_fill_ms))
        order = EntryOrder(
            symbol=instrument.symbol,
            side=order_side(side, leg, reduces=False),
            quantity=Decimal(quantity) * instrument.contract_size,
            client_order_id=ids[0],
            order_id=ids[1],
            is_working=is_working,
            filled=Decimal(filled or 0) * instrument.contract_size,
            average_price=Decimal(average_price or 0) or None,
            first_filled_at=self._first_fills.get(ids[1]),
            limit=Decimal(limit or 0) or None,
            reason=reason,
        )
        if order.filled and order.first_filled_at is None:
            self._remember(self._untimed, order.order_id, order)
        return EntryUpdate(order, now)

    def on_first_fill(self, order_id: str, at_ms: Any, now: float) -> EntryUpdate | None:
        """Note when an entry was filled first. Return its last update once more with that time; None: none needs it."""
        self._remember(self._first_fills, order_id, _utc(at_ms))
        order = self._untimed.pop(order_id, None)
        if order is None:
            return None
        return EntryUpdate(replace(order, first_filled_at=self._first_fills[order_id]), now)

    @staticmethod
    def _remember(memory: OrderedDict[str, Any], order_id: str, value: object) -> None:
        memory[order_id] = value
        if len(memory) > _REMEMBERED:
            memory.popitem(last=False)


def _utc(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
