"""Harsh faults of our stops at the exchange: a person amends one, or one vanishes without an update."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

import trio
from inspection.paper import amend_by_hand

from simulation.laboratory.fault_log import FaultLog, moments
from simulation.laboratory.harsh_updates import HiddenEnds
from simulation.laboratory.scenario import TICK, Scenario
from trailing.core.model import StopOrder
from trailing.errors import StopRejected
from trailing.exchanges.paper import PaperExchange
from trailing.protection.order_ids import is_ours

SHOWN_SECONDS: Final = 70.0
"""Minimum seconds between a stop's first listing and its loss. At least one more snapshot follows in that time."""


class HarshStopChanges:
    """Amend and lose our stops at the exchange.

    Args:
        listed_at: the time of each stop's first listing, by client order id, in seconds of the world.
    """

    def __init__(
        self, scenario: Scenario, log: FaultLog, hidden_ends: HiddenEnds, listed_at: Mapping[str, float]
    ) -> None:
        self._scenario, self._log, self._hidden_ends, self._listed_at = scenario, log, hidden_ends, listed_at

    async def amend_stops(self, exchange: PaperExchange) -> None:
        """Amend a stop of ours now and then."""
        draw = self._log.draw("amended_stops")
        for at in moments(draw, self._log.rates.amended_stops, self._scenario.duration):
            await trio.sleep_until(at)
            order = self._choose(draw, exchange)
            if order is None:
                continue
            wanted = _another_price(draw, order, exchange.actual_price(order.symbol))
            if wanted == order.price or wanted <= 0:
                continue
            try:
                amend_by_hand(exchange, order, wanted)
            except StopRejected:  # the stop was triggered, or is now larger than the position
                continue
            self._log.note("amended_stops", order.symbol)

    async def lose_stops(self, exchange: PaperExchange) -> None:
        """Let a stop of ours vanish now and then. No update reports it, and later lists do not have the stop.

        A process has received the stop in lists before, because two missing stops that were never listed look the same as
        lists without any stops.
        """
        draw = self._log.draw("silent_losses")
        for at in moments(draw, self._log.rates.silent_losses, self._scenario.duration):
            await trio.sleep_until(at)
            order = self._choose(draw, exchange)
            if order is not None and self._listed_at.get(order.client_order_id, at) < at - SHOWN_SECONDS:
                self._hidden_ends.hide(order.client_order_id)
                self._log.note("silent_losses", order.symbol, explains=True)
                exchange.cancel_by_hand(order.client_order_id)

    def _choose(self, draw: random.Random, exchange: PaperExchange) -> StopOrder | None:
        orders = list(self._our_stops(exchange))
        return draw.choice(orders) if orders else None

    def _our_stops(self, exchange: PaperExchange) -> Iterator[StopOrder]:
        for market in self._scenario.markets:
            for order in exchange.actual(market.symbol)[0]:
                if is_ours(order.client_order_id) and order.callback is None:
                    yield order


def _another_price(draw: random.Random, order: StopOrder, market: Decimal) -> Decimal:
    """Return a price between stop and market, or one further from the market than the stop."""
    share = Decimal(str(round(draw.uniform(0.1, 0.9), 3)))
    distance = (market - order.price) * (share if draw.random() < 0.5 else -2 * share)
    return (order.price + distance).quantize(TICK)
