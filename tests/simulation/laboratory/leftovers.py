"""Which stops were placed for a position that has ended, and are left over behind another one in its place."""

from __future__ import annotations

from trailing.core.model import Fill, Side, StopOrder
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry


class Leftovers:
    """Knows for which position each stop was placed.

    Args:
        exchange: what is true.
    """

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._number: dict[tuple[str, Side], int] = {}  # how many positions of a symbol and side have ended
        self._placed_for: dict[str, int] = {}  # that number, when a stop was placed, by client order id

    def note_booking(self, booking: LogEntry) -> None:
        """The exchange has booked, or refused, something."""
        result = booking.result
        if isinstance(result, Fill) and result.side not in self._exchange.actual(result.symbol)[1]:
            key = (result.symbol, result.side)
            self._number[key] = self._number.get(key, 0) + 1
        elif isinstance(result, StopOrder):
            number = self._number.get((result.symbol, result.side), 0)
            self._placed_for.setdefault(result.client_order_id, number)

    def is_left_over(self, order: StopOrder) -> bool:
        """Whether the position that a stop was placed for has ended, so that none of its checks is about this stop."""
        number = self._number.get((order.symbol, order.side), 0)
        return self._placed_for.get(order.client_order_id, number) < number
