"""The boundary between trio and asyncio: one event loop and one ccxt client for each session.

Nothing outside this package uses asyncio or ccxt. A call runs as a task of the session, not of its caller: a cancelled
caller stops waiting, and the request continues until its reply or its own timeout. The reason is that ccxt shares futures
between its callers: cancelling one caller would cancel the others, or block them for ever.
"""

from __future__ import annotations

import asyncio
import decimal
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeAlias

import trio
import trio_asyncio

from trailing.errors import ExchangeUnreachable, OutcomeUnknown, RateLimited, TrailingError
from trailing.exchanges.ccxt.client import open_client
from trailing.exchanges.ccxt.http_replies import Reply, ReplyLimit, limit_of
from trailing.exchanges.ccxt.margin_modes import MarginModes
from trailing.exchanges.ccxt.position_modes import PositionModes
from trailing.exchanges.limiter import CALLS
from trailing.services import open_service_nursery

CLOSE_SECONDS: Final = 3.0
"""Seconds within which the client must close its connections. ccxt sleeps 0.25 s while it does."""

MOST_PARTS: Final = 100
"""HTTP requests of one call. ccxt reads lists of markets page by page, and would read one without a last page for ever."""

_log = logging.getLogger(__name__)


class RateLimiter(Protocol):
    """Delays requests so that they keep to a venue's rate limits. An operation is named by the port's method."""

    def rate_limit_delay(self, operation: str) -> float:
        """Return the seconds until the rate limit would let an operation pass, if it were requested now."""

    async def acquire(self, operation: str, symbol: str | None = None) -> None:
        """Wait until an operation may be sent. Cancellation: it is not sent, and uses nothing of the limit.

        Args:
            operation: the port's method name.
            symbol: whose share of the limit it uses; None: of no symbol.
        """

    def on_rate_limited(self, retry_after: float) -> None:
        """Stop all requests for `retry_after` seconds, because the venue refused one for its rate limit."""

    def update_from_headers(self, operation: str, headers: Mapping[str, str]) -> None:
        """Correct the counts from the headers of a reply. Header names are in lower case."""


class Request:
    """A call of the client in progress.

    Attributes:
        operation: the port's method name.
        deadline: the caller's, in seconds on the running clock. Nothing is sent after it.
        symbol: the symbol that it is about; None: the account.
        about: what an error calls it.
        may_send: called right before anything of it is sent. If it raises, nothing is sent.
        parts: how many HTTP requests were sent for it.
        reply: the HTTP reply to what was sent last.
        result: what the client's method returned.
        error: why the call failed; None: there is a result.
        done: set when the call has ended, in whatever way.
    """

    def __init__(
        self,
        operation: str,
        deadline: float = math.inf,
        symbol: str | None = None,
        *,
        about: str = "",
        may_send: Callable[[], object] = lambda: None,
    ) -> None:
        self.operation = operation
        self.deadline = deadline
        self.symbol = symbol
        self.about: str = about or " ".join(filter(None, (operation, symbol)))
        self.may_send = may_send
        self.parts = 0
        self.reply: Reply = Reply()
        self.result: Any = None
        self.error: TrailingError | None = OutcomeUnknown(f"{operation}: the exchange was closed before the reply came")
        self.done: trio.Event = trio.Event()


class Session:
    """A ccxt client on an event loop of its own. `open_session` creates it.

    Attributes:
        client: ccxt's client. Call its coroutine methods through `call` only.
        rate_limiter: delays each call.
        on_frame: called with the text of each websocket frame, and whether it came over the account's connection; None: no
            function is. For `trailing check`.
        margin_modes: of the account's positions, as they were listed or pushed last.
        position_modes: of the symbols whose positions were listed, on a venue where they may differ.
    """

    def __init__(
        self,
        tasks: trio.Nursery,
        loop: trio_asyncio.TrioEventLoop,
        client: Any,
        rate_limiter: RateLimiter,
        explain: Explain,
    ) -> None:
        self.client = client
        self.rate_limiter = rate_limiter
        self.on_frame: Callable[[str, bool], object] | None = None
        self.margin_modes: MarginModes = MarginModes()
        self.position_modes: PositionModes = PositionModes()
        self._tasks = tasks
        self._loop = loop
        self._explain = explain
        self._ended = False
        self._in_flight: dict[str, deque[Request]] = {}  # by client order id, in the order of sending

    def __repr__(self) -> str:
        return f"<Session {self.client.id}: {sum(map(len, self._in_flight.values()))} requests in flight>"

    async def call(
        self,
        operation: str,
        name: str,
        *args: Any,
        symbol: str | None = None,
        client_order_id: str | None = None,
        after_earlier: bool = False,
        about: str = "",
        may_send: Callable[[], object] = lambda: None,
    ) -> Any:
        """Call a coroutine method of the client when the rate limit lets it pass, and return its result.

        Args:
            operation: the port's method name, which sets its priority and its weight in the rate limit.
            name: the client's method.
            args: its arguments.
            symbol: whose share of the rate limit it uses; None: of no symbol.
            client_order_id: the order that the call is about.
            after_earlier: wait first until the calls in flight for that id have ended.
            about: what an error calls it; "": operation and symbol.
            may_send: called right before each part is sent. If it raises, the part is not sent.

        Raises:
            TrailingError: and nothing else; `OutcomeUnknown` if the session was closed before the reply came.

        Cancellation: while it waits for the rate limit, nothing is sent. Later it ends the waiting and recalls nothing.
            Nothing is sent after the caller's deadline, even if this process was suspended in between.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if after_earlier and client_order_id is not None:
            await self.wait_for(client_order_id)
        request = Request(operation, trio.current_effective_deadline(), symbol, about=about, may_send=may_send)
        if client_order_id is not None:
            self._in_flight.setdefault(client_order_id, deque()).append(request)
        try:
            await self.rate_limiter.acquire(operation, symbol)
            if self._ended:
                raise ExchangeUnreachable(f"{operation}: not sent, because the exchange was closed")
        except BaseException:
            self._end_request(request, client_order_id)
            raise
        self._tasks.start_soon(self._execute, request, client_order_id, name, args, name=f"{operation} {name}")
        await request.done.wait()
        if request.error is not None:
            raise request.error
        return request.result

    async def wait_for(self, client_order_id: str) -> None:
        """Wait until no call is in flight for an order. Each call ends by its own timeout."""
        for request in tuple(self._in_flight.get(client_order_id, ())):
            await request.done.wait()

    def start_service(self, task: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """Start a trio task that runs until it returns or the session ends.

        An error of the task ends the session: the block that uses the session is cancelled, and the error is raised there.

        Args:
            task: the async function.
            args: its arguments.
            name: for error texts; None: the function's name.
        """
        task_name = name or str(getattr(task, "__qualname__", "service"))
        self._tasks.start_soon(self._serve, task_name, task, args, name=task_name)

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an asyncio coroutine that shares no future with the client's own.

        Raises:
            ExchangeUnreachable: asyncio cancelled the coroutine by itself.

        Cancellation: cancels the coroutine.
        """
        try:
            return await self._loop.run_aio_coroutine(coroutine)
        except asyncio.CancelledError:  # not trio's: no task of ours was cancelled
            raise ExchangeUnreachable("asyncio cancelled the connection's task") from None  # noqa: ASYNC104

    def end(self) -> None:
        """Take no more calls."""
        self._ended = True

    async def _execute(self, request: Request, client_order_id: str | None, name: str, args: tuple[Any, ...]) -> None:
        try:
            request.result = await self._loop.run_aio_coroutine(self._call_method(request, name, args))
            request.error = None
        except trio.Cancelled:  # the session ends; the preset error tells the callers
            raise
        except TrailingError as error:
            request.error = error.with_traceback(None)  # the variables of ccxt's frames contain the key
        except (Exception, asyncio.CancelledError) as error:  # noqa: ASYNC103 - asyncio's, not trio's
            request.error = self._explain(request, error)
            if isinstance(request.error, RateLimited):  # even if its caller is gone
                self.rate_limiter.on_rate_limited(request.error.retry_after)
        finally:
            self._end_request(request, client_order_id)

    async def _call_method(self, request: Request, name: str, args: tuple[Any, ...]) -> Any:
        _request.set(request)
        with decimal.localcontext():  # ccxt changes the rounding of the current context
            return await getattr(self.client, name)(*args)

    async def _serve(self, name: str, task: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            await task(*args)
        except TrailingError:
            raise
        except Exception as error:
            explained = self._explain(Request(name), error)
            if explained is not None and not self._ended:
                raise explained from explained.__cause__

    def _end_request(self, request: Request, client_order_id: str | None) -> None:
        request.done.set()
        if client_order_id is not None:
            in_flight = self._in_flight[client_order_id]
            in_flight.remove(request)
            if not in_flight:
                del self._in_flight[client_order_id]

    def _before_send(self) -> None:
        """Check a request after it was signed and before it is sent.

        Raises:
            ExchangeUnreachable: the caller's deadline has passed, and nothing was sent.
            OutcomeUnknown: the deadline has passed, the request may not be sent any more, or there are too many parts, and a part
                was sent before.
            TrailingError: the request may not be sent, and nothing was sent.
        """
        request = _request.get()
        if request is None:
            return
        if trio.current_time() > request.deadline:
            if request.parts:
                raise OutcomeUnknown(f"{request.operation}: only a part was sent before the deadline")
            raise ExchangeUnreachable(f"{request.operation}: not sent, because the deadline had passed")
        if request.parts == MOST_PARTS:
            raise OutcomeUnknown(f"{request.operation}: it needs more than {MOST_PARTS} requests")
        try:
            request.may_send()
        except TrailingError as error:
            if not request.parts:
                raise
            raise OutcomeUnknown(f"{request.operation}: only a part was sent: {error}") from error
        request.parts, request.reply = request.parts + 1, Reply()

    async def _wait_for_turn(self) -> None:
        """Wait in asyncio until the rate limit lets a further part of a bot's call pass. The first part had its turn."""
        request = _request.get()
        if request is not None and request.operation in CALLS and request.parts:
            await self._loop.trio_as_future(self.rate_limiter.acquire, request.operation)

    def _limit(self) -> ReplyLimit:
        request = _request.get()
        return limit_of("" if request is None else request.operation)

    def _on_response(self, reply: Reply) -> None:
        request = _request.get()
        self.rate_limiter.update_from_headers("" if request is None else request.operation, reply.headers)
        if request is not None:
            request.reply = reply


Explain: TypeAlias = Callable[[Request, BaseException], TrailingError | None]
"""Converts an error of a call or a service into one of ours, with its cause. Returns None if it is no failure."""

_request: ContextVar[Request | None] = ContextVar("request", default=None)


def current_operation() -> str:
    """Return the operation of the call that runs this code; "": no call does."""
    request = _request.get()
    return "" if request is None else request.operation


@asynccontextmanager
async def open_session(client: Any, rate_limiter: RateLimiter, explain: Explain) -> AsyncIterator[Session]:
    """Open a session, in a service nursery, so that it outlives every clean-up in the block that uses it.

    Args:
        client: ccxt's client, which has sent nothing yet. It is closed when the session ends.
        rate_limiter: delays each call.
        explain: converts an error of a call into one of ours.

    Raises:
        ExceptionGroup: the errors of services. The block was cancelled because of them.

    Cancellation: of the surrounding scope reaches the session when the block has ended.
    """
    async with open_service_nursery() as services:
        session = await services.start(_host, client, rate_limiter, explain)
        try:
            yield session
        finally:
            session.end()


async def _host(
    client: Any, rate_limiter: RateLimiter, explain: Explain, task_status: trio.TaskStatus[Session]
) -> None:
    """Run the loop in a task of its own, because trio-asyncio stores it in the context of the task that opens it."""
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_error)
        try:
            async with trio.open_nursery() as tasks:  # they end before the client's connections and the loop
                session = Session(tasks, loop, client, rate_limiter, explain)
                # This module's own class:
                hooks = (session._wait_for_turn, session._before_send, session._limit, session._on_response)  # noqa: SLF001
                await loop.run_aio_coroutine(open_client(client, *hooks))
                task_status.started(session)
                await trio.sleep_forever()
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
                await loop.run_aio_coroutine(client.close())
            if scope.cancelled_caught:
                _log.warning("%s: the client did not close its connections within %g s", client.id, CLOSE_SECONDS)


def _log_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """Log an error that no task awaited, such as that of a future of ccxt's. By default it would end the loop."""
    _log.warning("asyncio: %s (%s)", context.get("message"), type(context.get("exception")).__name__)
