"""The orders of an emergency exit: those that block a close, and those that are left behind a flat position."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

import trio

from trailing.core.account import OpenOrder
from trailing.core.model import StopOrder
from trailing.errors import ExchangeError, NoSuchStop, UsageError
from trailing.flatten.target import Target
from trailing.protection.order_ids import is_ours
from trailing.protection.requests import RequestSender

CALL_SECONDS: Final = 10.0
"""Seconds that the exchange may take for a request, after the wait for the rate limit."""

READS_AT_ONCE: Final = 4
"""Open orders of so many flat positions are read at once. A read takes four requests on OKX, and twenty reads at once would each take
longer than `CALL_SECONDS` within its rate limit, and would be given up and sent again."""


def order_in_words(order: OpenOrder | StopOrder) -> str:
    """Return an order as a user would recognise it."""
    name = order.client_order_id or order.order_id
    if isinstance(order, StopOrder):
        return f"{order.symbol} {order.side} stop {order.quantity} at {order.price} ({name})"
    price = order.price if order.trigger_price is None else order.trigger_price
    at = "" if price is None else f" at {price}"
    return f"{order.symbol} {order.kind} {order.order_side} {order.quantity}{at} ({name})"


class LeftBehind(NamedTuple):
    """The reduce-only orders of a flat position.

    Args:
        orders: those that are not among the stops.
        unread: why the open orders can't be read; None: they were.
    """

    stops: tuple[StopOrder, ...]
    orders: tuple[OpenOrder, ...]
    unread: Exception | None


class OrderCleaner:
    """Cancels orders around the positions that are closed.

    Args:
        sender: of the account.
        only_ours: behind a flat position, cancel only orders with our tag. An order that blocks a close is always cancelled.
        tell: called with each cancellation, in words.

    Attributes:
        cancelled: the cancelled orders in words, by order id.
        left: by symbol, the open orders that may open a position, in words.
    """

    def __init__(self, sender: RequestSender, *, only_ours: bool, tell: Callable[[str], None]) -> None:
        self._sender, self._only_ours, self._tell = sender, only_ours, tell
        self._reading = trio.CapacityLimiter(READS_AT_ONCE)
        self.cancelled: dict[str, str] = {}
        self.left: dict[str, tuple[str, ...]] = {}

    async def covering(self, target: Target) -> Sequence[OpenOrder]:
        """Return the reduce-only orders that cover a position. Raises ExchangeError."""
        return [order for order in await self._read(target) if order.covers_position and order.side == target.side]

    async def cancel_covering(self, target: Target) -> bool:
        """Cancel the orders that cover a position, so that the exchange may accept the next close.

        Returns:
            Whether any of them is gone now.
        """
        try:
            orders = await self.covering(target)
        except (ExchangeError, UsageError) as error:
            self._tell(f"{target.symbol}: the open orders can't be read: {error}")
            return False
        failures = await self._cancel((), orders)
        return len(failures) < len(orders)

    async def find_left_behind(self, target: Target) -> LeftBehind:
        """Return the reduce-only orders of a position that is confirmed flat, its stops among them."""
        stops = tuple(stop for stop in target.stops if self._may_cancel(stop))
        try:
            async with self._reading:
                listed = await self._read(target)
        except (ExchangeError, UsageError) as error:
            self._tell(f"{target.symbol}: the open orders can't be read: {error}")
            return LeftBehind(stops, (), error)
        self.left[target.symbol] = tuple(order_in_words(order) for order in listed if order.side is None)
        known = {stop.order_id for stop in stops}
        orders = (order for order in listed if order.side == target.side and order.order_id not in known)
        return LeftBehind(stops, tuple(filter(self._may_cancel, orders)), None)

    async def cancel_left_behind(self, target: Target, found: LeftBehind) -> Exception | None:
        """Cancel what was found of a flat position.

        Returns:
            Why an order may still be live; None: all of them are gone.
        """
        failures = await self._cancel(found.stops, found.orders)
        unread = () if found.unread is None else (f"{target.symbol}: the open orders can't be read: {found.unread}",)
        target.not_cancelled = (*(f"{words}: {error}" for words, error in failures.items()), *unread)
        return found.unread or next(iter(failures.values()), None)

    def _may_cancel(self, order: StopOrder | OpenOrder) -> bool:
        return not self._only_ours or is_ours(order.client_order_id)

    async def _read(self, target: Target) -> Sequence[OpenOrder]:
        reading = partial(self._sender.exchange.open_orders, target.symbol)
        return await self._sender.read("open_orders", reading, CALL_SECONDS)

    async def _cancel(self, stops: Iterable[StopOrder], orders: Iterable[OpenOrder]) -> dict[str, Exception]:
        """Cancel orders in parallel, and return the error of each that may still be live, by its words."""
        failures: dict[str, Exception] = {}
        exchange = self._sender.exchange

        async def cancel(order: StopOrder | OpenOrder, operation: str, request: Callable[[], Awaitable[None]]) -> None:
            words = order_in_words(order)
            try:
                await self._sender.change(operation, request, CALL_SECONDS)
            except NoSuchStop:
                return
            except (ExchangeError, UsageError) as error:
                failures[words] = error
                self._tell(f"{words}: not cancelled: {error}")
                return
            self.cancelled[order.order_id] = words
            self._tell(f"{words}: cancelled")

        async with trio.open_nursery() as nursery:
            for stop in stops:
                nursery.start_soon(cancel, stop, "cancel_stop", partial(exchange.cancel_stop, stop))
            for order in orders:
                nursery.start_soon(cancel, order, "cancel_order", partial(exchange.cancel_order, order))
        return failures
