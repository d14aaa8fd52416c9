"""The rate limiter of a real exchange: our own counts, corrected by what the venue's replies say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import trio

from trailing.exchanges.ccxt.limits import Limits
from trailing.exchanges.limiter import Limiter
from trailing.services import open_service_nursery


class VenueLimiter(Limiter):
    """A limiter that follows the limits of a venue. `open_limiter` creates it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            {name: window.bucket for name, window in limits.windows.items()},
            limits.cost,
            {operation: window.bucket for operation, window in limits.by_symbol.items()},
        )
        self._limits = limits

    async def acquire(self, operation: str, symbol: str | None = None) -> None:
        """Wait until an operation may be sent.

        Cancellation: it is not sent, and its tokens are returned.

        Args:
            operation: the port's method name.
            symbol: whose share of the limit it uses; None: it is about the whole account.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        granted = trio.Event()
        ticket = self.take(operation, granted.set, symbol)
        if ticket is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        try:
            await granted.wait()
        except trio.Cancelled:
            self.withdraw(ticket)
            raise

    def on_rate_limited(self, retry_after: float) -> None:
        """Stop all requests for `retry_after` seconds, and begin again with empty buckets."""
        self.pause(retry_after)

    def update_from_headers(self, operation: str, headers: Mapping[str, str]) -> None:
        """Correct the counts from the headers of a reply, because other programs may use the same address or account.

        A venue's windows begin at multiples of their length in UTC, and the reply's date tells the position in one. Where
        the reply states how much of a window is used, so many tokens stay that the limit holds together with the tokens
        that return before the window ends. Where it states only how much is left, at most that much stays.

        Args:
            operation: the operation that was requested.
            headers: with names in lower case.
        """
        at = _seconds_since_1970(headers.get("date", ""))
        for name, window in self._limits.windows.items():
            used = headers.get(window.header) if window.header else None
            if used is not None and used.isdecimal():
                remaining = window.seconds if at is None else window.seconds - at % window.seconds
                self.limit_tokens(name, window.count - int(used) - remaining * window.bucket.per_second)
            left = headers.get(window.left_header) if window.left_header else None
            if left is not None and left.isdecimal() and name in self._limits.cost(operation):
                self.limit_tokens(name, float(left))


def _seconds_since_1970(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


@asynccontextmanager
async def open_limiter(limits: Limits) -> AsyncIterator[VenueLimiter]:
    """Open a limiter that works until the block has ended, so that a shielded clean-up in the block can pass."""
    async with open_service_nursery() as services:
        opened = VenueLimiter(limits)
        services.start_soon(opened.serve)
        yield opened
