"""The way to the paper exchange and back: each request is the exchange's, whatever becomes of its caller."""

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
from trailing.exchanges.paper.timer import Timer

Result = TypeVar("Result")

LatencyFunction: TypeAlias = Callable[[str, str | None], float]
"""From the port's method name and the symbol (None for lists) to seconds, there and back."""


class Booking(msgspec.Struct, frozen=True):
    """Something that the exchange booked or refused.

    Args:
        at: seconds on the running clock.
        operation: the port's method name; ``"enter"``, ``"fill"``, or what a hand did from outside.
        result: what came of it: a value, or the error that it was refused with.
    """

    at: float
    operation: str
    symbol: str | None
    client_order_id: str | None
    result: object


class Latency:
    """How long a request takes, there and back.

    Args:
        seconds: a number of at least 0, or a callable.
        jitter: up to so many seconds more, at least 0, drawn evenly for each request.
        seed: of the jitter; the n-th request of an operation on a symbol gets the same whatever runs beside it.
    """

    def __init__(self, seconds: float | LatencyFunction, jitter: float, seed: int) -> None:
        self._seconds = seconds
        self._jitter = jitter
        self._seed = seed
        self._drawn: Counter[tuple[str, str | None]] = Counter()

    def __call__(self, operation: str, symbol: str | None) -> float:
        """Raises UsageError where the callable's answer is no number of seconds."""
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
    """A request under way. `waits`: whether it has arrived, and waits for what was sent earlier under its id."""

    __slots__ = (
        "after_earlier",
        "answered",
        "book",
        "client_order_id",
        "error",
        "expires_at",
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
        book: Callable[[float], Result],
        leg: float,
        *,
        after_earlier: bool,
    ) -> None:
        self.operation = operation
        self.symbol = symbol
        self.client_order_id = client_order_id
        self.book = book
        self.leg = leg
        self.after_earlier = after_earlier
        self.waits = False
        self.expires_at = math.inf
        self.replied: trio.Event | None = None
        self.result: Result
        self.error: TrailingError | None = None
        self.answered = False


class Requests:
    """Carries requests to a book and their answers back.

    Args:
        services: the nursery that carries the requests.
        latency: half of it passes before the booking, half after.
        limiter: who has to wait for a turn first; None: nobody.
        validity: a request that arrives later than so many seconds after its turn is refused.
        record: called with every booking, when it was made; None: nobody wants to know.
    """

    def __init__(
        self,
        services: trio.Nursery,
        latency: Latency,
        limiter: Limiter | None,
        validity: float,
        *,
        record: Callable[[Booking], object] | None,
    ) -> None:
        self._latency = latency
        self._limiter = limiter
        self._validity = validity
        self._record = record
        self._ended = False
        self._timer = Timer()
        self._unanswered: set[_Request[Any]] = set()
        self._not_booked: dict[str, list[_Request[Any]]] = {}  # by client order id, in the order of sending
        services.start_soon(self._run)
        if limiter is not None:
            services.start_soon(limiter.serve)

    def __str__(self) -> str:
        return f"{len(self._unanswered)} requests under way"

    def note(self, at: float, operation: str, symbol: str | None, client_order_id: str | None, result: object) -> None:
        """Tell of a booking, where somebody wants to know."""
        if self._record is not None:
            self._record(Booking(at, operation, symbol, client_order_id, result))

    def end(self) -> None:
        """Take no more requests; those under way end with the services."""
        self._ended = True

    async def send(
        self,
        operation: Operation,
        symbol: str | None,
        book: Callable[[float], Result],
        *,
        client_order_id: str | None = None,
        after_earlier: bool = False,
    ) -> Result:
        """Send a request and wait for its answer.

        Args:
            book: called once, when the request has arrived, with the time; what it raises is the answer too.
            client_order_id: the order that it is about.
            after_earlier: let those sent earlier under that id be booked first.

        Cancellation: before the call has sent anything, nothing is sent; later it ends the waiting and recalls nothing.

        Raises:
            RateLimited: the rate limit refuses; nothing was sent.
            ExchangeUnreachable: it expired on its way, or the exchange was closed before.
            OutcomeUnknown: the exchange was closed before it answered.
            TrailingError: what `book` raised.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended:
            raise ExchangeUnreachable("the paper exchange was closed")
        leg = self._latency(operation, symbol) / 2
        request = _Request(operation, symbol, client_order_id, book, leg, after_earlier=after_earlier)
        passes = self._limiter is None or self._limiter.take(operation, partial(self._depart, request), symbol) is None
        self._unanswered.add(request)
        if client_order_id is not None:
            self._not_booked.setdefault(client_order_id, []).append(request)
        if passes:
            self._depart(request)
        if request.answered:  # with nothing to wait for, it was there and booked at once; only the reply can be lost
            await trio.lowlevel.checkpoint()
        else:
            request.replied = trio.Event()
            await request.replied.wait()
        if not request.answered:
            raise OutcomeUnknown(f"{operation}: the paper exchange was closed before it answered")
        if request.error is not None:
            raise request.error
        return request.result

    async def _run(self) -> None:
        try:
            await self._timer.run()
        finally:
            for request in self._unanswered:
                if request.replied is not None:
                    request.replied.set()

    def _depart(self, request: _Request[Any]) -> None:
        request.expires_at = trio.current_time() + self._validity
        self._after_leg(request, self._arrive)

    def _after_leg(self, request: _Request[Any], what: Callable[[_Request[Any]], None]) -> None:
        if request.leg:
            self._timer.call_at(trio.current_time() + request.leg, partial(what, request))
        else:
            what(request)

    def _arrive(self, request: _Request[Any]) -> None:
        at = trio.current_time()
        if at > request.expires_at:
            request.error = ExchangeUnreachable(f"{request.operation} expired; provably not executed")
        if request.after_earlier and self._is_behind(request):
            request.waits = True
        else:
            self._book(request, at)

    def _is_behind(self, request: _Request[Any]) -> bool:
        """Whether something that was sent earlier under its id is not booked yet."""
        return request.client_order_id is not None and self._not_booked[request.client_order_id][0] is not request

    def _book(self, request: _Request[Any], at: float) -> None:
        if request.error is None:
            try:
                request.result = request.book(at)
            except TrailingError as error:
                request.error = error
        answer = request.result if request.error is None else request.error
        self.note(at, request.operation, request.symbol, request.client_order_id, answer)
        self._after_leg(request, self._reply)
        if request.client_order_id is not None:
            others = self._not_booked[request.client_order_id]
            others.remove(request)
            if not others:
                del self._not_booked[request.client_order_id]
            elif others[0].waits:
                self._book(others[0], at)

    def _reply(self, request: _Request[Any]) -> None:
        request.answered = True
        self._unanswered.discard(request)
        if request.replied is not None:
            request.replied.set()
