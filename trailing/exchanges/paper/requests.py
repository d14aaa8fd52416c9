"""The way to the paper exchange and back: each request is a task of the exchange, whatever becomes of its caller."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import msgspec
import trio

from trailing.core.model import check_seconds
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, TrailingError
from trailing.exchanges.paper.limits import Limiter, Operation

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
    def __init__(
        self, operation: str, symbol: str | None, client_order_id: str | None, book: Callable[[float], Result]
    ) -> None:
        self.operation = operation
        self.symbol = symbol
        self.client_order_id = client_order_id
        self.book = book
        self.earlier: tuple[_Request[object], ...] = ()
        self.booked = trio.Event()
        self.replied = trio.Event()
        self.result: Result
        self.error: TrailingError | None = None
        self.answered = False


class Requests:
    """Carries requests to a book and their answers back.

    Args:
        services: the nursery whose tasks the requests are.
        latency: half of it passes before the booking, half after.
        limiter: who has to wait for a turn first; None: nobody.
        validity: a request that arrives later than so many seconds after its turn is refused.
        record: whether bookings are kept in `log`.
    """

    def __init__(
        self, services: trio.Nursery, latency: Latency, limiter: Limiter | None, validity: float, *, record: bool
    ) -> None:
        self.log: list[Booking] = []
        self._services = services
        self._latency = latency
        self._limiter = limiter
        self._validity = validity
        self._record = record
        self._ended = False
        self._carried = 0
        self._under_way: dict[str, list[_Request[object]]] = {}
        if limiter is not None:
            services.start_soon(limiter.serve)

    def __str__(self) -> str:
        return f"{self._carried} requests under way"

    def note(self, at: float, operation: str, symbol: str | None, client_order_id: str | None, result: object) -> None:
        """Keep a booking, where bookings are kept."""
        if self._record:
            self.log.append(Booking(at, operation, symbol, client_order_id, result))

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
        turn = None if self._limiter is None else self._limiter.take(operation)
        request = _Request(operation, symbol, client_order_id, book)
        if client_order_id is not None:
            under_way = self._under_way.setdefault(client_order_id, [])
            if after_earlier:
                request.earlier = tuple(under_way)
            under_way.append(request)  # type: ignore[arg-type]  # what it answers with is nobody's business there
        self._carried += 1
        if leg or turn is not None or request.earlier:
            self._services.start_soon(self._carry, request, turn, leg)
            await request.replied.wait()
        else:  # with nothing to wait for, it is there and booked at once; only the reply can still be lost
            await self._carry(request, turn, leg)
            await trio.lowlevel.checkpoint()
        if not request.answered:
            raise OutcomeUnknown(f"{operation}: the paper exchange was closed before it answered")
        if request.error is not None:
            raise request.error
        return request.result

    async def _carry(self, request: _Request[Result], turn: trio.Event | None, leg: float) -> None:
        try:
            if turn is not None:
                await turn.wait()
            expires_at = trio.current_time() + self._validity
            if leg:
                await trio.sleep(leg)
            if trio.current_time() > expires_at:
                request.error = ExchangeUnreachable(f"{request.operation} expired; provably not executed")
            for earlier in request.earlier:
                await earlier.booked.wait()
            self._book(request)
            if leg:
                await trio.sleep(leg)
            request.answered = True
        finally:
            self._carried -= 1
            request.replied.set()

    def _book(self, request: _Request[Result]) -> None:
        at = trio.current_time()
        if request.error is None:
            try:
                request.result = request.book(at)
            except TrailingError as error:
                request.error = error
        request.booked.set()
        if request.client_order_id is not None:
            under_way = self._under_way[request.client_order_id]
            under_way.remove(request)  # type: ignore[arg-type]
            if not under_way:
                del self._under_way[request.client_order_id]
        answer = request.result if request.error is None else request.error
        self.note(at, request.operation, request.symbol, request.client_order_id, answer)
