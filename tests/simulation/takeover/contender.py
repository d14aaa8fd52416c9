"""One of the two bot processes: its connection to the store, its messages, and the signals it gets."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from simulation.killing.processes import ChildProcess, end, kill, start
from simulation.takeover.tcp_proxy import TcpProxy


class Contender:
    """A bot process that wants to own the account.

    Attributes:
        name: the client name of its exchange requests.
        proxy: the proxy of its connections to Postgres, or None.
        why_lost: the reason with which it last lost the account.
    """

    def __init__(self, name: str, proxy: TcpProxy | None, child: ChildProcess) -> None:
        self.name: str = name
        self.proxy: TcpProxy | None = proxy
        self.why_lost: str = ""
        self._child = child
        self._events: list[tuple[str, float]] = []
        self._changed = trio.Event()
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Contender {self.name}: {[event for event, _ in self._events]}>"

    @property
    def process(self) -> int:
        """The process id."""
        return self._child.process.pid

    async def listen(self) -> None:
        """Take its messages until it has ended."""
        while (event_count := await self._child.next()) is not None:
            self._events.append((event_count["event"], trio.current_time()))
            if event_count["event"] == "lost":
                self.why_lost = event_count["why"]
            self._notify()
        self._ended.set()
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    @property
    def event_count(self) -> int:
        """The number of messages so far."""
        return len(self._events)

    async def wait_for(self, event: str, *, after: int, within: float) -> float | None:
        """Wait for a message, or for the end of the process.

        Args:
            event: the event of the message.
            after: the number of earlier messages to skip.
            within: seconds.

        Returns:
            The time of the message on the running clock; None: it did not come in time.
        """
        with trio.move_on_after(within) as scope:
            while True:
                for event_count, at in self._events[after:]:
                    if event_count == event:
                        return at
                if self._ended.is_set():
                    return None
                await self._changed.wait()
        assert scope.cancelled_caught
        return None

    def kill(self) -> None:
        self._child.process.kill()

    def stop(self) -> None:
        self._child.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.process.send_signal(signal.SIGCONT)

    async def shut_down(self) -> None:
        """Let the process end in order."""
        assert self._child.process.stdin is not None
        await self._child.process.stdin.aclose()

    async def wait_ended(self) -> int:
        """Wait until the process has ended. Returns its exit code."""
        return await self._child.process.wait()


async def run_contender(
    store: str,
    port: int,
    log: Path,
    name: str,
    proxy: TcpProxy | None = None,
    task_status: trio.TaskStatus[Contender] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Start a bot's process and take its messages until it has ended.

    Args:
        store: the address of the store.
        port: the port of the exchange.
        log: the file of its standard error.
        name: the client name of its exchange requests.
        proxy: the proxy in the store's address, or None.

    Cancellation: kills the process.
    """
    child = await start("takeover.bot", port, store, name, log=log)
    try:
        contender = Contender(name, proxy, child)
        task_status.started(contender)
        await contender.listen()
    finally:
        await kill(child)  # noqa: ASYNC102 - shields itself, with a deadline


@asynccontextmanager
async def start_market(seed: int, positions: int, log: Path, *, one_stop: bool) -> AsyncIterator[int]:
    """Start the exchange's process, yield its port, and end the process with the block.

    Args:
        one_stop: whether some markets take one stop only.

    Raises:
        RuntimeError: the process ended before it served the exchange.
    """
    market = await start("takeover.market", seed, positions, int(one_stop), log=log)
    try:
        event_count = await market.next()
        if event_count is None:
            raise RuntimeError(f"the exchange's process ended: see {log}")
        yield event_count["port"]
    finally:
        await end(market)  # noqa: ASYNC102 - shields itself, with a deadline
