"""SIGINT and SIGTERM end every command: its work is cancelled, so that everything that is open cleans up after itself.

A clean-up that does not end is ended: its process exits `CLEANUP_SECONDS` after the signal, whatever it waits for.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final, TypeVar

import trio

from trailing.cli.complaints import complain, documented_error
from trailing.logs import Level, configure_logging
from trailing.services import open_service_nursery

T = TypeVar("T")

CLEANUP_SECONDS: Final = 60.0
"""How long a command may run on after its first signal, on the real clock. A clean-up on a real exchange takes a plan's
`cleanup_seconds` (5 by default) and, in `doctor --place`, 30 s at most."""

STDERR: Final = 2
"""The file descriptor of standard error."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The signal that ended a command's work, and what it cancels.

    Attributes:
        by: the first signal, or None.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._scope = trio.CancelScope()

    @property
    def exit_code(self) -> int:
        """The exit code that a shell gives a process which a signal ended; 0 without a signal."""
        return 0 if self.by is None else 128 + self.by

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Let the first signal cancel this block, and not the blocks of this kind around it.

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
    tell: Callable[[str], None] = lambda _: None,
    log_level: Level = "warning",
    clock: trio.abc.Clock | None = None,
) -> tuple[T | None, Interruption]:
    """Run a command's work on trio until it ends, or until SIGINT or SIGTERM cancels it.

    The log goes to standard error. After a signal, further ones are ignored until the process ends, because the command
    still prints its result.

    Args:
        work: called with the `Interruption`, inside a block that a signal cancels.
        tell: called at every signal with a sentence about what happens next.
        log_level: the least level that is logged.
        clock: the clock of the trio run; None: the real one.

    Returns:
        What `work` returned, and the interruption. The result is None where a signal came first. An error of the library
        that came after the signal, or of its clean-up, is printed and not raised.

    Raises:
        TrailingError: from `work`, perhaps inside exception groups.
    """
    configure_logging(log_level)
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # the errors of the store say the same in one line
    interruption = Interruption()

    async def main() -> T | None:
        result: T | None = None
        with trio.open_signal_receiver(*_SIGNALS) as signals, _limited_clean_up():
            async with open_service_nursery() as tasks:
                tasks.start_soon(_listen, signals, interruption, tell)
                with interruption.cancels():
                    result = await work(interruption)
        return result

    try:
        result = trio.run(main, clock=clock)
    except Exception as error:
        documented = documented_error(error)
        if interruption.by is None or documented is None:
            raise
        complain(str(documented))
        result = None
    if interruption.by is not None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return result, interruption


async def _listen(signals: AsyncIterator[int], interruption: Interruption, tell: Callable[[str], None]) -> None:
    async for number in signals:
        name = signal.Signals(number).name
        if interruption.by is None:
            tell(f"{name}: cancelling; partial orders are cleaned up, stops stay")
            interruption.interrupt(signal.Signals(number))
        else:
            tell(f"{name}: the clean-up is under way, and ends by itself")


@contextmanager
def _limited_clean_up() -> Iterator[None]:
    """Let the first signal start a timer of the kernel that ends the process, whatever it waits for by then.

    The timer is started by the signal's handler, which also runs where the trio loop does not: while it writes to a pipe
    that is full and is not read. It stays when the block has ended, because a command still prints its result then.
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
    """End the process at once. Nothing is printed where standard error can't be written to either."""
    message = f"trailing: {by.name}: the clean-up did not end within {CLEANUP_SECONDS:g} s, and was ended\n"
    if select.select([], [STDERR], [], 0)[1]:
        os.write(STDERR, message.encode())  # not by print, whose buffer may be in the middle of another line
    os._exit(128 + by)
