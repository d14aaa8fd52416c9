"""SIGINT and SIGTERM cancel the work of every command, so that everything that is open cleans up.

The process exits `CLEANUP_SECONDS` after the signal if the clean-up has not ended by then.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Final, TypeVar

import trio

from trailing.cli.messages import find_error, print_message
from trailing.logs import Level, configure_logging
from trailing.services import open_service_nursery

T = TypeVar("T")

CLEANUP_SECONDS: Final = 60.0
"""Seconds on the real clock that a command may run on after its first signal. A clean-up on a real exchange takes a plan's
`cleanup_seconds` (5 by default) and, in `doctor --place`, at most 30 s."""

STOPS_STAY_LIVE: Final = "partial orders are cleaned up, stops stay live"
"""What happens after a signal to a command that protects positions, in words."""

STDERR: Final = 2
"""The file descriptor of standard error."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The signal that ended a command's work, and the block that it cancels.

    Attributes:
        by: the first signal, or None.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._scope = trio.CancelScope()

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in a shell; 0 without a signal."""
        return 0 if self.by is None else 128 + self.by

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Let the first signal cancel this block instead of the blocks of this kind around it.

        A block that is entered after the signal is cancelled at its first checkpoint.
        """
        outer, self._scope = self._scope, trio.CancelScope()
        if self.by is not None:
            self._scope.cancel()
        try:
            with self._scope:
                yield
        finally:
            self._scope = outer

    def interrupt(self, by: signal.Signals) -> None:
        """Cancel the innermost block of `cancels`."""
        self.by = by
        self._scope.cancel()


def run_until_signal(
    work: Callable[[Interruption], Awaitable[T]],
    *,
    announce: str = "",
    log_level: Level = "warning",
    clock: trio.abc.Clock | None = None,
) -> tuple[T | None, Interruption]:
    """Run a command's work on trio until it ends, or until SIGINT or SIGTERM cancels it.

    The log goes to standard error. After a signal, the process ignores further ones until it ends, because the command
    still prints its result.

    Args:
        work: called with the `Interruption`, inside a block that a signal cancels.
        announce: what happens after a signal, in words; it is printed at once. Empty: nothing is printed.
        log_level: the lowest level that is logged.
        clock: the clock of the trio run; None: the real one.

    Returns:
        The result of `work`, and the interruption. The result is None if a signal came first. A `TrailingError` after a
        signal is printed and not raised.

    Raises:
        TrailingError: raised by `work`, possibly inside exception groups.
    """
    configure_logging(log_level)
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # the store raises the same error in one line
    interruption = Interruption()

    async def main() -> T | None:
        result: T | None = None
        with trio.open_signal_receiver(*_SIGNALS) as signals, _limited_clean_up():
            async with open_service_nursery() as tasks:
                tasks.start_soon(_listen, signals, interruption, announce)
                with interruption.cancels():
                    result = await work(interruption)
        return result

    try:
        result = trio.run(main, clock=clock)
    except Exception as error:
        known = find_error(error)
        if interruption.by is None or known is None:
            raise
        print_message(str(known))
        result = None
    if interruption.by is not None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return result, interruption


async def _listen(signals: AsyncIterator[int], interruption: Interruption, announce: str) -> None:
    async for number in signals:
        name = signal.Signals(number).name
        first = interruption.by is None
        if announce:
            print_message(
                f"{name}: cancelling; {announce}"
                if first
                else f"{name}: the clean-up is still running and ends by itself"
            )
        if first:
            interruption.interrupt(signal.Signals(number))


@contextmanager
def _limited_clean_up() -> Iterator[None]:
    """Let the first signal start a kernel timer that ends the process.

    The signal's handler starts the timer, because the handler also runs while the trio loop is blocked, as by a write to a
    full pipe. The timer goes on after the block, because the command still prints its result then.
    """
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    started = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal started
        if not started:
            started = True
            signal.signal(signal.SIGALRM, partial(_exit, signal.Signals(number)))
            signal.setitimer(signal.ITIMER_REAL, CLEANUP_SECONDS)
        pass_on = handlers[signal.Signals(number)]
        assert callable(pass_on)
        pass_on(number, frame)

    for number in _SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit(by: signal.Signals, *_: object) -> None:
    """End the process at once, with a message if standard error takes one without blocking."""
    message = f"trailing: {by.name}: the clean-up did not end within {CLEANUP_SECONDS:g} s and was stopped\n"
    if select.select([], [STDERR], [], 0)[1]:
        with suppress(OSError):
            os.write(STDERR, message.encode())  # not by print, whose buffer may be in the middle of another line
    os._exit(128 + by)
