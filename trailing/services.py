"""A nursery for services: tasks that must outlive whoever uses them.

Clean-up needs somebody to talk to. A service in an ordinary nursery is cancelled together with its users when the
cancellation comes from outside, so that a shielded clean-up never gets its answer. Services started here run on until
the block that uses them has ended, however it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_services() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks no outside cancellation reaches before the block has ended; then they are cancelled.

    The shields here are the only ones without a deadline: each user of a service has a deadline of its own.

    Raises:
        BaseException: what the block raised, as itself.
        ExceptionGroup: what a service raised; the block was cancelled for it. With an error of the block beside it
            where there is one.
    """
    block_error: BaseException | None = None
    try:
        async with trio.open_nursery() as outer:
            # Cancelled in here, `start` would wait for a host that nobody will ever tell to end.
            with trio.CancelScope(shield=True):
                services = await outer.start(_host)
            try:
                yield services
            except BaseException as error:
                if outer.cancel_scope.cancel_called:
                    raise  # a service failed: this nursery sorts out whose cancellation is whose
                block_error = error
            finally:
                services.cancel_scope.cancel()
    except BaseException as error:
        if block_error is None:
            raise
        if not isinstance(error, trio.Cancelled):
            failures = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
            raise BaseExceptionGroup("the block and its services failed", [block_error, *failures]) from None
    if block_error is not None:
        raise block_error


async def _host(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as services:
            task_status.started(services)
            await trio.sleep_forever()
