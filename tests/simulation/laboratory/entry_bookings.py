"""Report what entries do as bookings, because the exchange records only their requests."""

from __future__ import annotations

from collections.abc import Callable

import trio
from inspection.paper import watch_entries

from simulation.laboratory.bot import time_of_day
from simulation.laboratory.entry_monitor import EntryMonitor
from simulation.laboratory.entry_terms import ATTACHED, ENTRY_FILL
from simulation.laboratory.invariant_monitor import InvariantMonitor
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Position, StopOrder
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry


class EntryBookings:
    """Each fill of an entry becomes a booking of the position as it is filled so far, each stop that it places another one.

    Args:
        note_booking: called with each booking.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        entry_monitor: EntryMonitor,
        invariant_monitor: InvariantMonitor,
        note_booking: Callable[[LogEntry], object],
    ) -> None:
        self._entry_monitor, self._invariant_monitor = entry_monitor, invariant_monitor
        self._note_booking = note_booking
        self._attached: set[str] = set()  # the client order ids of the stops that entries have placed
        self._new: list[StopOrder] = []
        watch_entries(exchange, self._note_entry, self._note_attached)

    def _note_attached(self, order: StopOrder) -> None:
        """Take a stop that an entry has placed or resized. The change of the entry follows."""
        if order.client_order_id not in self._attached:
            self._attached.add(order.client_order_id)
            self._new.append(order)

    def _note_entry(self, order: EntryOrder) -> None:
        at, own, before = trio.current_time(), order.client_order_id, self._entry_monitor.filled(order.client_order_id)
        self._entry_monitor.note_order(order)
        self._invariant_monitor.note_attached_soon(self._new)
        if order.filled > before:
            assert order.average_price is not None
            position = Position(
                order.symbol,
                order.side,
                order.filled,
                order.average_price,
                order.first_filled_at or time_of_day(),
                self._entry_monitor.stop_price(own),
                id=self._entry_monitor.identity(own),
            )
            self._note_booking(LogEntry(at, ENTRY_FILL, order.symbol, own, position))
        attached, self._new = self._new, []
        for stop in attached:
            self._entry_monitor.note_attached(stop.client_order_id)
            self._note_booking(LogEntry(at, ATTACHED, stop.symbol, stop.client_order_id, stop))
