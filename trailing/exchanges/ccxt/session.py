"""The wall between trio and asyncio: a loop and a ccxt client of its own for each session, and what may be cancelled.

Nothing outside this package sees asyncio or ccxt. A call runs as a task of the session, not of its caller: a caller
that is cancelled stops waiting, and the request goes on until its answer or its own timeout. ccxt shares futures
between its callers, so that cancelling one would cancel, or block for ever, the others.
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
from trailing.exchanges.ccxt.client import Reply, open_client
from trailing.services import open_service_nursery

CLOSE_SECONDS: Final = 3.0
"""Seconds within which the client has to close its connections; ccxt sleeps a quarter of one while it does."""

_log = logging.getLogger(__name__)


class Turns(Protocol):
    """Who may send, and when: the rate limit, by the port's method names."""

    def rate_limit_delay(self, operation: str) -> float:
        """Seconds until an operation would pass, if it were asked for now."""

    async def turn(self, operation: str, symbol: str | None = None) -> None:
        """Wait until an operation may pass for a symbol. Cancellation: it doesn't pass."""

    def refused(self, retry_after: float) -> None:
        """The venue refused a request for its rate limit: nobody passes for so many seconds."""

    def learned(self, operation: str, headers: Mapping[str, str]) -> None:
        """A reply to an operation came with these headers, in lower case."""


class Request:
    """A call under way.

    Attributes:
        operation: the port's method name.
        deadline: its caller's, on the running clock; nothing of it is sent afterwards.
        sent: something of it was.
        reply: the last HTTP reply so far.
        error: ours, for what ccxt raised; None: there is a result.
        done: set when the call has ended, however it did.
    """

    def __init__(self, operation: str, deadline: float = math.inf) -> None:
        self.operation = operation
        self.deadline = deadline
        self.sent = False
        self.reply: Reply = Reply()
        self.result: Any = None
        self.error: TrailingError | None = OutcomeUnknown(f"{operation}: the session was closed before it answered")
        self.done: trio.Event = trio.Event()


class Session:
    """A ccxt client on an event loop of its own. `open_session` makes it.

    Attributes:
        client: ccxt's; its coroutines may only be called by `call`.
    """

    def __init__(
        self, tasks: trio.Nursery, loop: trio_asyncio.TrioEventLoop, client: Any, turns: Turns, explain: Explain
    ) -> None:
        self.client = client
        self.turns = turns
        self._tasks = tasks
        self._loop = loop
        self._explain = explain
        self._ended = False
        self._under_way: dict[str, deque[Request]] = {}  # by client order id, in the order of sending

    def __repr__(self) -> str:
        return f"<Session {self.client.id}: {sum(map(len, self._under_way.values()))} orders under way>"

    async def call(
        self,
        operation: str,
        name: str,
        *args: Any,
        symbol: str | None = None,
        client_order_id: str | None = None,
        after_earlier: bool = False,
    ) -> Any:
        """Call a coroutine method of the client in its turn, and wait for its answer.

        Args:
            operation: the port's method name: it has a lane and a weight in the rate limit.
            name: the client's method.
            args: its arguments.
            symbol: whose share of the rate limit it takes; None: of no symbol.
            client_order_id: the order that it is about.
            after_earlier: let the calls under way for that id end first.

        Raises:
            TrailingError: and nothing else; `OutcomeUnknown` where the session was closed before the answer came.

        Cancellation: before its turn, nothing is sent; later it ends the waiting and recalls nothing. What is not sent
            yet when the caller's deadline is over is not sent, wherever this process stood still meanwhile.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if after_earlier and client_order_id is not None:
            await self.wait_for(client_order_id)
        request = Request(operation, trio.current_effective_deadline())
        if client_order_id is not None:
            self._under_way.setdefault(client_order_id, deque()).append(request)
        try:
            await self.turns.turn(operation, symbol)
            if self._ended:
                raise ExchangeUnreachable(f"{operation}: the session was closed")
        except BaseException:
            self._end_request(request, client_order_id)
            raise
        self._tasks.start_soon(self._carry, request, client_order_id, name, args, name=f"{operation} {name}")
        await request.done.wait()
        if request.error is not None:
            raise request.error
        return request.result

    async def wait_for(self, client_order_id: str) -> None:
        """Wait until no call is under way for an order. Each ends by its own timeout."""
        for request in tuple(self._under_way.get(client_order_id, ())):
            await request.done.wait()

    def start_service(self, task: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """Start a task of trio's that runs until it returns or the session ends.

        What it raises ends the session: the block that uses it is cancelled, and an error of ours is raised from there.
        """
        called = name or str(getattr(task, "__qualname__", "service"))
        self._tasks.start_soon(self._serve, called, task, args, name=called)

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine of asyncio's that shares nothing with the client's own.

        Raises:
            ExchangeUnreachable: asyncio cancelled it, and nobody here had.

        Cancellation: reaches it.
        """
        try:
            return await self._loop.run_aio_coroutine(coroutine)
        except asyncio.CancelledError:  # not trio's: nobody in here was cancelled
            raise ExchangeUnreachable("asyncio cancelled a task of ours by itself") from None  # noqa: ASYNC104

    def end(self) -> None:
        """Take no more calls."""
        self._ended = True

    async def _carry(self, request: Request, client_order_id: str | None, name: str, args: tuple[Any, ...]) -> None:
        try:
            request.result = await self._loop.run_aio_coroutine(self._call_method(request, name, args))
            request.error = None
        except trio.Cancelled:  # the session ends; whoever still waits learns from the error that is there already
            raise
        except TrailingError as error:
            request.error = error.with_traceback(None)  # ccxt's frames have the key in their variables
        except (Exception, asyncio.CancelledError) as error:  # noqa: ASYNC103 - the latter is not trio's
            request.error = self._explain(request, error)
            if isinstance(request.error, RateLimited):  # whether or not anybody still waits for it
                self.turns.refused(request.error.retry_after)
        finally:
            self._end_request(request, client_order_id)

    async def _call_method(self, request: Request, name: str, args: tuple[Any, ...]) -> Any:
        _request.set(request)
        with decimal.localcontext():  # ccxt sets the rounding of whatever context it finds
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
            under_way = self._under_way[client_order_id]
            under_way.remove(request)
            if not under_way:
                del self._under_way[client_order_id]

    def _leave(self) -> None:
        """Something is signed, with the time in it, and would be sent now.

        Raises:
            ExchangeUnreachable: its caller's deadline is over, and nothing was sent.
            OutcomeUnknown: it is over, and a part was sent before.
        """
        request = _request.get()
        if request is None:
            return
        if trio.current_time() > request.deadline:
            late = f"{request.operation}: not sent, as its deadline was over"
            raise OutcomeUnknown(f"{late} when a part had been") if request.sent else ExchangeUnreachable(late)
        request.sent = True

    def _hear(self, reply: Reply) -> None:
        request = _request.get()
        self.turns.learned("" if request is None else request.operation, reply.headers)
        if request is not None:
            request.reply = reply


Explain: TypeAlias = Callable[[Request, BaseException], TrailingError | None]
"""Makes one of our errors, with its cause, of what a call or a service raised; None: that was no failure."""

_request: ContextVar[Request | None] = ContextVar("request", default=None)


@asynccontextmanager
async def open_session(client: Any, turns: Turns, explain: Explain) -> AsyncIterator[Session]:
    """Open a session, in a service nursery: it outlives every clean-up in the block that uses it.

    Args:
        client: ccxt's, which has sent nothing yet; closed when the session ends.
        turns: the rate limit.
        explain: makes one of our errors of what a call raised.

    Cancellation: of the block around it reaches the session when the block has ended.

    Raises:
        ExceptionGroup: what a service raised; the block was cancelled for it.
    """
    async with open_service_nursery() as services:
        session = await services.start(_host, client, turns, explain)
        try:
            yield session
        finally:
            session.end()


async def _host(client: Any, turns: Turns, explain: Explain, task_status: trio.TaskStatus[Session]) -> None:
    """Keep the loop, in a task of its own: trio-asyncio notes it in the context of the task that opens it."""
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_error)
        try:
            async with trio.open_nursery() as tasks:  # which end before the client's connections and the loop do
                session = Session(tasks, loop, client, turns, explain)
                await loop.run_aio_coroutine(open_client(client, session._leave, session._hear))  # noqa: SLF001 - it is this module's
                task_status.started(session)
                await trio.sleep_forever()
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True) as scope:
                await loop.run_aio_coroutine(client.close())
            if scope.cancelled_caught:
                _log.warning("%s did not close its connections within %s s", client.id, CLOSE_SECONDS)


def _log_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """Log what asyncio raises to nobody, such as a future of ccxt's that nobody waited for. Else it ends the loop."""
    _log.warning("asyncio: %s (%s)", context.get("message"), type(context.get("exception")).__name__)
