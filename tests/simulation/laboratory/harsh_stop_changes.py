"""Harsh faults that touch our stops at the exchange itself: a person amends one, or one vanishes without a word."""

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
"""How long ago a list first showed a stop that vanishes: at least one more reading of the account has come since."""


class HarshStopChanges:
    """Amends and loses our stops at the exchange.

    Args:
        listed_at: when a list first showed a process each stop, by client order id, in seconds of the world.
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
            except StopRejected:  # the stop was triggered, or is larger than the position by now
                continue
            self._log.note("amended_stops", order.symbol)

    async def lose_stops(self, exchange: PaperExchange) -> None:
        """Let a stop of ours vanish now and then. No update says so, and from then on the stop is in no list.

        A process was shown it in lists before: two stops in a row that no list ever showed can't be told from lists that
        show no stops at all.
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
    """A price between the stop and the market, or one that is further from the market than the stop."""
    share = Decimal(str(round(draw.uniform(0.1, 0.9), 3)))
    distance = (market - order.price) * (share if draw.random() < 0.5 else -2 * share)
    return (order.price + distance).quantize(TICK)
