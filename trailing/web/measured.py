"""An exchange that passes every call on to another one, and measures the requests."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

import trio

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Candle, Fill, Market, Side, Source, StopOrder, Tick
from trailing.errors import EntryRejected, StopRejected
from trailing.exchanges.port import Exchange, StopRequest, Update
from trailing.web.metrics import Metrics

T = TypeVar("T")

_CODES: Final = tuple(
    re.compile(rf"""["'](?:{names})["']\s*:\s*["']?(-?\w{{1,40}})""")
    for names in ("sCode", "code|retCode|ret_code|errcode|error_code|label|error")
)
"""The code in the JSON of an exchange's answer, as `"code":-2021`. OKX has the code of the order beside that of the request."""

NO_CODE: Final = "none"


class MeasuredExchange:
    """An `Exchange` that measures the requests to another one. `Metrics.measure` makes it.

    It changes no argument, no answer and no error, and never waits itself.
    """

    def __init__(self, exchange: Exchange, metrics: Metrics) -> None:
        self._exchange, self._metrics = exchange, metrics

    def __repr__(self) -> str:
        return f"<MeasuredExchange of {self._exchange!r}>"

    @property
    def name(self) -> str:
        return self._exchange.name

    @property
    def account(self) -> str:
        return self._exchange.account

    @property
    def hedged(self) -> bool:
        return self._exchange.hedged

    @property
    def orders_read_lag(self) -> float:
        return self._exchange.orders_read_lag

    @property
    def positions_read_lag(self) -> float:
        return self._exchange.positions_read_lag

    @property
    def request_validity(self) -> float:
        return self._exchange.request_validity

    def set_fence(self, fence: object) -> None:
        """Pass on the fence of the bot's own calls, if the exchange has calls."""
        getattr(self._exchange, "set_fence", lambda _: None)(fence)

    def market(self, symbol: str) -> Market:
        return self._exchange.market(symbol)

    async def place_stop(self, request: StopRequest) -> StopOrder:
        return await self._call("place_stop", self._exchange.place_stop(request))

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        return await self._call("amend_stop", self._exchange.amend_stop(order, price=price, quantity=quantity))

    async def cancel_stop(self, order: StopOrder) -> None:
        await self._call("cancel_stop", self._exchange.cancel_stop(order))

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        return await self._call("find_stop", self._exchange.find_stop(symbol, client_order_id))

    async def open_stops(self) -> Sequence[StopOrder]:
        return await self._call("open_stops", self._exchange.open_stops())

    async def positions(self) -> Sequence[PositionReport]:
        return await self._call("positions", self._exchange.positions())

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        return await self._call("open_orders", self._exchange.open_orders(symbol))

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        return await self._call("order_fills", self._exchange.order_fills(symbol, client_order_id, since))

    async def price(self, symbol: str, source: Source) -> Tick:
        return await self._call("price", self._exchange.price(symbol, source))

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        closing = self._exchange.close_position(symbol, side, quantity, client_order_id)
        return await self._call("close_position", closing)

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        return await self._call("place_entry", self._exchange.place_entry(request))

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        await self._call("cancel_entry", self._exchange.cancel_entry(symbol, client_order_id))

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        return await self._call("find_entry", self._exchange.find_entry(symbol, client_order_id))

    async def entry_settings(self, symbol: str) -> EntrySettings:
        return await self._call("entry_settings", self._exchange.entry_settings(symbol))

    async def cancel_order(self, order: OpenOrder) -> None:
        await self._call("cancel_order", self._exchange.cancel_order(order))

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        return await self._call("candles", self._exchange.candles(symbol, source, since))

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        await self._call("set_subscriptions", self._exchange.set_subscriptions(symbols))

    def updates(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Update]]:
        return self._exchange.updates()

    def rate_limit_delay(self, operation: str) -> float:
        return self._exchange.rate_limit_delay(operation)

    async def _call(self, operation: str, calling: Awaitable[T]) -> T:
        metrics, began = self._metrics, trio.current_time()
        metrics.observe("trailing_rate_limit_wait_seconds", self._exchange.rate_limit_delay(operation), operation)
        result = "ok"
        try:
            return await calling
        except trio.Cancelled:
            result = "cancelled"
            raise
        except BaseException as error:
            result = type(error).__name__
            if isinstance(error, (StopRejected, EntryRejected)):
                metrics.count("trailing_refusals_total", operation, result, find_code(str(error)))
            raise
        finally:
            metrics.count("trailing_requests_total", operation, result)
            metrics.observe("trailing_request_seconds", trio.current_time() - began, operation)


def find_code(message: str) -> str:
    """Return the exchange's code in the message of an error, or `NO_CODE`."""
    return next((found[1] for pattern in _CODES if (found := pattern.search(message))), NO_CODE)


_MAKES: Callable[[Exchange, Metrics], Exchange] = MeasuredExchange
"""A measured exchange is an `Exchange`: the type checker compares the methods."""
