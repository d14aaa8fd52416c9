"""A bot's process as the run sees it: its line to the store, what it has said so far, and what is done to it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from simulation.killing.processes import Told, end, kill, start
from simulation.takeover.line import Line


class Contender:
    """One who wants the account.

    Attributes:
        name: the exchange knows it by that.
        line: to Postgres, or None.
        why_lost: what it said when it had lost the account last.
    """

    def __init__(self, name: str, line: Line | None, told: Told) -> None:
        self.name: str = name
        self.line: Line | None = line
        self.why_lost: str = ""
        self._told = told
        self._said: list[tuple[str, float]] = []
        self._heard = trio.Event()
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Contender {self.name}: {[event for event, _ in self._said]}>"

    @property
    def process(self) -> int:
        """Its number."""
        return self._told.process.pid

    async def listen(self) -> None:
        """Keep what it says, until it has ended."""
        while (said := await self._told.next()) is not None:
            self._said.append((said["event"], trio.current_time()))
            if said["event"] == "lost":
                self.why_lost = said["why"]
            self._tell()
        self._ended.set()
        self._tell()

    def _tell(self) -> None:
        heard, self._heard = self._heard, trio.Event()
        heard.set()

    @property
    def said(self) -> int:
        """How much it has said so far."""
        return len(self._said)

    async def hear(self, event: str, *, after: int, within: float) -> float | None:
        """Wait until it says something, or has ended.

        Args:
            after: how much it had said before.
            within: seconds.

        Returns:
            When it said that, on the running clock; None: not in time.
        """
        with trio.move_on_after(within) as scope:
            while True:
                for said, at in self._said[after:]:
                    if said == event:
                        return at
                if self._ended.is_set():
                    return None
                await self._heard.wait()
        assert scope.cancelled_caught
        return None

    def kill(self) -> None:
        self._told.process.kill()

    def stop(self) -> None:
        self._told.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._told.process.send_signal(signal.SIGCONT)

    async def leave(self) -> None:
        """Let it end in order."""
        assert self._told.process.stdin is not None
        await self._told.process.stdin.aclose()

    async def wait_gone(self) -> int:
        """Wait until its process is gone. Returns its exit code."""
        return await self._told.process.wait()


async def run_contender(
    store: str,
    port: int,
    log: Path,
    name: str,
    line: Line | None = None,
    task_status: trio.TaskStatus[Contender] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Start a bot's process and listen to it until it has ended; cancelled, it is killed.

    Args:
        store: its address.
        port: of the exchange.
        log: where its complaints are written.
        line: what its store's address leads through.
    """
    told = await start("takeover.bot", port, store, name, log=log)
    try:
        contender = Contender(name, line, told)
        task_status.started(contender)
        await contender.listen()
    finally:
        await kill(told)  # noqa: ASYNC102 - shields itself, with a deadline


@asynccontextmanager
async def start_market(seed: int, positions: int, log: Path, *, one_stop: bool) -> AsyncIterator[int]:
    """Start the exchange's process. Yields its port, and ends it when the block does.

    Args:
        one_stop: some of its markets take one stop only.

    Raises:
        RuntimeError: it ended before it was served.
    """
    market = await start("takeover.market", seed, positions, int(one_stop), log=log)
    try:
        said = await market.next()
        if said is None:
            raise RuntimeError(f"the exchange's process ended: see {log}")
        yield said["port"]
    finally:
        await end(market)  # noqa: ASYNC102 - shields itself, with a deadline
