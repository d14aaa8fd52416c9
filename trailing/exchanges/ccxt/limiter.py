"""The rate limit of a real exchange: our count of what was sent, and the venue's own word wherever it gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import trio

from trailing.exchanges import limiter
from trailing.exchanges.ccxt.limits import Limits
from trailing.services import open_service_nursery


class Limiter(limiter.Limiter):
    """Lets requests pass in their turns: clean-up, then protection, then moves, then reads. `open_limiter` makes it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__({name: window.bucket for name, window in limits.windows.items()}, limits.cost)
        self._limits = limits

    async def turn(self, operation: str, symbol: str | None = None) -> None:
        """Wait until an operation (the port's method name) may be sent for a symbol; None: for the whole account.

        Cancellation: it doesn't pass; what it had taken is given back to those who wait.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        passed = trio.Event()
        ticket = self.take(operation, passed.set, symbol)
        if ticket is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        try:
            await passed.wait()
        except trio.Cancelled:
            self.leave(ticket)
            raise

    def refused(self, retry_after: float) -> None:
        """The venue refused a request for its limit: nobody passes for so many seconds, and then as from empty."""
        self.close(retry_after)

    def learned(self, operation: str, headers: Mapping[str, str]) -> None:
        """Believe what a reply tells of the venue's own count: others may send from the same address, or account.

        So much is left that, with what comes back until the venue's window ends, the limit is kept. Its windows begin
        at multiples of their length, in UTC, and the reply's own date says where in one it stands. A venue that tells
        what is left of a window, and not where in it we stand, is believed that no more is left now.

        Args:
            operation: what was asked for.
            headers: names in lower case.
        """
        at = _seconds_since_1970(headers.get("date", ""))
        for name, window in self._limits.windows.items():
            used = headers.get(window.header) if window.header else None
            if used is not None and used.isdecimal():
                lasts = window.seconds if at is None else window.seconds - at % window.seconds
                self.correct(name, window.count - int(used) - lasts * window.bucket.per_second)
            left = headers.get(window.left_header) if window.left_header else None
            if left is not None and left.isdecimal() and name in self._limits.cost(operation):
                self.correct(name, float(left))


def _seconds_since_1970(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


@asynccontextmanager
async def open_limiter(limits: Limits) -> AsyncIterator[Limiter]:
    """A limiter whose turns come until the block has ended: a shielded clean-up inside still gets its own."""
    async with open_service_nursery() as services:
        opened = Limiter(limits)
        services.start_soon(opened.serve)
        yield opened
