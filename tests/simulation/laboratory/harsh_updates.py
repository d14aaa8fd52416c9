"""Harsh faults of the stream: late and repeated updates, wrong ticks, ends of stops without an update."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import trio
from msgspec.structs import replace

from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.harsh_rates import LATE_SECONDS
from trailing.core.model import Tick
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, Update
from trailing.exchanges.updates import waiting

_OFF: Final = (Decimal(10), Decimal("0.1"))


class LateUpdates:
    """Updates of orders and positions come late, a second time, or both, and so out of order.

    Ticks are never late, because no invariant can distinguish a late tick from a fast market.
    """

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("late_updates")

    def delays(self, update: OrderUpdate | EntryUpdate | PositionUpdate) -> tuple[float, ...]:
        """Return the delays of an update in seconds, one for each time it comes. Most updates come once, at once."""
        if self._log.is_over or not self._log.rates.late_updates:
            return (0.0,)
        is_late, is_repeated = (self._draw.random() < self._log.rates.late_updates for _ in range(2))
        if not is_late and not is_repeated:
            return (0.0,)
        delays = [self._draw.uniform(*LATE_SECONDS) if is_late else 0.0]
        if is_repeated:
            delays.append(delays[0] + self._draw.uniform(*LATE_SECONDS))
        self._log.note("late_updates", _symbol_of(update), until=trio.current_time() + delays[-1])
        return tuple(delays)


class WrongTicks:
    """Ticks of 10 times or a tenth of the price come before some ticks. The market's own price stays right."""

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("wrong_ticks")

    def before(self, tick: Tick) -> Iterator[Tick]:
        """Yield the one to three wrong ticks that come before a right one. They have the same price."""
        if self._log.is_over or self._draw.random() >= self._log.rates.wrong_ticks:
            return
        factor = self._draw.choice(_OFF)
        for _ in range(self._draw.randint(1, 3)):
            self._log.strikes["wrong_ticks"] += (
                1  # not `note`: a wrong tick must not change any action, so that it excuses nothing
            )
            yield replace(tick, price=tick.price * factor)


class HiddenEnds:
    """The stops whose end no update reports."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    def hide(self, client_order_id: str) -> None:
        """Push no update of the end of this stop."""
        self._hidden.add(client_order_id)

    def hides(self, update: Update) -> bool:
        """Whether the update is not pushed."""
        return (
            isinstance(update, OrderUpdate) and update.status == "cancelled" and update.client_order_id in self._hidden
        )


class HarshUpdates(trio.abc.ReceiveChannel[Update]):
    """The exchange's updates, as the connection delivers them.

    Cancellation: no update is lost.
    """

    def __init__(
        self, updates: trio.abc.ReceiveChannel[Update], late: LateUpdates, wrong: WrongTicks, hidden_ends: HiddenEnds
    ) -> None:
        self._updates, self._late, self._wrong, self._hidden_ends = updates, late, wrong, hidden_ends
        self._coming: list[tuple[float, int, Update]] = []
        self._number = 0
        self._there: deque[Update] = deque()

    async def receive(self) -> Update:
        await trio.lowlevel.checkpoint()
        while True:
            self._let_come()
            if self._there:
                return self._there.popleft()
            with trio.move_on_at(self._coming[0][0] if self._coming else math.inf) as scope:
                self._take(await self._updates.receive())
            if scope.cancelled_caught:
                continue  # a late update is due

    def receive_waiting(self, most: int) -> list[Update]:
        """Return up to `most` updates that have arrived."""
        for update in waiting(self._updates, most):
            self._take(update)
        self._let_come()
        return [self._there.popleft() for _ in range(min(most, len(self._there)))]

    def _take(self, update: Update) -> None:
        if self._hidden_ends.hides(update):
            return
        if isinstance(update, Tick):
            self._there += (*self._wrong.before(update), update)
        elif isinstance(update, (OrderUpdate, EntryUpdate, PositionUpdate)):
            for delay in self._late.delays(update):
                self._number += 1
                heapq.heappush(self._coming, (trio.current_time() + delay, self._number, update))
            self._let_come()
        else:
            self._there.append(update)

    def _let_come(self) -> None:
        while self._coming and self._coming[0][0] <= trio.current_time():
            self._there.append(heapq.heappop(self._coming)[2])

    async def aclose(self) -> None:
        await self._updates.aclose()


def _symbol_of(update: OrderUpdate | EntryUpdate | PositionUpdate) -> str:
    return update.order.symbol if isinstance(update, EntryUpdate) else update.symbol
