"""A nursery for services, which are tasks that must outlive the block that uses them.

In an ordinary nursery, a cancellation from outside cancels a service together with its users, so that a shielded
clean-up never gets its answers. Services of this nursery run until the block that uses them has ended, however it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_service_nursery(*documented: type[Exception]) -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the block has ended.

    A cancellation from outside never cancels them before that. The shields here are the only ones without a deadline,
    because each user of a service has a deadline of its own.

    Args:
        documented: kinds of errors of services that are raised without exception groups around them. With errors of
            several kinds, the first kind counts. The group is the cause of the raised error.

    Raises:
        BaseException: the error of the block, as itself.
        ExceptionGroup: the errors of services, because of which the block was cancelled. The group has the block's
            error too, if there is one.
        Exception: one of the `documented` kinds, if services raised errors of these kinds only.
    """
    block_error: BaseException | None = None
    try:
        async with trio.open_nursery() as outer:
            # If this were cancelled, `start` would wait for ever, because nothing would end the host.
            with trio.CancelScope(shield=True):
                services = await outer.start(_host)
            try:
                yield services
            except BaseException as error:
                if outer.cancel_scope.cancel_called:
                    raise  # a service failed, and this nursery decides which cancellations are its own
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
    """Return a copy of the error that represents a group.

    None: the group has other kinds of errors, cancellation aside.
    """
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
