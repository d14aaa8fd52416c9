"""psycopg's `AsyncConnection`, driven by trio itself."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import psycopg
import trio
from psycopg import AsyncPipeline, AsyncServerCursor, AsyncTransaction, capabilities, generators, pq
from psycopg.abc import AdaptContext, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from trailing.stores.trio_cleanup import CLEANUP_SECONDS, CleaningConnection, Pipeline, ServerCursor, Transaction
from trailing.stores.trio_conninfo import hide_secrets, read_conninfo
from trailing.stores.trio_listening import listen
from trailing.stores.trio_locks import Turn
from trailing.stores.trio_waiting import drive, drive_connecting, find_attempts

T = TypeVar("T")

_ONE_LOOK: Final = 0.001
_ACTIVE = pq.TransactionStatus.ACTIVE

_logger = logging.getLogger("psycopg")


class TrioConnection(CleaningConnection[Row]):
    """A connection to Postgres for trio, with all that psycopg's `AsyncConnection` offers.

    A connection is used by one task at a time; another task that wants it waits for its turn.

    Attributes:
        cleanup_seconds: how long a task that is cancelled may still be kept by its clean-up here. Where that does not
            get done in time, the connection is closed: nobody knows its state.

    Cancellation: a query under way is cancelled on the server, and the connection is usable again. One that had ended
    all the same returns its result, and the cancellation strikes at the next checkpoint.
    """

    lock: Turn  # type: ignore[assignment]  # psycopg enters it, and wants no more of a lock
    server_cursor_factory: type[AsyncServerCursor[Row]]

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory or cast("AsyncRowFactory[Row]", tuple_row))
        self.lock = Turn()
        self.server_cursor_factory = ServerCursor

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect to the first server that answers.

        Args:
            conninfo: what libpq takes. Each of several hosts is tried in its turn, each of its addresses too, for
                ``connect_timeout`` seconds each (at least 2; 130 where nothing is said).
            autocommit, prepare_threshold, context, row_factory, cursor_factory, kwargs: as psycopg has them.

        Raises:
            psycopg.OperationalError: nobody answered. Neither this nor any other error repeats the password.
            psycopg.ProgrammingError: the conninfo can't be read.

        Cancellation: gives up the attempt under way.
        """
        params = read_conninfo(conninfo, kwargs)
        try:
            self = await cls._connect_to_any(params)
        except psycopg.Error as error:
            raise type(error)(hide_secrets(str(error), params)) from None
        self.row_factory = row_factory or self.row_factory
        self.cursor_factory = cursor_factory or self.cursor_factory
        self.prepare_threshold = prepare_threshold
        if context is not None:
            self._adapters = AdaptersMap(context.adapters)
        await self.set_autocommit(autocommit)
        return self

    @classmethod
    async def _connect_to_any(cls, params: dict[str, Any]) -> Self:
        timeout = timeout_from_conninfo(params)
        failures: list[tuple[str, psycopg.Error]] = []
        for attempt in await find_attempts(params, timeout):
            where = ", ".join(f"{name}: {attempt[name]}" for name in ("host", "hostaddr", "port") if attempt.get(name))
            connecting = generators.connect(make_conninfo("", **attempt))
            try:
                with trio.move_on_after(timeout) as trying:
                    return cls(await drive_connecting(connecting))
                failures.append((where, psycopg.errors.ConnectionTimeout(f"no answer within {timeout} s")))
            except psycopg.Error as error:
                failures.append((where, error))
            finally:
                connecting.close()
            _logger.debug("connecting failed (%s), timeout: %s", where, trying.cancelled_caught)
        last = failures[-1][1]
        if len(failures) > 1:
            lines = [str(last), "Every attempt failed:", *(f"- {where}: {error}" for where, error in failures)]
            raise type(last)("\n".join(lines))
        raise last

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.closed:
            return
        try:
            if exc is None:
                await self.commit()
            else:
                with self.cleaning_up():
                    await self.rollback()
        except psycopg.Error as error:
            if exc is None:
                raise
            _logger.warning("rolling back failed on %s: %s", self, error)
        finally:
            await self.close()

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ARG002, ASYNC109
        """Drive one of psycopg's generators to its end: what all operations do.

        Args:
            interval: not used; trio wakes up when there is something to do.
            timeout: seconds; None: no end.

        Raises:
            psycopg.errors._WaitTimeout: it did not end in time. It is not cancelled on the server.
        """
        was_active = self.pgconn.transaction_status == _ACTIVE
        try:
            if timeout is None:
                return await drive(gen, self.pgconn.socket)
            # Whatever the timeout, there is one look at the socket: that takes a turn of trio's loop.
            with trio.move_on_after(max(timeout, _ONE_LOOK)):
                return await drive(gen, self.pgconn.socket)
            raise psycopg.errors._WaitTimeout("wait timeout expired")  # noqa: SLF001  # what psycopg's notifies() awaits
        except (trio.Cancelled, KeyboardInterrupt) as interruption:
            if self.closed or not (self.pgconn.transaction_status == _ACTIVE or self.pgconn.pipeline_status):
                raise
            ended = await self._end_query(gen, is_part=was_active)
            if ended is None or self.closed or isinstance(interruption, KeyboardInterrupt):
                raise
            return ended[0]

    async def _end_query(self, gen: PQGen[T], *, is_part: bool) -> tuple[T] | None:
        """Have the server end the query under way, and read its end; else close the connection.

        Args:
            is_part: the query had begun before the generator. If it is a COPY, its block ends it.

        Returns:
            What the generator returned, where the query had ended all the same.
        """
        value: tuple[T] | None = None
        try:
            with self.cleaning_up("the server did not end a cancelled query"):
                await self._try_cancel(timeout=self.cleanup_seconds)
                try:
                    value = (await drive(gen, self.pgconn.socket, has_begun=True),)
                except psycopg.Error as error:
                    _logger.debug("a cancelled query ended: %s", error)
                if self.pgconn.transaction_status == _ACTIVE or self.pgconn.pipeline_status:
                    value = None  # more belongs to it than this generator
                    await self._drain(is_part=is_part)
        except psycopg.Error as error:
            self.abandon(f"a cancelled query could not be ended: {error}")
        except BaseException:
            self.abandon("cancelling a query was interrupted")
            raise
        return value

    async def _drain(self, *, is_part: bool) -> None:
        """Read what else belongs to the query: of one whose rows are read one by one, the rest; of a COPY, its end."""
        copy = pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT
        while self.pgconn.transaction_status == _ACTIVE and not self.pgconn.pipeline_status:
            results = await drive(generators.fetch_many(self.pgconn), self.pgconn.socket)
            if is_part and results and results[-1].status in copy:
                return
            try:
                if results and results[-1].status == pq.ExecStatus.COPY_IN:
                    await drive(generators.copy_end(self.pgconn, b"cancelled"), self.pgconn.socket)
                elif results and results[-1].status == pq.ExecStatus.COPY_OUT:
                    while isinstance(await drive(generators.copy_from(self.pgconn), self.pgconn.socket), memoryview):
                        pass
            except psycopg.errors.QueryCanceled as error:
                _logger.debug("a cancelled COPY ended: %s", error)

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Ask the server to cancel the query under way, without blocking.

        Args:
            timeout: seconds; 0: no end.

        Raises:
            psycopg.errors.CancellationTimeout: the server did not take the request in time.
        """
        if not self._should_cancel():
            return
        with trio.move_on_after(timeout or math.inf) as cancelling:
            if capabilities.has_cancel_safe():
                request = self.pgconn.cancel_conn()
                request.start()
                await drive_connecting(generators.cancel(request))
            else:
                await self._cancel_from_beside()
        if cancelling.cancelled_caught:
            raise psycopg.errors.CancellationTimeout("cancellation timeout expired")

    async def _cancel_from_beside(self) -> None:
        """Cancel the query under way through another connection, where libpq is older than 17.

        The function that it has for this blocks, and psycopg's part in C holds the interpreter meanwhile: while the
        network is cut, the whole program would stand still.
        """
        params = {option.keyword.decode(): option.val.decode() for option in self.pgconn.info if option.val}
        async with await TrioConnection[Any].connect(make_conninfo("", **params), autocommit=True) as other:
            other.cleanup_seconds = 0.0
            await other.execute("SELECT pg_cancel_backend(%s)", (self.pgconn.backend_pid,))

    async def _try_cancel(self, *, timeout: float = CLEANUP_SECONDS) -> None:  # noqa: ASYNC109
        # What psycopg's own clean-ups call, in tasks that are cancelled already.
        with trio.move_on_after(timeout, shield=True) as cancelling:
            await super()._try_cancel(timeout=timeout)
        if cancelling.cancelled_caught:
            _logger.warning("query cancellation took more than %s s", timeout)

    @asynccontextmanager
    async def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002
    ) -> AsyncIterator[AsyncTransaction]:
        """A block that is committed at its end, or rolled back where it raises or is cancelled; inside of another one, a savepoint.

        Args: see psycopg's `AsyncConnection.transaction`.
        """
        transaction = Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                yield transaction

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[AsyncPipeline]:
        """A block whose queries are sent without waiting for their results; see psycopg's `AsyncConnection.pipeline`."""
        async with self.lock:
            self._check_connection_ok()
            if self._pipeline is None:
                self._pipeline = Pipeline(self)
            pipeline = self._pipeline
        try:
            async with pipeline:
                yield pipeline
        finally:
            if pipeline.level == 0:
                with self.cleaning_up():
                    async with self.lock:
                        self._pipeline = None

    def listen(self, *channels: str) -> AbstractAsyncContextManager[AsyncIterator[psycopg.Notify]]:
        """Listen to channels for as long as the block lasts.

        Notifications that come while the connection does something else are kept; nothing else reads them meanwhile.

        Args:
            channels: names, taken as they stand.

        Returns:
            An iterator over the notifications, without end. It holds the connection only while it waits.

        Raises:
            psycopg.ProgrammingError: the connection is not in autocommit mode, so that nothing would ever come.
            psycopg.OperationalError: while iterating: the connection is lost. What is sent until another one listens is
                lost too, so look at what it was about then.
        """
        return listen(self, channels)
