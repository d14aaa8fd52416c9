"""The closes of unknown outcome of an emergency exit, and their executions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from trailing.core.model import Fill
from trailing.core.retries import BackOff, back_off
from trailing.errors import ExchangeError, UsageError
from trailing.flatten.orders import CALL_SECONDS
from trailing.flatten.target import Target
from trailing.protection.clock import Clock
from trailing.protection.requests import RequestSender

LOOK_BACK: Final = timedelta(minutes=10)
"""How long before the start of the exit the executions of a close are searched, because clocks differ."""

MOST_SECONDS: Final = 2.0
"""The most seconds between two reads of the executions of a close."""


class UnknownCloses:
    """Reads the executions of the closes of unknown outcome. Only they tell a fill from a list that lags.

    Args:
        sender: of the account.
        tell: called with each fill that was found, in words.
    """

    def __init__(self, sender: RequestSender, clock: Clock, tell: Callable[[str], None]) -> None:
        self._sender, self._clock, self._tell = sender, clock, tell
        self._since = clock.utc() - LOOK_BACK
        self._tries: dict[str, BackOff] = {}

    def next_read(self, target: Target) -> float:
        """Return when a close of a position is to be read again, in seconds on the running clock; infinite: never."""
        return min((self._tries[own_id].until for own_id in target.unknown), default=math.inf)

    async def read(self, target: Target) -> bool:
        """Read what is due of a position, and return whether anything was."""
        has_read = False
        for own_id in tuple(target.unknown):
            before = self._tries.get(own_id)
            if before is not None and self._clock.now() < before.until:
                continue
            has_read = True
            reading = partial(self._sender.exchange.order_fills, target.symbol, own_id, self._since)
            fills: Sequence[Fill] = ()
            try:
                fills = await self._sender.read("order_fills", reading, CALL_SECONDS)
            except UsageError:  # the exchange can't state them, so the lists decide
                del target.unknown[own_id]
                continue
            except ExchangeError as error:
                self._tell(f"{target.symbol} {target.side}: the fills of a close can't be read: {error}")
            self._tries[own_id] = back_off(before, None, self._clock.now(), 1.0, most=MOST_SECONDS)
            if fills:
                asked = target.unknown.pop(own_id)
                total = sum((fill.quantity for fill in fills), Decimal(0))
                target.on_fills_read(fills, total >= asked, self._clock.now())
                self._tell(f"{target.symbol} {target.side}: closed {total}, as its executions say")
        return has_read
