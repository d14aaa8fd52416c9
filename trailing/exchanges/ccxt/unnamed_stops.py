"""Stops of ours on a venue that may list them without their client order ids.

Without its id, a stop of ours would look foreign, and the manager would place it again. So a stop of ours is recognised by the
order id that the venue acknowledged. A stop with the figures of a request of unknown outcome makes the list partial, so that
it proves no absence. Once one of our stops was listed without its id, no further stop is placed, because after a restart
no order id is known any more.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Final, TypeAlias, TypeVar

from msgspec.structs import replace

from trailing.core.model import StopOrder
from trailing.errors import ExchangeUnreachable, StopRejected, UsageError
from trailing.exchanges.ccxt.conversion import is_ours
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.port import StopRequest, escaped

T = TypeVar("T")

_REMEMBERED: Final = 500
"""How many acknowledged stops, and how many requests of unknown outcome, are kept in memory."""

_Figures: TypeAlias = tuple[str, str, Decimal, Decimal]

_log = logging.getLogger(__name__)


class UnnamedStops:
    """Recognises our stops in the lists of a venue with `OrderFormat.may_omit_ids`. On other venues it does nothing.

    Args:
        venue: the venue's row.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._in_doubt = venue.orders.may_omit_ids  # until a list has shown one of our ids
        self._acknowledged: OrderedDict[str, str] = OrderedDict()  # our client order id by order id
        self._sent: OrderedDict[str, _Figures] = OrderedDict()  # not acknowledged yet, by client order id
        self._refusal = ""

    @contextmanager
    def placing(self, request: StopRequest, price: Decimal) -> Iterator[None]:
        """Note that a stop is sent in the block at a price. Its outcome is unknown until `note_acknowledged`.

        Raises:
            StopRejected: the venue omits client order ids, so no stop is placed any more.
        """
        if self._refusal:
            raise StopRejected(f"{self._venue.name} place_stop {request.symbol}: {self._refusal}")
        if self._in_doubt:
            figures = (request.symbol, request.side, request.quantity, price)
            _remember(self._sent, request.client_order_id, figures)
        try:
            yield
        except (StopRejected, ExchangeUnreachable, UsageError):  # it was certainly not placed
            self._sent.pop(request.client_order_id, None)
            raise

    def note_acknowledged(self, order: StopOrder) -> None:
        """Note the order id of a stop that was placed."""
        if self._sent.pop(order.client_order_id, None) is not None:
            _remember(self._acknowledged, order.order_id, order.client_order_id)

    def named(self, stop: StopOrder) -> StopOrder:
        """Return a listed stop under our client order id, if it is ours and the venue has left that out.

        Raises:
            UsageError: it may be one of ours whose outcome is unknown.
        """
        if not self._in_doubt:
            return stop
        own_id = self._acknowledged.get(stop.order_id, "")
        if is_ours(stop.client_order_id):
            self._in_doubt = stop.client_order_id != own_id and stop.client_order_id not in self._sent
            return stop
        if own_id:
            self._refuse(stop, own_id)
            return replace(stop, client_order_id=own_id)
        figures = (stop.symbol, stop.side, stop.quantity, stop.price)
        like = next((sent for sent, of_it in self._sent.items() if of_it == figures), None)
        if like is not None:
            raise UsageError(
                f"it has the price and quantity of {like}, whose outcome is unknown, and no client order id of ours"
            )
        return stop

    def _refuse(self, stop: StopOrder, own_id: str) -> None:
        if not self._refusal:
            shown = f"order {escaped(stop.order_id)} is {own_id}, but is listed with the id {escaped(stop.client_order_id)!r}"
            self._refusal = (
                f"the venue lists stops without their client order ids ({shown}), so no stop is placed any more"
            )
            _log.error("%s: %s", self._venue.name, self._refusal)


def _remember(memory: OrderedDict[str, T], key: str, value: T) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
