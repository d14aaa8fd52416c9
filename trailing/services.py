"""A nursery for services: tasks that must outlive whoever uses them.

Clean-up needs somebody to talk to. A service in an ordinary nursery is cancelled together with its users when the
cancellation comes from outside, so that a shielded clean-up never gets its answer. Services started here run on until
the block that uses them has ended, however it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_service_nursery(*documented: type[Exception]) -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks no outside cancellation reaches before the block has ended; then they are cancelled.

    The shields here are the only ones without a deadline: each user of a service has a deadline of its own.

    Args:
        documented: kinds of errors of services that come out without exception groups around them. With errors of
            several kinds, the first kind counts. The group is the cause of the error that is raised.

    Raises:
        BaseException: what the block raised, as itself.
        ExceptionGroup: what a service raised; the block was cancelled for it. With an error of the block beside it
            where there is one.
        Exception: one of the `documented` kinds, where services raised errors of these kinds and nothing else.
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
            plain = _documented_error(error, documented)
            if plain is None:
                raise
            raise plain from error
        plain = _documented_error(error, documented)
        if isinstance(block_error, documented) and plain is not None:
            raise plain from error
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


def _documented_error(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """A copy of the error that stands for a group; None unless the group holds only these kinds, cancellation aside."""
    if not isinstance(error, BaseExceptionGroup):
        return None
    errors = [leaf for leaf in _leaves(error) if not isinstance(leaf, trio.Cancelled)]
    if not all(isinstance(leaf, kinds) for leaf in errors):
        return None
    first = next((leaf for kind in kinds for leaf in errors if isinstance(leaf, kind)), None)
    return None if first is None else type(first)(*first.args)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
