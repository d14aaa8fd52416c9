"""The exchange with a monitor of a process's requests and of the data it receives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TypeVar

import trio

from simulation.laboratory.cancellations import Cancellations
from simulation.laboratory.process import KillableExchange, Process
from simulation.laboratory.process_view import ProcessView
from simulation.laboratory.request_monitor import RequestMonitor
from trailing.core.account import PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest
from trailing.core.model import Fill, Side, Source, StopOrder, Tick
from trailing.errors import OutcomeUnknown, StopRejected, TrailingError
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StopRequest, Update
from trailing.exchanges.updates import waiting
from trailing.testing.faults import FaultyExchange, Operation, Script

T = TypeVar("T")


class _MonitoredScript(Script):
    """Pass every call on, and note whether it failed."""

    def __init__(self, process: Process, requests: RequestMonitor) -> None:
        super().__init__({})
        self._process, self._requests = process, requests

    async def play(self, operation: Operation, symbol: str | None, carry_out: Callable[[], Awaitable[T]]) -> T:
        if self._process.alive and operation in {"positions", "open_stops"}:
            self._requests.note_request(operation, None)
        try:
            answer = await carry_out()
        except TrailingError as error:
            self._requests.note_failure(operation, symbol, error)
            raise
        except trio.Cancelled:
            if self._process.alive:  # no reply came in time
                self._requests.note_failure(operation, symbol, OutcomeUnknown("no answer"))
            raise
        self._requests.note_answer(operation, symbol)
        return answer


class MonitoredExchange(FaultyExchange):
    """The exchange of one process, which notes requests and replies. A dead process makes no requests.

    Args:
        state_of: returns the state of a position in the process, or None: it has no such position.
    """

    def __init__(
        self,
        inner: KillableExchange,
        process: Process,
        requests: RequestMonitor,
        process_view: ProcessView,
        cancellations: Cancellations,
        state_of: Callable[[str, Side], str | None],
    ) -> None:
        super().__init__(inner, {})
        self._script = _MonitoredScript(process, requests)
        self._process, self._requests, self._process_view = process, requests, process_view
        self._cancellations, self._state_of = cancellations, state_of

    async def place_stop(self, request: StopRequest) -> StopOrder:
        if self._process.alive:
            self._requests.note_request("place_stop", request.symbol, request.side, request.price, request.quantity)
            if request.callback is None:
                self._requests.check_not_looser(request.symbol, request.side, request.price)
                if self._state_of(request.symbol, request.side) == "unprotected":
                    self._requests.check_missing(request.symbol, request.side)
        order = await super().place_stop(request)
        self._process_view.note_shown((order,))
        return order

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        if self._process.alive:
            self._requests.note_request("amend_stop", order.symbol, order.client_order_id, price, quantity)
            self._requests.check_not_looser(order.symbol, order.side, price)
        try:
            amended = await super().amend_stop(order, price=price, quantity=quantity)
        except StopRejected:
            self._requests.note_refused_as_gone(order)
            raise
        self._process_view.note_shown((amended,))
        return amended

    async def cancel_stop(self, order: StopOrder) -> None:
        if self._process.alive:
            self._requests.note_request("cancel_stop", order.symbol, order.client_order_id)
            self._process_view.note_cancelled(order)
            self._cancellations.note_asked(order)
        await super().cancel_stop(order)
        self._cancellations.note_answered(order)

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        if self._process.alive:
            self._requests.note_request("find_stop", symbol, client_order_id)
        order = await super().find_stop(symbol, client_order_id)
        if order is not None:
            self._process_view.note_shown((order,))
        return order

    async def open_stops(self) -> Sequence[StopOrder]:
        orders = await super().open_stops()
        self._process_view.note_listed(orders)
        return orders

    async def positions(self) -> Sequence[PositionReport]:
        reports = await super().positions()
        self._requests.note_positions(reports)
        return reports

    async def price(self, symbol: str, source: Source) -> Tick:
        if self._process.alive:
            self._requests.note_request("price", symbol)
        return await super().price(symbol, source)

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        if self._process.alive:
            self._requests.note_request("close_position", symbol, side, quantity)
            self._process_view.note_closing(symbol, side)
        return await super().close_position(symbol, side, quantity, client_order_id)

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        if self._process.alive:
            self._requests.note_request("place_entry", request.symbol, request.side, request.quantity)
        order = await super().place_entry(request)
        self._process_view.note_entry(order)
        return order

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        if self._process.alive:
            self._requests.note_request("cancel_entry", symbol, client_order_id)
        await super().cancel_entry(symbol, client_order_id)

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        if self._process.alive:
            self._requests.note_request("find_entry", symbol, client_order_id)
        order = await super().find_entry(symbol, client_order_id)
        if order is not None:
            self._process_view.note_entry(order)
        return order

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            yield _MonitoredUpdates(updates, self._process_view)


class _MonitoredUpdates(trio.abc.ReceiveChannel[Update]):
    def __init__(self, updates: trio.abc.ReceiveChannel[Update], process_view: ProcessView) -> None:
        self._updates, self._process_view = updates, process_view

    async def receive(self) -> Update:
        return self._noted(await self._updates.receive())

    def receive_waiting(self, most: int) -> list[Update]:
        return [self._noted(update) for update in waiting(self._updates, most)]

    def _noted(self, update: Update) -> Update:
        if isinstance(update, (OrderUpdate, PositionUpdate)):
            self._process_view.note_update(update)
        elif isinstance(update, EntryUpdate):
            self._process_view.note_entry(update.order)
        return update

    async def aclose(self) -> None:
        await self._updates.aclose()
