"""Manual changes in an ordinary world: positions are closed, reduced or increased, stops cancelled or placed."""

from __future__ import annotations

import random
from decimal import Decimal

import trio

from simulation.laboratory.bot import time_of_day
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.invariant_monitor import InvariantMonitor
from simulation.laboratory.scenario import TICK, Scenario
from trailing.core.model import Position
from trailing.errors import TrailingError
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.port import StopRequest


class ManualChanges:
    """A person who changes the account by hand.

    Args:
        draw: the random generator of the world.
    """

    def __init__(
        self,
        scenario: Scenario,
        fault_schedule: FaultSchedule,
        invariant_monitor: InvariantMonitor,
        draw: random.Random,
    ) -> None:
        self._scenario, self._fault_schedule, self._invariant_monitor, self._draw = (
            scenario,
            fault_schedule,
            invariant_monitor,
            draw,
        )

    async def lend(self, exchange: PaperExchange) -> None:
        """Make one change at each of the scenario's times."""
        for at in self._scenario.manual_changes:
            await trio.sleep_until(at)
            symbol = self._draw.choice(self._scenario.markets).symbol
            self._fault_schedule.disturb(symbol)
            try:
                await self._do(exchange, symbol)
            except TrailingError:
                continue  # the exchange refuses the change

    async def _do(self, exchange: PaperExchange, symbol: str) -> None:
        stops, held = exchange.actual(symbol)
        what = self._draw.choice(("close", "reduce", "increase", "cancel", "place"))
        if not held:
            return
        ((side, quantity),) = held.items()
        price = exchange.actual_price(symbol)
        if what == "close":
            exchange.reduce(symbol, side, quantity)
        elif what == "reduce" and quantity > 1:
            exchange.reduce(symbol, side, Decimal(1))
        elif what == "increase":
            await exchange.enter(Position(symbol, side, Decimal(1), price, time_of_day()))
            self._invariant_monitor.histories[symbol, side].was_added_to = True
        elif what == "cancel" and stops:
            exchange.cancel_by_hand(stops[-1].client_order_id)
        elif what == "place" and exchange.market(symbol).two_stops:  # else it would replace our stop
            is_remote = (price * Decimal("0.9" if side == "long" else "1.1")).quantize(TICK)
            exchange.place_by_hand(
                StopRequest(symbol, side, quantity, is_remote, f"by hand {trio.current_time()}", "last")
            )
