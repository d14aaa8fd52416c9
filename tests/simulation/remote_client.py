"""The client of a served exchange: the port over a connection that can be lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import trio

from simulation.remote_wire import (
    OPERATIONS,
    Answer,
    Call,
    Failure,
    Hello,
    Lines,
    Operation,
    Pushed,
    decode_update,
    encode_line,
    encode_raw,
    on_our_clock,
)
from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Candle, Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, TrailingError, UsageError
from trailing.exchanges.port import StopRequest, StreamState, Update
from trailing.exchanges.updates import UpdateChannel
from trailing.services import open_service_nursery

_CONNECT_SECONDS = 10.0
"""Seconds within which the server has to send its first line."""

_INCOMING = msgspec.json.Decoder(Answer | Failure | Pushed)


@asynccontextmanager
async def open_remote(port: int, *, name: str = "") -> AsyncIterator[RemoteExchange]:
    """Connect to an exchange that `serve_exchange` serves on this machine.

    Args:
        port: the port of the server.
        name: the name of this client in its requests.

    Raises:
        ExchangeUnreachable: no exchange is served on the port.
        BaseException: an error of the block, unchanged.

    Cancellation: the connection stays until the block has ended, so that a shielded clean-up inside gets its replies.
    """
    try:
        with trio.fail_after(_CONNECT_SECONDS):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            try:
                hello, received = await _greet(stream)
            except BaseException:
                await trio.aclose_forcefully(stream)  # noqa: ASYNC102 - it does not wait
                raise
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise ExchangeUnreachable(f"no exchange is served on port {port}: {error}") from error
    async with open_service_nursery() as services:
        exchange = RemoteExchange(hello, name)
        services.start_soon(exchange.run, stream, received)
        try:
            yield exchange
        finally:
            exchange.end()


async def _greet(stream: trio.SocketStream) -> tuple[Hello, bytes]:
    received = b""
    while b"\n" not in received:
        more = await stream.receive_some()
        if not more:
            raise ExchangeUnreachable("the server closed the connection before its first line")
        received += more
    line, _, rest = received.partition(b"\n")
    return msgspec.json.decode(line, type=Hello), rest


class _Asked:
    """A request, from the call to its reply. `sent`: whether a byte of it may have been sent."""

    __slots__ = ("answer", "answered", "error", "line", "sent")

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.sent = False
        self.answered = trio.Event()
        self.answer: Answer | None = None
        self.error: TrailingError | None = None


class RemoteExchange:
    """A served exchange. `open_remote` creates it.

    Every method follows the port, and acts as the served exchange does. The client never reconnects.

    Cancellation: ends the wait of a call; a request that was sent is executed. A call that is cancelled before it began
    sends nothing.

    Raises:
        OutcomeUnknown: the connection was lost after a request that changes something was sent.
        ExchangeUnreachable: the connection was lost before the request was sent, or the request was a read.

    Attributes:
        name, account, hedged, orders_read_lag, positions_read_lag, request_validity: those of the served exchange.
    """

    def __init__(self, hello: Hello, client: str = "") -> None:
        self._client = client
        self.name: str = hello.name
        self.account: str = hello.account
        self.hedged: bool = hello.hedged
        self.orders_read_lag: float = hello.orders_read_lag
        self.positions_read_lag: float = hello.positions_read_lag
        self.request_validity: float = hello.request_validity
        self._markets = {market.symbol: market for market in hello.markets}
        self.asked: dict[int, _Asked] = {}
        self._number = 0
        self._outgoing, self._to_send = trio.open_memory_channel[_Asked](10_000)
        self._channels: list[UpdateChannel] = []
        self._subscribed = False
        self._lost: str | None = None

    def __repr__(self) -> str:
        line = "connected" if self._lost is None else self._lost
        return f"<RemoteExchange {self.name} {self.account!r}: {len(self.asked)} requests in flight, {line}>"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols whose markets the server has sent."""
        return tuple(self._markets)

    def market(self, symbol: str) -> Market:
        """Return the rules of a market. Raises UsageError if the server did not send it."""
        market = self._markets.get(symbol)
        if market is None:
            raise UsageError(f"{symbol!r} is no market of the served exchange")
        return market

    async def place_stop(self, request: StopRequest) -> StopOrder:
        order: StopOrder = await self._ask("place_stop", request)
        return order

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        amended: StopOrder = await self._ask("amend_stop", order, price, quantity)
        return amended

    async def cancel_stop(self, order: StopOrder) -> None:
        await self._ask("cancel_stop", order)

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        found: StopOrder | None = await self._ask("find_stop", symbol, client_order_id)
        return found

    async def open_stops(self) -> Sequence[StopOrder]:
        orders: Sequence[StopOrder] = await self._ask("open_stops")
        return orders

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        orders: Sequence[OpenOrder] = await self._ask("open_orders", symbol)
        return orders

    async def cancel_order(self, order: OpenOrder) -> None:
        await self._ask("cancel_order", order)

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        fills: Sequence[Fill] = await self._ask("order_fills", symbol, client_order_id, since)
        return fills

    async def positions(self) -> Sequence[PositionReport]:
        reports: Sequence[PositionReport] = await self._ask("positions")
        return reports

    async def price(self, symbol: str, source: Source) -> Tick:
        tick: Tick = await self._ask("price", symbol, source)
        return tick

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        fill: Fill = await self._ask("close_position", symbol, side, quantity, client_order_id)
        return fill

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        order: EntryOrder = await self._ask("place_entry", request)
        return order

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        await self._ask("cancel_entry", symbol, client_order_id)

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        found: EntryOrder | None = await self._ask("find_entry", symbol, client_order_id)
        return found

    async def entry_settings(self, symbol: str) -> EntrySettings:
        settings: EntrySettings = await self._ask("entry_settings", symbol)
        return settings

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        candles: Sequence[Candle] = await self._ask("candles", symbol, source, since)
        return candles

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        await self._ask("set_subscriptions", sorted(symbols))

    async def enter(self, position: Position) -> None:
        """Book a filled entry, as `PaperExchange.enter` does."""
        await self._ask("enter", position)

    async def feed(self, tick: Tick) -> None:
        """Move the market, as `PaperExchange.feed` does."""
        await self._ask("feed", tick)

    async def ask(self, name: str, operation: Operation, *arguments: object) -> Any:
        """Request one of the server's further `services`, and return its result."""
        return await self._send(name, operation, arguments)

    def rate_limit_delay(self, operation: str) -> float:
        """Return 0, because a served exchange has no rate limit."""
        if operation not in OPERATIONS:
            raise UsageError(f"operation got {operation!r}, wants one of {', '.join(OPERATIONS)}")
        return 0.0

    def updates(self) -> AbstractAsyncContextManager[UpdateChannel]:
        """Open a channel of all updates from now on. A lost connection is its last update and ends the channel."""
        return self._updates()

    @asynccontextmanager
    async def _updates(self) -> AsyncIterator[UpdateChannel]:
        channel = UpdateChannel()
        if not self._subscribed:
            await self._ask("subscribe")
            self._subscribed = True
        self._channels.append(channel)
        if self._lost is not None:
            self._hang_up(channel)
        try:
            yield channel
        finally:
            self._channels.remove(channel)
            channel.close()

    async def _ask(self, name: str, *arguments: object) -> Any:
        return await self._send(name, OPERATIONS[name], arguments)

    async def _send(self, name: str, operation: Operation, arguments: Sequence[object]) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lost is not None:
            raise ExchangeUnreachable(f"{name}: {self._lost}")
        sent_at = time.monotonic()
        # The time stamp comes first: after a stop of the process the request is stale for the server, or not sent.
        if operation.changes and trio.current_time() > trio.current_effective_deadline():
            raise ExchangeUnreachable(f"{name}: its deadline was over before it was sent")
        self._number += 1
        number = self._number
        call = Call(number, name, encode_raw(arguments), self._client, sent_at)
        asked = self.asked[number] = _Asked(encode_line(call))
        try:
            self._outgoing.send_nowait(asked)
            await asked.answered.wait()
        except trio.WouldBlock:
            raise ExchangeUnreachable(f"{name}: too many requests wait to be sent") from None
        finally:
            del self.asked[number]
        if asked.error is not None:
            raise asked.error
        if asked.answer is None:
            if asked.sent and operation.changes:
                raise OutcomeUnknown(f"{name}: {self._lost}")
            raise ExchangeUnreachable(f"{name}: {self._lost}")
        result = msgspec.json.decode(asked.answer.result, type=operation.result)
        return on_our_clock(result, trio.current_time() - asked.answer.now)

    async def run(self, stream: trio.SocketStream, received: bytes) -> None:
        """Send and receive until the connection is lost or `end` was called."""
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._write, stream)
            await self._read(stream, received)
            nursery.cancel_scope.cancel()
        self._lose("the connection was lost")

    async def _write(self, stream: trio.SocketStream) -> None:
        async for asked in self._to_send:
            asked.sent = True
            try:
                await stream.send_all(asked.line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reader notices the loss too, and ends all channels

    async def _read(self, stream: trio.SocketStream, received: bytes) -> None:
        lines = Lines()
        while True:
            for line in lines.feed(received):
                self._take(_INCOMING.decode(line))
            try:
                received = await stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not received:
                return

    def _take(self, message: Answer | Failure | Pushed) -> None:
        if isinstance(message, Pushed):
            update = decode_update(message, trio.current_time())
            for channel in self._channels:
                channel.push(update)
            return
        asked = self.asked.get(message.number)
        if asked is None:
            return  # its caller was cancelled; the exchange has executed the request
        if isinstance(message, Failure):
            asked.error = message.as_error()
        else:
            asked.answer = message
        asked.answered.set()

    def end(self) -> None:
        """Refuse further requests, and end every subscriber's channel. `open_remote` calls it when its block ends."""
        self._lose("the exchange was closed")

    def _lose(self, why: str) -> None:
        if self._lost is not None:
            return
        self._lost = why
        for asked in self.asked.values():
            asked.answered.set()
        for channel in self._channels:
            self._hang_up(channel)

    def _hang_up(self, channel: UpdateChannel) -> None:
        last: Update = StreamState(False, trio.current_time(), self._lost or "")
        channel.push(last)
        channel.end()
