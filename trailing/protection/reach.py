"""Whether the exchange answers: after a run of calls that reached nothing, what was missed has to be read."""

from __future__ import annotations

from collections.abc import Callable

from trailing.errors import ExchangeUnreachable, OutcomeUnknown, RateLimited, TrailingError

OUTAGE = 3
"""So many calls in a row that reached nothing, whosever, are an outage: one or two get lost every day."""


class Reach:
    """Counts calls that reached nothing, and notices the first one that gets through again.

    Attributes:
        on_return: called then.
    """

    def __init__(self) -> None:
        self.on_return: Callable[[], None] | None = None
        self._lost = 0

    def failed(self, error: TrailingError) -> None:
        """A call failed; one that was refused was answered."""
        if isinstance(error, (ExchangeUnreachable, OutcomeUnknown)) and not isinstance(error, RateLimited):
            self._lost += 1
        else:
            self.answered()

    def answered(self) -> None:
        """The exchange answered, whatever it said."""
        lost, self._lost = self._lost, 0
        if lost >= OUTAGE and self.on_return is not None:
            self.on_return()
