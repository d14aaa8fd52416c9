"""SIGINT and SIGTERM as a cancellation, so that everything that is open cleans up after itself."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from trailing.services import open_services

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What the first signal does.

    Attributes:
        scope: cancelled by it.
        by: the signal, or None.
    """

    def __init__(self) -> None:
        self.scope: trio.CancelScope = trio.CancelScope()
        self.by: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended; 0 without one."""
        return 0 if self.by is None else 128 + self.by


@asynccontextmanager
async def catch_signals(tell: Callable[[str], None]) -> AsyncIterator[Interruption]:
    """Let the first SIGINT or SIGTERM cancel `Interruption.scope`, for as long as the block lasts.

    After a signal, further ones are ignored once the block has ended: the process is about to end anyway, and still has
    something to say.

    Args:
        tell: says what is going on; called at every signal.
    """
    interruption = Interruption()
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with open_services() as tasks:
            tasks.start_soon(_listen, signals, interruption, tell)
            yield interruption
    if interruption.by is not None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


async def _listen(signals: AsyncIterator[int], interruption: Interruption, tell: Callable[[str], None]) -> None:
    async for number in signals:
        name = signal.Signals(number).name
        if interruption.by is None:
            interruption.by = signal.Signals(number)
            tell(f"{name}: cancelling; partial orders are cleaned up, stops stay")
            interruption.scope.cancel()
        else:
            tell(f"{name}: the clean-up is under way, and ends by itself")
