"""Faults, and an exchange that fails on purpose at chosen calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
import trio

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Candle, Fill, Market, Side, Source, StopOrder, Tick, check_one_of, check_seconds, refuse
from trailing.errors import EntryRejected, ExchangeUnreachable, OutcomeUnknown, RateLimited, StopRejected, TrailingError
from trailing.exchanges.port import Exchange, StopRequest, Update

T = TypeVar("T")

Operation: TypeAlias = Literal[
    "place_stop",
    "amend_stop",
    "cancel_stop",
    "find_stop",
    "open_stops",
    "open_orders",
    "cancel_order",
    "order_fills",
    "positions",
    "price",
    "close_position",
    "place_entry",
    "cancel_entry",
    "find_entry",
    "entry_settings",
    "candles",
    "set_subscriptions",
    "accounts",
    "load",
    "lease_owner",
    "acquire_lease",
    "commit",
]
"""The methods of the ports that a fault can strike. The last five are a store's, `commit` its leases' too."""


class Refuses(msgspec.Struct, frozen=True):
    """The exchange rejects the request. Nothing is executed."""

    error: StopRejected | EntryRejected = msgspec.field(default_factory=lambda: StopRejected("refused on purpose"))


class Unreachable(msgspec.Struct, frozen=True):
    """The request is not sent: `ExchangeUnreachable`."""


class Throttles(msgspec.Struct, frozen=True):
    """The rate limit refuses the request: `RateLimited`. `retry_after`: seconds, at least 0."""

    retry_after: float

    def __post_init__(self) -> None:
        check_seconds("Throttles.retry_after", self.retry_after)


class ReplyLost(msgspec.Struct, frozen=True):
    """The request is executed or rejected, and the reply is lost: `OutcomeUnknown`."""


class Hangs(msgspec.Struct, frozen=True):
    """No answer ever comes. `booked`: the request is executed (or rejected) all the same."""

    booked: bool = False


class Slow(msgspec.Struct, frozen=True):
    """The request is sent late. `seconds`: how late, at least 0."""

    seconds: float

    def __post_init__(self) -> None:
        check_seconds("Slow.seconds", self.seconds)


class Fails(msgspec.Struct, frozen=True):
    """The call raises any exception: a bug, a StoreError, … `booked`: after the request was executed."""

    error: Exception
    booked: bool = False


Fault: TypeAlias = Refuses | Unreachable | Throttles | ReplyLost | Hangs | Slow | Fails


class At(msgspec.Struct, frozen=True):
    """The call that a fault strikes.

    If several name the same call, the first of these counts: symbol and number, symbol, number, operation alone.

    Args:
        operation: the name of the port's method.
        symbol: the symbol whose calls count; None: all calls of the operation count, also those without a symbol.
        call: the number of the call, counted from 1; None: every call.

    Raises:
        UsageError: no such operation or number exists.
    """

    operation: Operation
    symbol: str | None = None
    call: int | None = None

    def __post_init__(self) -> None:
        check_one_of("At.operation", self.operation, Operation.__args__)  # type: ignore[attr-defined]
        if self.call is not None and (type(self.call) is not int or self.call < 1):
            raise refuse("At.call", self.call, "a whole number of at least 1, or None")


class Call(msgspec.Struct, frozen=True):
    """A recorded call. `at`: seconds on the running clock; `fault`: the fault that struck it, or None."""

    operation: Operation
    symbol: str | None
    at: float
    fault: Fault | None


Faults: TypeAlias = Mapping[At, Fault] | Callable[[Operation, str | None, int], Fault | None]
"""Which fault strikes which call. A callable receives the operation, the symbol, and the number of the call among those of
this operation and symbol, counted from 1."""


class Script:
    """Count the calls, choose their faults and play them."""

    def __init__(self, faults: Faults) -> None:
        self.calls: list[Call] = []
        self._faults = faults
        self._of_symbol: Counter[tuple[Operation, str | None]] = Counter()
        self._of_all: Counter[Operation] = Counter()

    async def play(  # noqa: RET503  # sleep_forever never returns
        self, operation: Operation, symbol: str | None, execute: Callable[[], Awaitable[T]]
    ) -> T:
        fault = self._next_fault(operation, symbol)
        self.calls.append(Call(operation, symbol, trio.current_time(), fault))
        match fault:
            case None:
                return await execute()
            case Slow(seconds):
                await trio.sleep(seconds)
                return await execute()
            case Hangs(booked):
                if booked:
                    await _execute_without_reply(execute)
                await trio.sleep_forever()
            case _:
                booked, error = _failure(fault, operation if symbol is None else f"{operation} of {symbol}")
                if booked:
                    await _execute_without_reply(execute)
                else:
                    await trio.lowlevel.checkpoint()
                raise error

    def _next_fault(self, operation: Operation, symbol: str | None) -> Fault | None:
        self._of_all[operation] += 1
        self._of_symbol[operation, symbol] += 1
        of_all, of_symbol = self._of_all[operation], self._of_symbol[operation, symbol]
        if not isinstance(self._faults, Mapping):
            return self._faults(operation, symbol, of_symbol)
        places = [At(operation, None, of_all), At(operation)]
        if symbol is not None:
            places = [At(operation, symbol, of_symbol), At(operation, symbol), *places]
        return next((self._faults[place] for place in places if place in self._faults), None)


def _failure(fault: Refuses | Unreachable | Throttles | ReplyLost | Fails, what: str) -> tuple[bool, Exception]:
    match fault:
        case Refuses(error):
            return False, error
        case Unreachable():
            return False, ExchangeUnreachable(f"{what}: not sent, on purpose")
        case Throttles(retry_after):
            return False, RateLimited(f"{what}: limited on purpose", retry_after=retry_after)
        case ReplyLost():
            return True, OutcomeUnknown(f"{what}: the reply was lost on purpose")
        case Fails(error, booked):
            return booked, error


async def _execute_without_reply(execute: Callable[[], Awaitable[object]]) -> None:
    # The reply is lost, whether it is an error or not.
    with suppress(TrailingError):
        await execute()


class FaultyExchange:
    """An exchange that passes every call to another one, until a fault strikes.

    Attributes that the port does not have (`feed`, `enter`) are those of the inner exchange. A cancelled caller has the same
    effect as with the inner exchange. ::

        FaultyExchange(paper, {At("place_stop", "BTC/USDT:USDT", call=2): ReplyLost()})

    Args:
        inner: the exchange that executes the calls.
        faults: which fault strikes which call.

    Attributes:
        inner: as given.
        calls: every call of an async method so far.
    """

    def __init__(self, inner: Exchange, faults: Faults) -> None:
        self.inner = inner
        self._script = Script(faults)
        self.calls: Sequence[Call] = self._script.calls

    def __repr__(self) -> str:
        return f"<FaultyExchange: {len(self.calls)} calls, in front of {self.inner!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def account(self) -> str:
        return self.inner.account

    @property
    def hedged(self) -> bool:
        return self.inner.hedged

    @property
    def orders_read_lag(self) -> float:
        return self.inner.orders_read_lag

    @property
    def positions_read_lag(self) -> float:
        return self.inner.positions_read_lag

    @property
    def request_validity(self) -> float:
        return self.inner.request_validity

    def market(self, symbol: str) -> Market:
        return self.inner.market(symbol)

    async def place_stop(self, request: StopRequest) -> StopOrder:
        return await self._script.play("place_stop", request.symbol, lambda: self.inner.place_stop(request))

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        return await self._script.play(
            "amend_stop", order.symbol, lambda: self.inner.amend_stop(order, price=price, quantity=quantity)
        )

    async def cancel_stop(self, order: StopOrder) -> None:
        await self._script.play("cancel_stop", order.symbol, lambda: self.inner.cancel_stop(order))

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        return await self._script.play("find_stop", symbol, lambda: self.inner.find_stop(symbol, client_order_id))

    async def open_stops(self) -> Sequence[StopOrder]:
        return await self._script.play("open_stops", None, self.inner.open_stops)

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        return await self._script.play("open_orders", symbol, lambda: self.inner.open_orders(symbol))

    async def cancel_order(self, order: OpenOrder) -> None:
        await self._script.play("cancel_order", order.symbol, lambda: self.inner.cancel_order(order))

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        return await self._script.play(
            "order_fills", symbol, lambda: self.inner.order_fills(symbol, client_order_id, since)
        )

    async def positions(self) -> Sequence[PositionReport]:
        return await self._script.play("positions", None, self.inner.positions)

    async def price(self, symbol: str, source: Source) -> Tick:
        return await self._script.play("price", symbol, lambda: self.inner.price(symbol, source))

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        return await self._script.play(
            "close_position", symbol, lambda: self.inner.close_position(symbol, side, quantity, client_order_id)
        )

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        return await self._script.play("place_entry", request.symbol, lambda: self.inner.place_entry(request))

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        await self._script.play("cancel_entry", symbol, lambda: self.inner.cancel_entry(symbol, client_order_id))

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        return await self._script.play("find_entry", symbol, lambda: self.inner.find_entry(symbol, client_order_id))

    async def entry_settings(self, symbol: str) -> EntrySettings:
        return await self._script.play("entry_settings", symbol, lambda: self.inner.entry_settings(symbol))

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        return await self._script.play("candles", symbol, lambda: self.inner.candles(symbol, source, since))

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        await self._script.play("set_subscriptions", None, lambda: self.inner.set_subscriptions(symbols))

    def updates(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Update]]:
        return self.inner.updates()

    def rate_limit_delay(self, operation: str) -> float:
        return self.inner.rate_limit_delay(operation)
