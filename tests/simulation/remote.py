"""Serve a paper exchange over a TCP socket of this machine, so that it survives the kill of a bot's process.

The server accepts every connection to its port on 127.0.0.1, without authentication and encryption.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import trio

from simulation.remote_wire import (
    OPERATIONS,
    Answer,
    Call,
    Hello,
    Lines,
    Operation,
    encode_failure,
    encode_line,
    encode_raw,
    encode_update,
)
from trailing.errors import TrailingError, UsageError
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.updates import UpdateChannel

_OUTGOING = 100
"""Lines that may wait to be sent on a connection. Further replies wait; updates gather in their channel."""

Services: TypeAlias = Mapping[str, tuple[Operation, Callable[..., Awaitable[object]]]]
"""Further operations by name: the types of each, and the function that executes it."""

_NO_SERVICES: Services = MappingProxyType({})

Carrier: TypeAlias = Callable[[Call, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Executes a call: takes the call and the function that does it, and returns its result or raises its error."""


async def _carry(_call: Call, function: Callable[[], Awaitable[object]]) -> object:
    return await function()


async def serve_exchange(
    exchange: PaperExchange,
    *,
    symbols: Sequence[str],
    port: int = 0,
    services: Services = _NO_SERVICES,
    carrier: Carrier = _carry,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an exchange on 127.0.0.1 for ever. Reports its port as started.

    A received request is executed even if its connection is lost. The server has no rate limit: `rate_limit_delay` of its
    clients is always 0.

    Args:
        exchange: the exchange.
        symbols: the symbols whose markets the clients get.
        port: the port; 0: a free one.
        services: further operations, by name, for `RemoteExchange.ask`.
        carrier: executes each call; it may delay it, check its client, and refuse it.

    Raises:
        OSError: the port is in use.
        Exception: an error of the exchange other than a `TrailingError`: a bug.

    Cancellation: ends the connections and the waits for requests in flight.
    """
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    hello = Hello(
        exchange.name,
        exchange.account,
        exchange.hedged,
        exchange.orders_read_lag,
        exchange.positions_read_lag,
        exchange.request_validity,
        tuple(exchange.market(symbol) for symbol in symbols),
    )
    async with trio.open_nursery() as requests:
        server = _Server(exchange, hello, services, carrier, requests)
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(server.serve, [listener])


class _Server:
    """The connections of a served exchange. `requests`: the nursery of the requests, which outlive their connections."""

    def __init__(
        self,
        exchange: PaperExchange,
        hello: Hello,
        services: Services,
        carrier: Carrier,
        requests: trio.Nursery,
    ) -> None:
        self._exchange, self._hello, self._carrier, self._requests = exchange, hello, carrier, requests
        self._operations = {**OPERATIONS, **{name: operation for name, (operation, _) in services.items()}}
        self._functions: dict[str, Callable[..., Awaitable[object]]] = {
            **{name: function for name, (_, function) in services.items()},
            "amend_stop": lambda order, price, quantity: exchange.amend_stop(order, price=price, quantity=quantity),
            "set_subscriptions": lambda symbols: exchange.set_subscriptions(frozenset(symbols)),
            "feed": self._feed,
        }

    async def _feed(self, tick: Any) -> None:
        self._exchange.feed(msgspec.structs.replace(tick, at=trio.current_time()))
        await trio.lowlevel.checkpoint()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until the client closes it or sends an invalid line."""
        send, outgoing = trio.open_memory_channel[bytes](_OUTGOING)
        async with stream, trio.open_nursery() as connection:
            connection.start_soon(self._write, stream, outgoing)
            send.send_nowait(encode_line(self._hello))
            await self._read(stream, send, connection)
            connection.cancel_scope.cancel()

    @staticmethod
    async def _write(stream: trio.SocketStream, outgoing: trio.MemoryReceiveChannel[bytes]) -> None:
        with outgoing:
            async for line in outgoing:
                try:
                    await stream.send_all(line)
                except trio.BrokenResourceError:
                    return  # the client has gone, but its earlier requests are still to be read

    async def _read(
        self, stream: trio.SocketStream, send: trio.MemorySendChannel[bytes], connection: trio.Nursery
    ) -> None:
        lines = Lines()
        while True:
            try:
                received = await stream.receive_some()
            except trio.BrokenResourceError:
                return  # the client's process was killed
            if not received:
                return
            for line in lines.feed(received):
                try:
                    call = msgspec.json.decode(line, type=Call)
                except msgspec.MsgspecError:
                    return
                if call.operation == "subscribe":
                    await connection.start(self._push, send)
                    await _reply(send, encode_line(Answer(call.number, trio.current_time(), encode_raw(None))))
                else:
                    self._requests.start_soon(self._carry_out, call, send)
                    # Its first step comes before the next task is started, so that requests arrive in the order of sending.
                    await trio.lowlevel.checkpoint()

    async def _carry_out(self, call: Call, send: trio.MemorySendChannel[bytes]) -> None:
        try:
            operation = self._operations.get(call.operation)
            if operation is None:
                raise UsageError(f"{call.operation!r} is not served")
            function = self._functions.get(call.operation) or getattr(self._exchange, call.operation)
            result = await self._carrier(call, partial(function, *_arguments(operation, call)))
            answer = encode_line(Answer(call.number, trio.current_time(), encode_raw(result)))
        except TrailingError as error:
            answer = encode_failure(call.number, error)
        await _reply(send, answer)

    async def _push(
        self, send: trio.MemorySendChannel[bytes], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with self._exchange.updates() as updates:
            task_status.started()
            assert isinstance(updates, UpdateChannel)
            async for update in updates:
                waiting = [update]
                while len(waiting) < _OUTGOING:
                    try:
                        waiting.append(updates.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                now = trio.current_time()
                await _reply(send, b"".join(encode_update(each, now) for each in waiting))


async def _reply(send: trio.MemorySendChannel[bytes], line: bytes) -> None:
    # If the connection is lost, the reply is dropped. The request was executed anyway.
    with suppress(trio.BrokenResourceError):
        await send.send(line)


def _arguments(operation: Operation, call: Call) -> Sequence[Any]:
    try:
        arguments: Sequence[Any] = msgspec.json.decode(call.arguments, type=operation.arguments)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{call.operation}: {error}") from error
    return arguments
