"""psycopg's `AsyncConnection`, driven by trio."""

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

from .cleanup import CLEANUP_SECONDS, CleaningConnection, Pipeline, ServerCursor, Transaction
from .conninfo import hide_secrets, read_conninfo
from .listening import listen
from .locks import FifoLock
from .waiting import drive, drive_connecting, find_attempts

T = TypeVar("T")

_ONE_POLL: Final = 0.001
_ACTIVE = pq.TransactionStatus.ACTIVE

_logger = logging.getLogger("psycopg")


class TrioConnection(CleaningConnection[Row]):
    """A connection to Postgres for trio, with everything that psycopg's `AsyncConnection` offers.

    One task at a time uses a connection; other tasks wait in the order of their calls.

    Attributes:
        cleanup_seconds: seconds for which one step of a clean-up may delay a cancelled task. If the step takes longer, the
            connection is closed, because its state is unknown.

    Cancellation: cancels the running query on the server; the connection can be used again. If the query has ended
    meanwhile, its result is returned, and the cancellation is raised at the next checkpoint.
    """

    lock: FifoLock  # type: ignore[assignment]  # psycopg only enters and leaves it
    server_cursor_factory: type[AsyncServerCursor[Row]]

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: AsyncRowFactory[Row] | None = None) -> None:
        super().__init__(pgconn, row_factory or cast("AsyncRowFactory[Row]", tuple_row))
        self.lock = FifoLock()
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
            conninfo: a connection string or URL, as libpq takes them. Hosts are tried in their order, each at all of its
                addresses, for ``connect_timeout`` seconds each (at least 2; default 130).
            autocommit, prepare_threshold, context, row_factory, cursor_factory, kwargs: as in
                `psycopg.AsyncConnection.connect`.

        Returns:
            The open connection. As a context manager, it commits or rolls back at the end of the block, and is closed.

        Raises:
            psycopg.OperationalError: no server answered. No error repeats the password.
            psycopg.ProgrammingError: the conninfo can't be parsed.

        Cancellation: closes the socket of the current attempt, or the new connection.
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
        try:
            await self.set_autocommit(autocommit)
        except BaseException:
            self.finish()
            raise
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
        """Drive one of psycopg's generators to its end; every operation on the connection calls this.

        Args:
            interval: ignored, because trio needs no polling.
            timeout: seconds; None: no limit.

        Raises:
            psycopg.errors._WaitTimeout: the generator did not end in time. The query is not cancelled on the server.
        """
        was_active = self.pgconn.transaction_status == _ACTIVE
        try:
            if timeout is None:
                return await drive(gen, self.pgconn.socket)
            # The socket is polled at least once, also with a timeout of 0. That takes one turn of trio's loop.
            with trio.move_on_after(max(timeout, _ONE_POLL)):
                return await drive(gen, self.pgconn.socket)
            raise psycopg.errors._WaitTimeout("wait timeout expired")  # noqa: SLF001  # psycopg's notifies() catches it
        except (trio.Cancelled, KeyboardInterrupt) as interruption:
            if self.closed or not (self.pgconn.transaction_status == _ACTIVE or self.pgconn.pipeline_status):
                raise
            ended = await self._end_query(gen, is_part=was_active)
            if ended is None or self.closed or isinstance(interruption, KeyboardInterrupt):
                raise
            return ended[0]

    async def _end_query(self, gen: PQGen[T], *, is_part: bool) -> tuple[T] | None:
        """Cancel the running query on the server and read its end. If that fails, close the connection.

        Args:
            is_part: the query was begun by an earlier generator. If it is a COPY, its own block ends it.

        Returns:
            The result of the generator, in a tuple, if the query ended before it was cancelled; else None.
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
                    value = None  # the query has more results than this generator reads
                    await self._drain(is_part=is_part)
        except psycopg.Error as error:
            self.abandon(f"a cancelled query could not be ended: {error}")
        except BaseException:
            self.abandon("cancelling a query was interrupted")
            raise
        return value

    async def _drain(self, *, is_part: bool) -> None:
        """Read the remaining results of a query, such as the rows of a stream or the end of a COPY."""
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
        """Ask the server to cancel the running query, without blocking.

        Args:
            timeout: seconds; 0: no limit.

        Raises:
            psycopg.errors.CancellationTimeout: the server did not accept the request in time.
        """
        if not self._should_cancel():
            return
        with trio.move_on_after(timeout or math.inf) as cancelling:
            if capabilities.has_cancel_safe():
                request = self.pgconn.cancel_conn()
                request.start()
                await drive_connecting(generators.cancel(request))
            else:
                await self._cancel_by_other_connection()
        if cancelling.cancelled_caught:
            raise psycopg.errors.CancellationTimeout("cancellation timeout expired")

    async def _cancel_by_other_connection(self) -> None:
        """Cancel the running query through another connection, because libpq is older than 17.

        The cancel function of an old libpq blocks, and psycopg's C extension holds the interpreter lock during the call: the
        whole program would stop while the network is cut.
        """
        params = {option.keyword.decode(): option.val.decode() for option in self.pgconn.info if option.val}
        async with await TrioConnection[Any].connect(make_conninfo("", **params), autocommit=True) as other:
            other.cleanup_seconds = 0.0
            await other.execute("SELECT pg_cancel_backend(%s)", (self.pgconn.backend_pid,))

    async def _try_cancel(self, *, timeout: float = CLEANUP_SECONDS) -> None:  # noqa: ASYNC109
        # psycopg's own clean-ups call this, in tasks that are already cancelled.
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
        """Commit the block at its end; roll it back if it raises or is cancelled. A nested block is a savepoint.

        Args:
            savepoint_name, force_rollback: as in `psycopg.AsyncConnection.transaction`.
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
        """Send the queries of the block without waiting for their results; see `psycopg.AsyncConnection.pipeline`."""
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
        """Listen to channels until the block ends.

        Notifications that arrive during other operations of the connection are kept for the iterator.

        Args:
            channels: names of channels. They are quoted here.

        Returns:
            An iterator over the notifications, without end. It holds the connection's lock only while it waits.

        Raises:
            psycopg.ProgrammingError: the connection is not in autocommit mode, so that no notification would arrive.
            psycopg.OperationalError: while iterating: the connection is lost. Notifications that are sent before another
                connection listens are lost too. Query the state that they announce after connecting again.
        """
        return listen(self, channels)
