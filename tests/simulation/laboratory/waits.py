"""Invariant 7 in a world with a rate limit: what is repeated for one symbol does not keep the others from their turn."""

from __future__ import annotations

from typing import Final, TypeAlias

import trio

from simulation.laboratory.request_monitor import ReportViolation
from trailing.exchanges.paper.transport import LogEntry

LONGEST_WAIT: Final = 15.0
"""Seconds from sending a request to its booking. At most 6 of them are its way, the rest is the wait for its turn."""

_Request: TypeAlias = tuple[str, str | None]
"""The operation, and the symbol, which a list has none of."""


class Waits:
    """Measures how long each request that was really sent waits for its turn.

    Excuses: requests of a symbol whose cancellations fail may wait, because the process has to repeat them.
    """

    def __init__(self, report_violation: ReportViolation) -> None:
        self._report_violation = report_violation
        self._sent: dict[_Request, list[float]] = {}

    def note_sent(self, operation: str, symbol: str | None) -> None:
        """The exchange has taken a request, which now waits for its turn and is then on its way."""
        self._sent.setdefault((operation, symbol), []).append(trio.current_time())

    def note_booking(self, booking: LogEntry) -> None:
        """The exchange has booked, or refused, something."""
        request = (booking.operation, booking.symbol)
        sent = self._sent.get(request)
        if sent:
            self._check(request, sent.pop(0))
            if not sent:
                del self._sent[request]

    def check(self, sick: str | None) -> None:
        """Look at what waits. `sick`: the symbol whose cancellations fail now."""
        for request, sent in tuple(self._sent.items()):
            is_sick = sick is not None and request[1] == sick
            if is_sick or self._check(request, sent[0]):
                del self._sent[request]

    def _check(self, request: _Request, sent_at: float) -> bool:
        waited = trio.current_time() - sent_at
        if waited > LONGEST_WAIT:
            self._report_violation(
                f"7. {request[0]} waits for the requests of another symbol", f"{request} for {waited:.1f} s"
            )
        return waited > LONGEST_WAIT
