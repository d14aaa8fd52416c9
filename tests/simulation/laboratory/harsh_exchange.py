"""The paper exchange with the faults of a harsh world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final

import trio
from inspection.paper import cancel_in_vain
from msgspec.structs import replace

from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.harsh_lists import EmptyLists, WrongLiquidations, WrongLists
from simulation.laboratory.harsh_orders import (
    CoarseMarkets,
    EarlyFills,
    SickSymbols,
    ThrottledOperations,
    WrongAcknowledgements,
)
from simulation.laboratory.harsh_updates import HarshUpdates, HiddenEnds, LateUpdates, WrongTicks
from simulation.laboratory.scenario import Scenario
from trailing.core.account import PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest
from trailing.core.model import StopOrder, Tick
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.limits import RateLimit
from trailing.exchanges.port import StopRequest, Update
from trailing.testing.faults import Fault, FaultyExchange, Operation

RATE_LIMIT: Final = RateLimit(capacity=15, per_second=5)
"""The rate limit of an exchange with sick symbols. Only repeated requests exhaust it in a world of five symbols."""


class HarshExchange(FaultyExchange):
    """The port with every kind of harsh fault. A kind whose rate is 0 never strikes.

    Args:
        inner: the true state of the exchange.
        feed: moves the market to a price, for one tick.

    Attributes:
        sick: the symbols whose cancellations fail, and when.
        throttled: the operations that are throttled.
        hidden_ends: the stops whose end no update reports.
    """

    def __init__(self, inner: PaperExchange, scenario: Scenario, log: FaultLog, feed: Callable[[Tick], object]) -> None:
        super().__init__(inner, self._strike)
        self._paper = inner
        symbols = [market.symbol for market in scenario.markets]
        self._empty, self._wrong_lists = EmptyLists(log), WrongLists(log)
        self._liquidations = WrongLiquidations(log, symbols, inner.actual_price)
        self.sick: SickSymbols = SickSymbols(log, symbols, scenario.duration)
        self._markets, self._early = CoarseMarkets(log, symbols), EarlyFills(log, feed)
        self._acknowledgements = WrongAcknowledgements(log)
        self._late, self._wrong_ticks = LateUpdates(log), WrongTicks(log)
        self.throttled: ThrottledOperations = ThrottledOperations(log)
        self.hidden_ends: HiddenEnds = HiddenEnds()

    def _strike(self, operation: Operation, symbol: str | None, _: int) -> Fault | None:
        return self.throttled.strike(operation)

    async def place_stop(self, request: StopRequest) -> StopOrder:
        if request.callback is None:
            request = replace(request, price=self._markets.booked(request.symbol, request.price))
        order = await super().place_stop(request)
        await self._early.hold_back(order)
        return self._acknowledgements.shown(order)

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        if request.stop is not None:
            price = self._markets.booked(request.symbol, request.stop.price)
            request = replace(request, stop=replace(request.stop, price=price))
        return await super().place_entry(request)

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        price = self._markets.booked(order.symbol, price)
        return self._acknowledgements.shown(await super().amend_stop(order, price=price, quantity=quantity))

    async def cancel_stop(self, order: StopOrder) -> None:
        error = self.sick.strike(order.symbol)
        if error is None:
            await super().cancel_stop(order)
        else:
            await cancel_in_vain(self._paper, order, error)

    async def open_stops(self) -> Sequence[StopOrder]:
        orders = await super().open_stops()
        return self._wrong_lists.show("open_stops", self._empty.show("open_stops", orders))

    async def positions(self) -> Sequence[PositionReport]:
        reports = self._liquidations.show(await super().positions())
        return self._wrong_lists.show("positions", self._empty.show("positions", reports))

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            yield HarshUpdates(updates, self._late, self._wrong_ticks, self.hidden_ends)
