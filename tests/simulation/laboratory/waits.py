"""Invariant 7 in a world with a rate limit: repeated requests of one symbol do not delay the other symbols."""

from __future__ import annotations

from typing import Final, TypeAlias

import trio

from simulation.laboratory.request_monitor import ReportViolation
from trailing.exchanges.paper.transport import LogEntry

LONGEST_WAIT: Final = 15.0
"""Seconds from sending a request to its booking: at most 6 s latency, the rest is the wait for the rate limit."""

_Request: TypeAlias = tuple[str, str | None]
"""The operation and the symbol; None: the request is for a list."""


class Waits:
    """Measure how long each sent request waits for the rate limit.

    Excuse: requests of a symbol whose cancellations fail may wait, because the process has to repeat them.
    """

    def __init__(self, report_violation: ReportViolation) -> None:
        self._report_violation = report_violation
        self._sent: dict[_Request, list[float]] = {}

    def note_sent(self, operation: str, symbol: str | None) -> None:
        """Take a request that the exchange has received, and that waits for the rate limit."""
        self._sent.setdefault((operation, symbol), []).append(trio.current_time())

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        request = (booking.operation, booking.symbol)
        sent = self._sent.get(request)
        if sent:
            self._check(request, sent.pop(0))
            if not sent:
                del self._sent[request]

    def check(self, sick: str | None) -> None:
        """Check the waiting requests. `sick`: the symbol whose cancellations fail now."""
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
