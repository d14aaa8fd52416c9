"""Requests to the paper exchange with their latency. A request belongs to the exchange, not to its caller."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import trio

from trailing.core.model import check_seconds
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, TrailingError
from trailing.exchanges.limiter import Limiter, Operation
from trailing.exchanges.paper.scheduler import Scheduler

Result = TypeVar("Result")

LatencyFunction: TypeAlias = Callable[[str, str | None], float]
"""Returns the round trip of a request in seconds, from the port's method name and the symbol (None for lists)."""


class LogEntry(msgspec.Struct, frozen=True):
    """A request that the paper exchange executed or rejected, or a fill.

    Args:
        at: when it happened, in seconds on the running clock.
        operation: the port's method name, ``"enter"``, ``"fill"``, or an action of a user (``"place_by_hand"``,
            ``"cancel_by_hand"``).
        symbol: None: it is about the account.
        client_order_id: the order that it is about; None: none.
        result: the value that was returned, or the error with which it was rejected.
    """

    at: float
    operation: str
    symbol: str | None
    client_order_id: str | None
    result: object


class Latency:
    """Returns the round trip of a request in seconds.

    Args:
        seconds: a number of at least 0, or a callable.
        jitter: the most additional seconds, at least 0, drawn evenly for each request.
        seed: of the jitter. The n-th request of an operation and symbol always gets the same jitter.
    """

    def __init__(self, seconds: float | LatencyFunction, jitter: float, seed: int) -> None:
        self._seconds = seconds
        self._jitter = jitter
        self._seed = seed
        self._drawn: Counter[tuple[str, str | None]] = Counter()

    def __call__(self, operation: str, symbol: str | None) -> float:
        """Return the seconds. Raises UsageError if the callable returns no valid number of seconds."""
        seconds = self._seconds
        if callable(seconds):
            seconds = seconds(operation, symbol)
            check_seconds("latency(operation, symbol)", seconds)
        if self._jitter:
            self._drawn[operation, symbol] += 1
            draw = random.Random(f"{self._seed}/{operation}/{symbol}/{self._drawn[operation, symbol]}")
            seconds += draw.uniform(0, self._jitter)
        return seconds


class _Request(Generic[Result]):
    """A request in flight. `waits`: it has arrived, and waits for an earlier request for its client order id."""

    __slots__ = (
        "after_earlier",
        "client_order_id",
        "error",
        "execute",
        "expires_at",
        "is_answered",
        "leg",
        "operation",
        "replied",
        "result",
        "symbol",
        "waits",
    )

    def __init__(
        self,
        operation: str,
        symbol: str | None,
        client_order_id: str | None,
        execute: Callable[[float], Result],
        leg: float,
        *,
        after_earlier: bool,
    ) -> None:
        self.operation = operation
        self.symbol = symbol
        self.client_order_id = client_order_id
        self.execute = execute
        self.leg = leg
        self.after_earlier = after_earlier
        self.waits = False
        self.expires_at = math.inf
        self.replied: trio.Event | None = None
        self.result: Result
        self.error: TrailingError | None = None
        self.is_answered = False


class Transport:
    """Delays requests to the paper account, and their replies.

    Args:
        services: the nursery of the requests.
        latency: returns the round trip; one half passes before a request is executed, one half after.
        limiter: delays requests first; None: there is no rate limit.
        validity: seconds after which a sent request is rejected when it arrives.
        record: called with each log entry at once; None: nothing is recorded.
    """

    def __init__(
        self,
        services: trio.Nursery,
        latency: Latency,
        limiter: Limiter | None,
        validity: float,
        *,
        record: Callable[[LogEntry], object] | None,
    ) -> None:
        self._latency = latency
        self._limiter = limiter
        self._validity = validity
        self._record = record
        self._ended = False
        self._scheduler = Scheduler()
        self._in_flight: set[_Request[Any]] = set()
        self._not_executed: dict[str, list[_Request[Any]]] = {}  # by client order id, in the order of sending
        services.start_soon(self._run)
        if limiter is not None:
            services.start_soon(limiter.serve)

    def __str__(self) -> str:
        return f"{len(self._in_flight)} requests in flight"

    def note(self, at: float, operation: str, symbol: str | None, client_order_id: str | None, result: object) -> None:
        """Record a log entry, if recording is on."""
        if self._record is not None:
            self._record(LogEntry(at, operation, symbol, client_order_id, result))

    def end(self) -> None:
        """Accept no more requests. Those in flight end with the services."""
        self._ended = True

    async def send(
        self,
        operation: Operation,
        symbol: str | None,
        execute: Callable[[float], Result],
        *,
        client_order_id: str | None = None,
        after_earlier: bool = False,
    ) -> Result:
        """Send a request and return its result.

        Args:
            operation: the port's method name.
            symbol: the symbol that it is about; None: the account.
            execute: called once with the time when the request has arrived. Its error is the reply too.
            client_order_id: the order that it is about; None: none.
            after_earlier: execute it after earlier requests for that id.

        Raises:
            RateLimited: the rate limit rejects it; nothing was sent.
            ExchangeUnreachable: it expired before it arrived, or the exchange was closed before it was sent.
            OutcomeUnknown: the exchange was closed before it replied.
            TrailingError: the error of `execute`.

        Cancellation: before the request is sent, nothing is sent. Later it ends the waiting and recalls nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended:
            raise ExchangeUnreachable(f"paper {operation}: not sent, because the exchange was closed")
        leg = self._latency(operation, symbol) / 2
        request = _Request(operation, symbol, client_order_id, execute, leg, after_earlier=after_earlier)
        passes = self._limiter is None or self._limiter.take(operation, partial(self._send, request), symbol) is None
        self._in_flight.add(request)
        if client_order_id is not None:
            self._not_executed.setdefault(client_order_id, []).append(request)
        if passes:
            self._send(request)
        if request.is_answered:  # without latency it was executed at once
            await trio.lowlevel.checkpoint()
        else:
            request.replied = trio.Event()
            await request.replied.wait()
        if not request.is_answered:
            raise OutcomeUnknown(f"paper {operation}: the exchange was closed before it replied")
        if request.error is not None:
            raise request.error
        return request.result

    async def _run(self) -> None:
        try:
            await self._scheduler.run()
        finally:
            for request in self._in_flight:
                if request.replied is not None:
                    request.replied.set()

    def _send(self, request: _Request[Any]) -> None:
        request.expires_at = trio.current_time() + self._validity
        self._schedule(request, self._arrive)

    def _schedule(self, request: _Request[Any], step: Callable[[_Request[Any]], None]) -> None:
        if request.leg:
            self._scheduler.call_at(trio.current_time() + request.leg, partial(step, request))
        else:
            step(request)

    def _arrive(self, request: _Request[Any]) -> None:
        at = trio.current_time()
        if at > request.expires_at:
            request.error = ExchangeUnreachable(
                f"paper {request.operation}: it expired on the way and was not executed"
            )
        if request.after_earlier and self._is_behind(request):
            request.waits = True
        else:
            self._execute(request, at)

    def _is_behind(self, request: _Request[Any]) -> bool:
        """Return whether an earlier request for its client order id is not executed yet."""
        return request.client_order_id is not None and self._not_executed[request.client_order_id][0] is not request

    def _execute(self, request: _Request[Any], at: float) -> None:
        if request.error is None:
            try:
                request.result = request.execute(at)
            except TrailingError as error:
                request.error = error
        reply = request.result if request.error is None else request.error
        self.note(at, request.operation, request.symbol, request.client_order_id, reply)
        self._schedule(request, self._reply)
        if request.client_order_id is not None:
            queue = self._not_executed[request.client_order_id]
            queue.remove(request)
            if not queue:
                del self._not_executed[request.client_order_id]
            elif queue[0].waits:
                self._execute(queue[0], at)

    def _reply(self, request: _Request[Any]) -> None:
        request.is_answered = True
        self._in_flight.discard(request)
        if request.replied is not None:
            request.replied.set()
