"""Find stops whose position has ended, and that are left over behind another position in its place."""

from __future__ import annotations

from trailing.core.model import Fill, Side, StopOrder
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry


class Leftovers:
    """Track for which position each stop was placed.

    Args:
        exchange: the true state.
    """

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._number: dict[tuple[str, Side], int] = {}  # the number of ended positions of a symbol and side
        self._placed_for: dict[str, int] = {}  # that number at the placing of each stop, by client order id

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        result = booking.result
        if isinstance(result, Fill) and result.side not in self._exchange.actual(result.symbol)[1]:
            key = (result.symbol, result.side)
            self._number[key] = self._number.get(key, 0) + 1
        elif isinstance(result, StopOrder):
            number = self._number.get((result.symbol, result.side), 0)
            self._placed_for.setdefault(result.client_order_id, number)

    def is_left_over(self, order: StopOrder) -> bool:
        """Whether the position of a stop has ended, so that the checks of the present position do not use the stop."""
        number = self._number.get((order.symbol, order.side), 0)
        return self._placed_for.get(order.client_order_id, number) < number
