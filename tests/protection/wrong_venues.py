"""An exchange whose answers a test changes: what it lists, books, acknowledges and pushes, and how it cancels."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import trio
from worlds import START, World, open_listened, open_world

from trailing.core.account import PositionReport
from trailing.core.model import Side, StopOrder
from trailing.events import Alarm
from trailing.exchanges.port import Exchange, StopRequest, Update
from trailing.exchanges.updates import waiting
from trailing.testing import FaultyExchange
from trailing.testing.faults import Faults


async def _cancel_as_asked(_: StopOrder) -> None:
    pass


class WrongVenue(FaultyExchange):
    """The paper exchange with some of its answers changed. Each attribute is a function that a test replaces.

    Attributes:
        list_positions, list_stops: from the true list to the one that is returned.
        book_price: from the trigger price that was asked for to the one that is booked.
        acknowledge: from the true acknowledgement of a placed or amended stop to the one that is returned.
        push: from an update to the updates that come instead of it.
        cancel: awaited before a cancellation is sent. What it raises is the answer, and nothing is sent.
    """

    def __init__(self, inner: Exchange, faults: Faults) -> None:
        super().__init__(inner, faults)
        self.list_positions: Callable[[Sequence[PositionReport]], Sequence[PositionReport]] = lambda true: true
        self.list_stops: Callable[[Sequence[StopOrder]], Sequence[StopOrder]] = lambda true: true
        self.book_price: Callable[[Decimal], Decimal] = lambda asked: asked
        self.acknowledge: Callable[[StopOrder], StopOrder] = lambda true: true
        self.push: Callable[[Update], Iterable[Update]] = lambda true: (true,)
        self.cancel: Callable[[StopOrder], Awaitable[None]] = _cancel_as_asked

    async def place_stop(self, request: StopRequest) -> StopOrder:
        request = msgspec.structs.replace(request, price=self.book_price(request.price))
        return self.acknowledge(await super().place_stop(request))

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        amended = await super().amend_stop(order, price=self.book_price(price), quantity=quantity)
        return self.acknowledge(amended)

    async def cancel_stop(self, order: StopOrder) -> None:
        await self.cancel(order)
        await super().cancel_stop(order)

    async def positions(self) -> Sequence[PositionReport]:
        return self.list_positions(await super().positions())

    async def open_stops(self) -> Sequence[StopOrder]:
        return self.list_stops(await super().open_stops())

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            yield _ChangedUpdates(updates, self._pushed)

    def _pushed(self, update: Update) -> Iterable[Update]:
        return self.push(update)  # looked up for each update, because a test may replace it at any time


class _ChangedUpdates(trio.abc.ReceiveChannel[Update]):
    def __init__(self, updates: trio.abc.ReceiveChannel[Update], change: Callable[[Update], Iterable[Update]]) -> None:
        self._updates, self._change = updates, change
        self._ready: deque[Update] = deque()

    async def receive(self) -> Update:
        while not self._ready:
            self._ready.extend(self._change(await self._updates.receive()))
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._ready.popleft()

    def receive_waiting(self, most: int) -> Sequence[Update]:
        for update in waiting(self._updates, most):
            self._ready.extend(self._change(update))
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    async def aclose(self) -> None:
        await self._updates.aclose()


@asynccontextmanager
async def open_wrong_world(faults: Faults | None = None, **settings: Any) -> AsyncIterator[tuple[World, WrongVenue]]:
    """A world with a `WrongVenue`, which answers truly at first, and a manager on it.

    Args:
        faults: of the venue; the manager's opening is counted.
        settings: of `open_world`.
    """
    async with open_world(with_manager=False, **settings) as world:
        world.exchange = venue = WrongVenue(world.paper, faults or {})
        async with open_listened(world):
            yield world, venue


def requests(world: World, *operations: str, symbol: str | None = None, since: float = -1.0) -> int:
    """How many requests the manager has made from a time on.

    Args:
        operations: those that count; by default all.
        symbol: of the requests that count; by default any, and lists.
    """
    return sum(
        call.at >= since and (not operations or call.operation in operations) and symbol in (None, call.symbol)
        for call in world.exchange.calls
    )


def alarmed_at(world: World, symbol: str) -> list[float]:
    """When each alarm of a symbol's positions was raised, on the running clock."""
    return [
        world.started + (event.at - START).total_seconds()
        for event in world.events
        if isinstance(event, Alarm) and event.symbol == symbol
    ]


def booked_prices(world: World) -> list[Decimal]:
    """The trigger prices that the exchange booked for placed and amended stops, in order; wants ``record=True``."""
    return [
        booking.result.price
        for booking in world.paper.log
        if booking.operation in ("place_stop", "amend_stop") and isinstance(booking.result, StopOrder)
    ]


def without(symbol: str, side: Side = "long") -> Callable[[Sequence[PositionReport]], Sequence[PositionReport]]:
    """A list of positions in which one is missing."""
    return lambda true: tuple(report for report in true if (report.symbol, report.side) != (symbol, side))


def during(
    seconds: float, change: Callable[[Sequence[Any]], Sequence[Any]]
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A changed list for so many seconds from now on, the true one afterwards."""
    until = trio.current_time() + seconds
    return lambda true: change(true) if trio.current_time() < until else true


def empty(_: Sequence[Any]) -> Sequence[Any]:
    """An empty list."""
    return ()
